"""Records from the microphone."""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np

from glmtts_client.errors import ClientError
from glmtts_client.recording_check import Samples


def record(seconds: float) -> tuple[Samples, int]:
    """Mono samples in [-1, 1] of the default microphone, and its rate in Hz. Raises ClientError without one."""
    sounddevice = _sounddevice()
    try:
        rate = round(sounddevice.query_devices(kind="input")["default_samplerate"])
        samples = sounddevice.rec(round(seconds * rate), samplerate=rate, channels=1, dtype="float32", blocking=True)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise ClientError(f"--record: no microphone ({error})") from None
    return np.ascontiguousarray(samples[:, 0]), rate


def _sounddevice() -> Any:
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the package is installed, PortAudio is not
        message = f"--record needs sounddevice and PortAudio: pip install 'glmtts-client[record]' ({error})"
        raise ClientError(message) from None
    return sounddevice


def to_wav(samples: Samples, rate: int) -> bytes:
    """A WAV file, 16 bit."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()
