"""How cases are processed: by a running server, or by the text front end in this process."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import requests
import soundfile

from glmtts.checkpoint.components import load_frontend
from glmtts.checkpoint.loader import TOKENIZER
from glmtts.config import GenerationConfig
from glmtts.dsp.audio import Wave
from glmtts.text.tokenizer import Tokenizer

TIMEOUT_SECONDS = 600


class TextClient(Protocol):
    """Reads text."""

    def normalize(self, text: str, lang: str) -> str:
        """The text as it is spoken."""

    def pronunciation(self, text: str) -> list[tuple[str, str]]:
        """Characters and words of a Chinese text, with their sounds."""


class LocalText:
    """The text front end of a checkpoint, in this process."""

    def __init__(self, checkpoint: Path) -> None:
        tokenizer = Tokenizer.from_dir(checkpoint / TOKENIZER)
        self._frontend = load_frontend(checkpoint / "frontend", tokenizer, {}, GenerationConfig())

    def normalize(self, text: str, lang: str) -> str:
        return " ".join(
            segment.text
            for segment in self._frontend.segments(text, phoneme=False, language="zh" if lang == "zh" else "en")
        )

    def pronunciation(self, text: str) -> list[tuple[str, str]]:
        return self._frontend.pronunciation(self.normalize(text, "zh"))


class Speech(NamedTuple):
    """Synthesised audio, and why it ended: "stop" or "length"."""

    wave: Wave
    sample_rate: int
    finish_reason: str


class ServerClient:
    """The server at `url`. Raises requests' errors."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def normalize(self, text: str, lang: str) -> str:
        """The texts of all segments, with spaces between them."""
        return " ".join(segment["text"] for segment in self._segments(text=text, language=lang))

    def pronunciation(self, text: str) -> list[tuple[str, str]]:
        segments = self._segments(text=text, language="zh", pronunciation=True)
        return [(written, sound) for segment in segments for written, sound in segment["pronunciation"]]

    def voices(self, lang: str) -> list[str]:
        """Names of the stored voices of a language; the one named `default` comes last."""
        response = requests.get(f"{self._url}/voices", timeout=TIMEOUT_SECONDS)
        response.raise_for_status()
        names = [voice["name"] for voice in response.json()["voices"] if voice["language"] == lang]
        return sorted(names, key=lambda name: (name == "default", name))

    def synthesize(self, text: str, voice: str, seed: int) -> Speech:
        """Speech with default settings."""
        response = self._post("/tts", {"text": text, "voice": voice, "seed": seed})
        wave, sample_rate = soundfile.read(io.BytesIO(response.content), dtype="float32")
        return Speech(wave, sample_rate, response.headers["X-Finish-Reason"])

    def _segments(self, **body: Any) -> list[dict[str, Any]]:
        segments: list[dict[str, Any]] = self._post("/segments", body).json()["segments"]
        return segments

    def _post(self, path: str, body: dict[str, Any]) -> requests.Response:
        response = requests.post(f"{self._url}{path}", json=body, timeout=TIMEOUT_SECONDS)
        if response.status_code == 400:
            raise SystemExit(f"{path} {body}: {response.text}")
        response.raise_for_status()
        return response
