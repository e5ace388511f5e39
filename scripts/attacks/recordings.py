"""Mutated recordings, in every kind of file that can be made here, for the decoders behind POST /voices/<name>."""

from __future__ import annotations

import io
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator

import numpy as np
import requests
import soundfile

from scripts.attacks.senders import Outcomes, send_all
from scripts.attacks.target import Target

RATE = 16000
BY_SOUNDFILE = {
    "wav": ("WAV", "PCM_16"),
    "wav of 24 bit": ("WAV", "PCM_24"),
    "wav of floats": ("WAV", "FLOAT"),
    "wav in µ-law": ("WAV", "ULAW"),
    "wav in ADPCM": ("WAV", "MS_ADPCM"),
    "flac": ("FLAC", "PCM_16"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
}
"""Formats that libsndfile writes; the last three are not documented as accepted."""
BY_FFMPEG = {
    "webm": ["-c:a", "libopus", "-f", "webm"],
    "m4a": ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov", "-f", "mp4"],
    "aac": ["-c:a", "aac", "-f", "adts"],
}
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def recordings() -> dict[str, bytes]:
    """Two seconds of noise and tone in every format. Without ffmpeg fewer."""
    time = np.arange(2 * RATE) / RATE
    wave = 0.3 * np.sin(2 * np.pi * 220 * time) + 0.01 * np.random.default_rng(1).standard_normal(len(time))
    made = {}
    for name, (container, subtype) in BY_SOUNDFILE.items():
        buffer = io.BytesIO()
        soundfile.write(buffer, wave, RATE, format=container, subtype=subtype)
        made[name] = buffer.getvalue()
    if shutil.which("ffmpeg"):
        for name, options in BY_FFMPEG.items():
            command = ["ffmpeg", "-v", "error", "-i", "pipe:0", *options, "pipe:1"]
            made[name] = subprocess.run(command, input=made["wav"], capture_output=True, check=True).stdout
    return made


def mutated(count: int, seed: int = 1) -> Iterator[bytes]:
    """`count` mutated recordings, each kind in turn."""
    rng, originals = random.Random(seed), list(recordings().values())
    for number in range(count):
        data = originals[number % len(originals)]
        for _ in range(rng.choice((1, 1, 1, 3))):
            data = mutate(rng, data)
        yield data


def mutate(rng: random.Random, data: bytes) -> bytes:
    """A change at one place. Half of the changes are within the first 128 bytes, where the sizes and rates are."""
    at = rng.randrange(min(len(data), 128) if rng.random() < 0.5 else len(data)) if data else 0
    kind = rng.randrange(6)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    if kind == 2:
        order = rng.choice((">I", "<I", ">H", "<H"))
        value = rng.choice(EXTREMES) & (0xFFFF if order[1] == "H" else 0xFFFFFFFF)
        return data[:at] + struct.pack(order, value) + data[at + struct.calcsize(order) :]
    if kind == 3:
        end = min(len(data), at + rng.choice((4, 64, 4096)))
        return data[:at] + data[at:end] * rng.choice((0, 2, 9)) + data[end:]
    if kind == 4:
        return data[:at] + bytes(rng.choice((16, 1024))) + data[at:]
    return data[:at] + rng.randbytes(min(256, len(data) - at)) + data[at + 256 :]


def attack(target: Target, count: int) -> Outcomes:
    """Sends them as a stored voice's recording; those that can be decoded replace one another."""

    def call(session: requests.Session, recording: bytes) -> requests.Response:
        url, files = f"{target.url}/voices/mutant", {"reference_audio": ("a", recording)}
        return session.post(url, files=files, headers=target.headers, timeout=60)

    return send_all(call, mutated(count))
