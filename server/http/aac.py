"""AAC in ADTS, encoded by the program ffmpeg."""

from __future__ import annotations

import os
import select
import subprocess
import time

from glmtts.dsp.ffmpeg import DEBIAN_PACKAGE, find_ffmpeg
from glmtts.errors import EngineError, UnsupportedError
from server.http.containers import Samples
from server.http.provenance import Provenance

FRAME_SAMPLES = 1024
HELD_FRAMES = 2
"""How many frames ffmpeg may hold back: its reader has whole blocks, and its encoder looks one frame ahead."""
FRAME_TIMEOUT = 0.25
"""Seconds to wait for the frames of samples just written; late ones leave with the next."""
START_TIMEOUT = 2.0
"""The same for the first frames, before which ffmpeg has to start."""
FINISH_TIMEOUT = 10.0
HEADER_BYTES = 7


class AacContainer:
    """ADTS frames of 1024 samples. A decoder gives 1024 samples before the first one, and fills the last frame.

    Raises UnsupportedError where ffmpeg is not installed, and EngineError if it fails.
    """

    content_type = "audio/aac"

    def __init__(self, sample_rate: int, provenance: Provenance) -> None:
        program = find_ffmpeg()
        if program is None:
            raise UnsupportedError(
                "format: expected one that this server can write, got 'aac', for which it lacks the program ffmpeg "
                f"(Debian package {DEBIAN_PACKAGE})",
                field="format",
            )
        source = ["-probesize", "32", "-analyzeduration", "0"]  # else ffmpeg waits for seconds of audio
        source += ["-f", "s16le", "-ar", str(sample_rate), "-ac", "1", "-i", "pipe:0"]
        target = ["-c:a", "aac", "-b:a", "64k", "-threads", "1", "-flush_packets", "1", "-f", "adts", "pipe:1"]
        self._process = subprocess.Popen(
            [program, "-v", "quiet", "-nostdin", *source, *target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)
        self._num_samples = 0
        self._frames = _FrameCounter()
        self._pending = provenance.id3()

    def write(self, samples: Samples) -> bytes:
        self._num_samples += len(samples)
        data = memoryview(samples.astype("<i2").tobytes())
        expected = self._num_samples // FRAME_SAMPLES - HELD_FRAMES
        received, self._pending = bytearray(self._pending), b""
        # Reads and writes in turn: a full pipe in one direction must not block the other.
        while data:
            readable, writable = self._wait(FINISH_TIMEOUT, writing=True)
            if not readable and not writable:
                raise EngineError("the AAC encoder is stuck")
            if writable:
                data = data[self._write(data) :]
            if readable:
                received += self._read()
        deadline = time.monotonic() + (FRAME_TIMEOUT if self._frames.count else START_TIMEOUT)
        while self._frames.count < expected and self._wait(deadline - time.monotonic(), writing=False)[0]:
            received += self._read()
        return bytes(received)

    def finish(self) -> bytes:
        self._stdin.close()
        os.set_blocking(self._stdout.fileno(), True)
        rest = self._stdout.read()
        if self._process.wait(FINISH_TIMEOUT):
            raise EngineError(f"the AAC encoder ended with status {self._process.returncode}")
        return self._pending + rest

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()

    def _wait(self, seconds: float, *, writing: bool) -> tuple[bool, bool]:
        """Waits until the process has output or, if `writing`, takes input: whether it has, and whether it does."""
        poll = select.poll()  # select.select takes no descriptors from 1024 on
        poll.register(self._stdout, select.POLLIN)
        if writing:
            poll.register(self._stdin, select.POLLOUT)
        ready = {descriptor for descriptor, _ in poll.poll(1000 * max(0.0, seconds))}
        return self._stdout.fileno() in ready, self._stdin.fileno() in ready

    def _write(self, data: memoryview) -> int:
        try:
            return os.write(self._stdin.fileno(), data)
        except BrokenPipeError as error:
            raise EngineError("the AAC encoder ended early") from error

    def _read(self) -> bytes:
        data = os.read(self._stdout.fileno(), 65536)
        if not data:
            raise EngineError("the AAC encoder ended early")
        self._frames.feed(data)
        return data


class _FrameCounter:
    """Counts the complete ADTS frames of a stream."""

    def __init__(self) -> None:
        self.count = 0
        self._partial = b""

    def feed(self, data: bytes) -> None:
        data = self._partial + data
        start = 0
        while start + HEADER_BYTES <= len(data):
            end = start + ((data[start + 3] & 3) << 11 | data[start + 4] << 3 | data[start + 5] >> 5)
            if not start + HEADER_BYTES <= end <= len(data):
                break
            self.count += 1
            start = end
        self._partial = data[start:]
