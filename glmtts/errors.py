"""Every error that this package raises on purpose. Knows nothing about HTTP.

GlmTtsError
├── InputError              the caller's request cannot be served as it is
│   ├── TextError             nothing speakable, forbidden control token, too long
│   ├── AudioError            a recording that cannot serve as a reference
│   │   └── AudioDecodeError    bytes that are no audio
│   └── UnsupportedError      a sample rate, style or format that this model lacks
├── CheckpointError         files that are missing, damaged or of another shape
├── BusyError               the waiting line is full; carries `retry_after` seconds
├── DeadlineError           the request waited in line past its deadline
├── CancelledError          the caller hung up
├── DeviceMemoryError       this one request did not fit on the device
└── EngineError             our own fault, or an engine that has stopped
"""

from __future__ import annotations


class GlmTtsError(Exception):
    """Root of the tree: catch this to catch everything that glmtts raises on purpose."""


class InputError(GlmTtsError):
    """What the caller sent cannot be used; `field` names the part of the request that is to blame."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class TextError(InputError):
    """Text that has nothing speakable in it, or that carries a forbidden control token."""


class AudioError(InputError):
    """A recording that decodes but cannot be a reference: too short, too long, silent."""


class AudioDecodeError(AudioError):
    """Bytes that no decoder takes for audio."""


class UnsupportedError(InputError):
    """A well-formed wish that the loaded model cannot meet, such as a sample rate."""


class CheckpointError(GlmTtsError):
    """A checkpoint whose files are missing, damaged, or do not fit the architecture."""


class BusyError(GlmTtsError):
    """The waiting line is full. `retry_after` is an honest guess, in seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineError(GlmTtsError):
    """The request waited in line until its own deadline passed."""


class CancelledError(GlmTtsError):
    """The caller went away; nobody is left to read the audio."""


class DeviceMemoryError(GlmTtsError):
    """The device's memory did not suffice for this request; others go on."""


class EngineError(GlmTtsError):
    """The engine failed by a fault of ours, or it has been stopped."""
