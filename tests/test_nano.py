"""The checkpoint that comes along speaks: the program finds it by itself, and a recogniser understands it.

What is measured here is whether speech arrives at all; `scripts/evaluate.py` has the figures.
"""

from __future__ import annotations

import io
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
import soundfile

from scripts.judges import Recogniser, error_rate
from tests.helpers.server import ROOT, Server

SENTENCES = {
    "en": "The children are singing happily on the playground.",
    "zh": "今天天气很好，我们一起去公园散步吧。",
}
UNDERSTOOD = 0.5
"""Error rate below which it is this sentence that was heard; noise and another sentence are near 1."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("") as running:
        yield running


@pytest.fixture(scope="module")
def judge() -> Recogniser:
    return Recogniser(ROOT / ".tools")


def heard(judge: Recogniser, audio: bytes, lang: str) -> float:
    """Error rate of the sentence of that language in an audio file."""
    wave, rate = soundfile.read(io.BytesIO(audio), dtype="float32")
    return error_rate([SENTENCES[lang]], [judge.hear(wave, rate, lang)], lang)


@pytest.mark.parametrize("lang", SENTENCES)
def test_the_default_voice_speaks_both_languages(server: Server, judge: Recogniser, lang: str) -> None:
    """A request of nothing but a text gives back a wav in which that text is heard."""
    answer = requests.post(server.url + "/tts", json={"text": SENTENCES[lang], "seed": 1}, timeout=120)
    assert (answer.status_code, answer.headers["X-Finish-Reason"]) == (200, "stop")
    assert heard(judge, answer.content, lang) < UNDERSTOOD


@pytest.mark.parametrize("lang", SENTENCES)
def test_each_language_has_a_stored_voice(server: Server, judge: Recogniser, lang: str) -> None:
    """/info names one beside the default; a stream in it is understood, and is as long as its record says."""
    names = [
        v["name"] for v in requests.get(server.url + "/voices", timeout=10).json()["voices"] if v["language"] == lang
    ]
    name = next(name for name in names if name != "default")
    body = {"text": SENTENCES[lang], "voice": name, "seed": 1, "format": "flac"}
    answer = requests.post(server.url + "/tts/stream", json=body, timeout=120)
    assert answer.status_code == 200
    assert heard(judge, answer.content, lang) < UNDERSTOOD
    record = requests.get(f"{server.url}/requests/{answer.headers['X-Request-Id']}", timeout=10).json()
    wave, rate = soundfile.read(io.BytesIO(answer.content))
    assert record["audio_seconds"] == pytest.approx(len(wave) / rate, abs=0.001)


def test_the_same_seed_gives_the_same_audio(server: Server) -> None:
    """To the last sample, and another seed another take."""
    bodies = [{"text": SENTENCES["en"], "seed": seed, "format": "pcm"} for seed in (3, 3, 4)]
    first, again, other = (requests.post(server.url + "/tts", json=body, timeout=120).content for body in bodies)
    assert first == again
    assert first != other


def test_the_readmes_curl_speaks(server: Server, judge: Recogniser, tmp_path: Path) -> None:
    """The README's request, sent by curl as it stands there, gives a wav in which its own text is heard."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    line = next(line for line in readme.splitlines() if line.startswith("curl") and "reference_audio" in line)
    words = [word.replace("localhost:7860", f"127.0.0.1:{server.port}") for word in shlex.split(line)]
    words[words.index("-o") + 1] = str(tmp_path / "out.wav")
    subprocess.run(words, cwd=ROOT, check=True, timeout=120)
    text = re.search(r"(?:^|\s)text=(.+)", next(word for word in words if word.startswith("text=")))
    assert text is not None
    wave, rate = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert np.abs(wave).max() > 0.05
    assert error_rate([text[1]], [judge.hear(wave, rate, "en")], "en") < UNDERSTOOD
