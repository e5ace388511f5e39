"""Recordings that libsndfile does not read, decoded by the program ffmpeg in a process with limits.

Decoders are written for speed and get what strangers send. What happens to this process stays there: it has bounds of
memory, time, samples and channels, may read one file, and runs the listed decoders only.
"""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import closing

from glmtts.dsp.ffmpeg import DEBIAN_PACKAGE, find_ffmpeg
from glmtts.errors import AudioDecodeError, UnsupportedError
from glmtts.voice.audio_kind import AudioKind

CODECS = "opus,vorbis,aac,mp3float,mp3,amrnb,amrwb,alac,flac,pcm_s16le,pcm_s16be,pcm_s24le,pcm_f32le"
"""What browsers and telephones record, in ffmpeg's names."""
MEMORY_BYTES = 512 * 2**20
"""Address space; ffmpeg's libraries take more than half of it."""
CPU_SECONDS = 5
WALL_SECONDS = 20.0
"""On a busy machine a process waits for the CPU."""
WAV_BYTES = 64 * 2**20
"""Of a result: 30 s in stereo at 192 kHz fit, what a forged header claims does not."""
MAX_PROCESSES = 4
"""Decoders at once; requests wait for each other beyond."""

_slots = threading.BoundedSemaphore(MAX_PROCESSES)
_LIMITS = f"ulimit -v {MEMORY_BYTES // 1024} && ulimit -t {CPU_SECONDS} && ulimit -f 0 && ulimit -c 0"


def decode_to_wav(data: bytes, kind: AudioKind, *, seconds: float, field: str) -> bytes:
    """The first `seconds` of the recording as WAV: float32, its own rate and channels. A longer one ends there.

    Raises UnsupportedError where ffmpeg is not installed, and AudioDecodeError; both name the kind of file.
    """
    program = find_ffmpeg()
    if program is None:
        raise UnsupportedError(
            f"{field}: expected WAV, FLAC, OGG or MP3, got {kind.name}, for which this server lacks the program ffmpeg "
            f"(Debian package {DEBIAN_PACKAGE})",
            field=field,
        )
    assert kind.demuxer is not None
    with _slots, closing(_SealedFile(data)) as file:
        reader = ["-f", kind.demuxer, "-codec_whitelist", CODECS, "-protocol_whitelist", "file"]
        source = ["-threads", "1", *reader, "-i", f"/proc/self/fd/{file.descriptor}"]
        target = ["-map", "0:a:0", "-t", str(seconds), "-c:a", "pcm_f32le", "-threads", "1", "-f", "wav"]
        command = [program, "-v", "quiet", "-nostdin", *source, *target, "-fs", str(WAV_BYTES), "pipe:1"]
        try:
            result = subprocess.run(
                ["/bin/sh", "-c", f'{_LIMITS} && exec "$@"', "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=WALL_SECONDS,
                pass_fds=[file.descriptor],
                env={},
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _undecodable(data, kind, field, f"not within {WALL_SECONDS:g} s") from None
    if result.returncode or not result.stdout:
        raise _undecodable(data, kind, field, f"status {result.returncode}")
    if len(result.stdout) >= WAV_BYTES:
        raise _undecodable(data, kind, field, f"more than {WAV_BYTES} bytes of samples")
    return result.stdout


def _undecodable(data: bytes, kind: AudioKind, field: str, reason: str) -> AudioDecodeError:
    expected = "audio in a codec that browsers or telephones record"
    return AudioDecodeError(
        f"{field}: expected {expected}, got {len(data)} bytes of {kind.name} that do not decode ({reason})", field=field
    )


class _SealedFile:
    """Bytes as a file in memory: MP4 may have its index at the end, so a pipe will not do."""

    def __init__(self, data: bytes) -> None:
        self.descriptor = os.memfd_create("recording")
        with open(self.descriptor, "wb", closefd=False) as file:
            file.write(data)

    def close(self) -> None:
        os.close(self.descriptor)
