"""The load through the gateway: the stock openai client, which knows one address and nothing of Consul.

Some threads ask for whole files, others stream one text after the other. A stream that is cut, and seen as cut, is
asked for again, as a program would; anything else that a call raises counts as a failure.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import requests

from scripts.faults.load import BYTES_PER_SAMPLE, SEED, SENTENCES, STORIES, LoadResult, Playout, StreamResult

SAMPLE_RATE = 24000
"""Of `pcm`, whatever the model's."""
PIECE_BYTES = 4800


class GatewayLoad:
    """Runs until `stop_streams` is set; then call `result`. `jobs`: whole files at a time."""

    def __init__(self, gateway: str, folder: Path, *, jobs: int) -> None:
        self._client = openai.OpenAI(base_url=f"{gateway}/v1", api_key="none")
        self._result = LoadResult(0, folder / "out")
        self._result.folder.mkdir()
        self.stop_streams = threading.Event()
        self._streaming: dict[int, str] = {}
        self._threads = [self._thread(self._ask_repeatedly, n) for n in range(jobs)]
        self._threads += [self._thread(self._stream_repeatedly, n) for n in range(len(STORIES))]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def items_done(self) -> int:
        return len(self._result.results)

    @property
    def batch_is_done(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def streams_from(self, url: str) -> int:
        """How many streams have begun to come from the node at `url`: it alone knows their ids."""
        ids = list(self._streaming.values())
        return sum(requests.get(f"{url}/requests/{each}", timeout=10).ok for each in ids)

    def result(self, timeout: float) -> LoadResult:
        """Waits until all threads have ended, at most `timeout` seconds."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._client.close()
        self._result.items = len(self._result.results)
        return self._result

    def _thread(self, run: Callable[[int], None], number: int) -> threading.Thread:
        return threading.Thread(target=run, args=(number,), name=f"openai-{number}", daemon=True)

    def _ask_repeatedly(self, job: int) -> None:
        number = 0
        while not self.stop_streams.is_set():
            entry: dict[str, Any] = {"id": f"item-{job}-{number}", "file": f"{job}-{number}.wav", "error": None}
            try:
                self._ask(entry, SENTENCES[number % len(SENTENCES)])
            except Exception as error:  # any error is a result here
                entry["error"] = f"{type(error).__name__}: {error}"
            self._result.results.append(entry)
            number += 1

    def _ask(self, entry: dict[str, Any], text: str) -> None:
        """Writes the file of an item."""
        answer = self._client.audio.speech.with_raw_response.create(
            model="tts-1", voice="alloy", input=text, response_format="wav"
        )
        entry["attempts"] = answer.retries_taken + 1
        (self._result.folder / entry["file"]).write_bytes(answer.content)

    def _stream_repeatedly(self, listener: int) -> None:
        while not self.stop_streams.is_set():
            self._result.streams.append(result := StreamResult(listener, sample_rate=SAMPLE_RATE))
            try:
                while not result.complete:
                    self._stream_once(result)
            except Exception as error:  # any error is a result here
                result.error = f"{type(error).__name__}: {error}"
                return

    def _stream_once(self, result: StreamResult) -> None:
        """Fills in `result`, or counts a cut in it."""
        story = STORIES[result.listener]
        playout, audio, last = Playout(time.monotonic()), bytearray(), 0.0
        with self._client.audio.speech.with_streaming_response.create(
            model="tts-1",
            voice="alloy",
            input=(" " if story[0].isascii() else "").join(story),
            response_format="pcm",
            extra_body={"seed": SEED + result.listener},
        ) as response:
            try:
                for piece in response.iter_bytes(PIECE_BYTES):
                    self._streaming[result.listener] = response.headers["x-request-id"]
                    now = time.monotonic()
                    result.max_wait_seconds = max(result.max_wait_seconds, now - last if last else 0.0)
                    playout.on_samples(now, len(piece) / BYTES_PER_SAMPLE / SAMPLE_RATE)
                    audio += piece
                    last = now
                result.complete, result.audio = True, bytes(audio)
            except Exception:  # of the library that reads: it differs between versions of the client
                if not audio:
                    raise
                result.cuts += 1
        self._streaming.pop(result.listener, None)
        result.max_silence_seconds = max(result.max_silence_seconds, playout.max_silence_seconds)
