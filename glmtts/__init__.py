"""GLM-TTS: text and a voice to speech. The public names of the model and its engine.

Each is imported at first use: `import glmtts` is cheap, and only what needs torch loads it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glmtts.checkpoint.loader import Model, load
    from glmtts.dsp.audio import Wave, to_int16
    from glmtts.engine.api import Engine, EngineInfo, Handle, Job, Report
    from glmtts.engine.runtime.offline import SynthesisResult, synthesize
    from glmtts.errors import (
        AudioDecodeError,
        AudioError,
        CancelledError,
        CheckpointError,
        DeviceMemoryError,
        EngineError,
        GlmTtsError,
        InputError,
        QueueFullError,
        QueueTimeoutError,
        TextError,
        UnsupportedError,
    )
    from glmtts.text.frontend.frontend import Segment
    from glmtts.text.replacements import read_replacements
    from glmtts.voice.digest import voice_digest
    from glmtts.voice.voice import Voice

__all__ = [
    "AudioDecodeError",
    "AudioError",
    "CancelledError",
    "CheckpointError",
    "DeviceMemoryError",
    "Engine",
    "EngineError",
    "EngineInfo",
    "GlmTtsError",
    "Handle",
    "InputError",
    "Job",
    "Model",
    "QueueFullError",
    "QueueTimeoutError",
    "Report",
    "Segment",
    "SynthesisResult",
    "TextError",
    "UnsupportedError",
    "Voice",
    "Wave",
    "load",
    "read_replacements",
    "synthesize",
    "to_int16",
    "voice_digest",
]

_ERRORS = "glmtts.errors"
_MODULES = {
    "Wave": "glmtts.dsp.audio",
    "to_int16": "glmtts.dsp.audio",
    "Model": "glmtts.checkpoint.loader",
    "load": "glmtts.checkpoint.loader",
    **dict.fromkeys(("Engine", "EngineInfo", "Handle", "Job", "Report"), "glmtts.engine.api"),
    "SynthesisResult": "glmtts.engine.runtime.offline",
    "synthesize": "glmtts.engine.runtime.offline",
    "Segment": "glmtts.text.frontend.frontend",
    "read_replacements": "glmtts.text.replacements",
    "Voice": "glmtts.voice.voice",
    "voice_digest": "glmtts.voice.digest",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'glmtts' has no attribute {name!r}")
    value = getattr(import_module(_MODULES.get(name, _ERRORS)), name)
    globals()[name] = value  # the next access skips this function
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
