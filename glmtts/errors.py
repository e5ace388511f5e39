"""Every error that this package raises on purpose.

GlmTtsError
├── InputError              the request cannot be served as it is
│   ├── TextError             nothing speakable, a forbidden control token, too long
│   │   └── LanguageError       text in another language only
│   ├── AudioError            audio that cannot serve as a reference
│   │   └── AudioDecodeError    bytes that are not audio
│   └── UnsupportedError      a sample rate, style or format that this model lacks
├── CheckpointError         files that are missing, damaged or do not fit
├── QueueFullError          the queue is full; carries `retry_after` in seconds
├── QueueTimeoutError       the request was still queued at its deadline
├── CancelledError          the client disconnected
├── DeviceMemoryError       the device ran out of memory for this request
└── EngineError             an internal error, or an engine that has been closed
"""

from __future__ import annotations


class GlmTtsError(Exception):
    """Root of the tree: catch this to catch everything that glmtts raises on purpose."""


class InputError(GlmTtsError):
    """The request cannot be served as it is; `field` names the part of the request that is wrong."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class TextError(InputError):
    """Text with nothing speakable in it, with a forbidden control token, or too long."""


class LanguageError(TextError):
    """Text in a language that is not spoken here, with nothing else to say."""


class AudioError(InputError):
    """Audio that decodes but cannot serve as a reference: too short, too long, silent."""


class AudioDecodeError(AudioError):
    """Bytes that no decoder reads as audio."""


class UnsupportedError(InputError):
    """A valid request that the loaded model cannot serve, such as a sample rate."""


class CheckpointError(GlmTtsError):
    """A checkpoint whose files are missing, damaged, or do not fit the architecture."""


class QueueFullError(GlmTtsError):
    """The queue is full. `retry_after` estimates, in seconds, when there will be room."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueTimeoutError(GlmTtsError):
    """The request was still queued when its deadline passed."""


class CancelledError(GlmTtsError):
    """The client disconnected, so nobody reads the audio."""


class DeviceMemoryError(GlmTtsError):
    """The device ran out of memory for this request; other requests continue."""


class EngineError(GlmTtsError):
    """The engine failed through no fault of the request, or it has been closed."""
