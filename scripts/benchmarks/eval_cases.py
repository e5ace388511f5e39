"""The cases of scripts/evaluate.py: which texts are synthesised, with which recordings as prompts, at which speed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from scripts.nano.sentences import held_out

KINDS = ("words", "sentences", "paragraphs", "long-prompts", "speeds")
SPEEDS = (0.7, 1.6, 2.0)
FEW = 10
"""Sentences for long prompts and for each speed."""
LONG_PROMPT_SECONDS, PAUSE_SECONDS = 15.0, 0.3


class Recording(NamedTuple):
    """An encoded recording and its transcript."""

    audio: bytes
    transcript: str


@dataclass(frozen=True)
class Prompt:
    """A voice: its default recording, and all of its recordings by style."""

    name: str
    lang: str
    recording: Path
    transcript: str
    styles: dict[Path, str]

    def short(self) -> Recording:
        """The default recording."""
        return Recording(self.recording.read_bytes(), self.transcript)

    def long(self) -> Recording:
        """The recordings of all styles with pauses between them, repeated up to LONG_PROMPT_SECONDS."""
        waves, transcripts, seconds = [], [], 0.0
        for file, transcript in cycle(self.styles.items()):
            wave, sample_rate = soundfile.read(file, dtype="float32")
            waves += [wave, np.zeros(int(PAUSE_SECONDS * sample_rate), np.float32)]
            transcripts.append(transcript)
            seconds += len(wave) / sample_rate
            if seconds >= LONG_PROMPT_SECONDS:
                break
        buffer = io.BytesIO()
        soundfile.write(buffer, np.concatenate(waves[:-1]), sample_rate, format="FLAC")
        return Recording(buffer.getvalue(), ("" if self.lang == "zh" else " ").join(transcripts))


@dataclass(frozen=True)
class Row:
    """The texts of one kind and language in one voice. `label` is the kind, with the speed if it has one."""

    label: str
    lang: str
    prompt: Prompt
    texts: list[str]
    speed: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.label} {self.lang} {self.prompt.name}"

    def recording(self) -> Recording:
        """What the voice is made of."""
        return self.prompt.long() if self.label == "long-prompts" else self.prompt.short()


def load_prompts(folder: Path) -> list[Prompt]:
    """The voices stored in `folder`."""
    prompts = []
    for file in sorted(folder.glob("*/voice.json")):
        voice = json.loads(file.read_text(encoding="utf-8"))
        styles = {file.with_name(f"{style}.flac"): text for style, text in voice["transcripts"].items()}
        recording = file.with_name(f"{voice['default_style']}.flac")
        prompts.append(Prompt(file.parent.name, voice["language"], recording, styles[recording], styles))
    return prompts


def rows(kind: str, lang: str, prompt: Prompt, limit: int | None) -> Iterator[Row]:
    """The rows of a kind, with at most `limit` texts each."""
    texts = {name: sorted(held_out(lang, name))[:limit] for name in ("words", "sentences", "paragraphs")}
    if kind == "speeds":
        for speed in SPEEDS:
            yield Row(f"speed {speed:g}", lang, prompt, texts["sentences"][:FEW], speed)
    elif kind == "long-prompts":
        yield Row(kind, lang, prompt, texts["sentences"][:FEW])
    else:
        yield Row(kind, lang, prompt, texts[kind])
