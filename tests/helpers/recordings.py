"""Speech-like recordings in every kind of file that is read, and damaged copies of them."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from glmtts.dsp.audio import Wave

RATE = 24000
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")

BY_LIBSNDFILE = {
    "wav": "-c:a pcm_s16le -f wav",
    "wav-24-bit": "-c:a pcm_s24le -f wav",
    "wav-float": "-c:a pcm_f32le -f wav",
    "wav-telephone": "-ar 8000 -c:a pcm_mulaw -f wav",
    "wav-a-law": "-ar 8000 -c:a pcm_alaw -f wav",
    "aiff": "-f aiff",
    "flac": "-f flac",
    "ogg-vorbis": "-ac 2 -c:a libvorbis -f ogg",
    "ogg-opus": "-c:a libopus -f ogg",
    "mp3": "-c:a libmp3lame -f mp3",
}
BY_FFMPEG = {
    "webm-opus": "-c:a libopus -f webm",
    "webm-vorbis": "-ac 2 -c:a libvorbis -f webm",
    "mkv-pcm": "-c:a pcm_f32le -f matroska",
    "m4a": "-c:a aac -f ipod",
    "mp4-fragments": "-c:a aac -movflags frag_keyframe+empty_moov -f mp4",
    "mp4-opus": "-c:a libopus -strict -2 -f mp4",
    "m4a-alac": "-c:a alac -f ipod",
    "3gp-aac": "-ar 16000 -c:a aac -f 3gp",
    "aac": "-c:a aac -f adts",
}
"""Arguments of ffmpeg, by kind."""


def tone(seconds: float = 1.5) -> Wave:
    """A tone of 440 Hz at a third of full scale, 24 kHz."""
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def recording(arguments: str, folder: Path, wave: Wave | None = None) -> bytes:
    """The tone as ffmpeg encodes it, with the index of an MP4 at its end as telephones write it."""
    path = folder / "recording"
    command = ["ffmpeg", "-v", "error", "-y", "-f", "f32le", "-ar", str(RATE), "-ac", "1", "-i", "pipe:0"]
    data = (tone() if wave is None else wave).tobytes()
    subprocess.run([*command, *arguments.split(), path], input=data, check=True)
    return path.read_bytes()


def amr(seconds: float = 1.5, *, wide: bool = False) -> bytes:
    """Noise as AMR or AMR-WB at their highest rate: frames of 20 ms with any bits, as Debian has no encoder."""
    head, frame, size = (b"#!AMR-WB\n", b"\x44", 60) if wide else (b"#!AMR\n", b"\x3c", 31)
    chance = random.Random(1)
    return head + b"".join(frame + chance.randbytes(size) for _ in range(round(50 * seconds)))


def damaged(files: dict[str, bytes], count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """`count` damaged copies: bytes changed, most in headers; pieces cut out, doubled or of another file."""
    chance = random.Random(seed)
    names = sorted(files)
    for index in range(count):
        name = names[index % len(names)]
        data = bytearray(files[name])
        for _ in range(chance.choice([1, 2, 8, 64])):
            data[chance.randrange(min(len(data), chance.choice([64, 512, 10**7])))] = chance.choice(
                [0, 255, chance.randrange(256)]
            )
        start, end = sorted(chance.randrange(len(data)) for _ in range(2))
        change = chance.randrange(6)
        if change == 0:
            del data[start:end]
        elif change == 1:
            data[start:start] = data[start:end]
        elif change == 2:
            other = files[chance.choice(names)]
            data[start:] = other[start:]
        yield name, bytes(data)
