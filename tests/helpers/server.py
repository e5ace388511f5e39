"""Runs the server, `python app.py` with the fake engine, as a subprocess; and recordings to send to it.

Consul is off unless a test's environment turns it on.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import requests
import soundfile

from scripts.processes import free_ports

ROOT = Path(__file__).resolve().parents[2]


def recording(seconds: float = 3.0, *, amplitude: float = 0.3, rate: int = 16000, fmt: str = "WAV") -> bytes:
    """An encoded recording of a tone."""
    wave = amplitude * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=fmt)
    return buffer.getvalue()


def store_voice(directory: Path, name: str, styles: Mapping[str, str], *, language: str = "en") -> None:
    """A stored voice with a recording for every style."""
    (directory / name).mkdir(parents=True)
    described = {"name": name, "language": language, "transcripts": styles, "default_style": next(iter(styles))}
    (directory / name / "voice.json").write_text(json.dumps(described), "utf-8")
    for index, style in enumerate(styles):
        (directory / name / f"{style}.flac").write_bytes(recording(2.0 + index, fmt="FLAC"))


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Waits until `condition()` is true. Raises AssertionError with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {seconds} s waiting for {what}")
        time.sleep(0.05)


class Server:
    """The server as a subprocess. As a context manager it is ready on entry and stopped on exit."""

    def __init__(
        self,
        checkpoint: str = "fake:",
        *,
        voices: Path | None = None,
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = (sys.executable, "app.py"),
        folder: Path = ROOT,
    ) -> None:
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.lines: list[str] = []
        own = {name: value for name, value in os.environ.items() if not name.startswith(("GLMTTS_", "CONSUL_"))}
        own |= {"GLMTTS_CONSUL": "off", "GLMTTS_PROPAGATION_DELAY": "0", "GLMTTS_DRAIN_TIMEOUT": "10", **(env or {})}
        own["OMP_NUM_THREADS"] = "1"
        if voices is not None:
            own["GLMTTS_VOICES_DIR"] = str(voices)
        flags = ["--host", "127.0.0.1", "--port", str(self.port), "--checkpoint", checkpoint]
        self.process = subprocess.Popen(
            [*program, *flags],
            cwd=folder,
            env=own,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def log(self, message: str) -> list[dict[str, Any]]:
        """The log entries so far with that message; every line must be JSON."""
        return [line for line in map(json.loads, list(self.lines)) if line["message"] == message]

    def status(self, path: str) -> int:
        """Status of a GET request; 0 without a response."""
        try:
            return requests.get(self.url + path, timeout=5).status_code
        except requests.RequestException:
            return 0

    def wait_ready(self) -> None:
        ready = "the server to be ready"  # slow on a busy machine
        wait_until(lambda: self.status("/ready") == 200 or self.process.poll() is not None, ready, seconds=240)
        assert self.process.poll() is None, "".join(self.lines)

    def worker(self) -> int:
        """Process id of the only worker."""
        tasks = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return int(tasks.split()[0])

    def metric(self, name: str, **labels: str) -> float:
        """The value of a series; 0.0 when there is none yet."""
        for line in requests.get(self.url + "/metrics", timeout=5).text.splitlines():
            series, _, value = line.rpartition(" ")
            if series.partition("{")[0] == name and all(f'{key}="{text}"' in series for key, text in labels.items()):
                return float(value)
        return 0.0

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signals the program and gives its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(60)
        self._end()
        return status

    def _end(self) -> None:
        self._reader.join(10)
        if self.process.stderr is not None:
            self.process.stderr.close()

    def __enter__(self) -> Server:
        try:
            self.wait_ready()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._kill()

    def _kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._end()
