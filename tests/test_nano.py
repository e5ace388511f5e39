"""The checkpoint that comes along speaks: the program finds it by itself, and a recogniser understands it.

What is measured here is whether speech arrives at all; `scripts/evaluate.py` has the figures.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
import soundfile

from scripts.benchmarks.speech_metrics import Recogniser, error_rate
from tests.helpers.server import ROOT, Server

SENTENCES = {
    "en": (
        "The children are singing happily on the playground.",
        "The film tells the story of a brave young soldier.",
        "We will meet in the conference room tomorrow afternoon.",
    ),
    "zh": (
        "明天下午三点，我们在会议室见面。",
        "春天来了，山上的花都开了。",
        "火车还有十分钟就要开了，请大家抓紧时间。",
    ),
}
UNDERSTOOD = 0.6
"""Error rate below which it is these sentences that were heard; noise and other sentences are near 1."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("") as running:
        yield running


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser(ROOT / ".tools")


def error(recogniser: Recogniser, answers: list[requests.Response], lang: str) -> float:
    """Error rate of the language's sentences in the answers' audio."""
    heard = []
    for answer in answers:
        assert answer.status_code == 200, answer.text
        wave, rate = soundfile.read(io.BytesIO(answer.content), dtype="float32")
        heard.append(recogniser.transcribe(wave, rate, lang))
    return error_rate(list(SENTENCES[lang]), heard, lang)


@pytest.mark.parametrize("lang", SENTENCES)
def test_the_default_voice_speaks_both_languages(server: Server, recogniser: Recogniser, lang: str) -> None:
    """A request of nothing but a text gives back a wav in which that text is heard."""
    answers = [
        requests.post(server.url + "/tts", json={"text": text, "seed": 1}, timeout=120) for text in SENTENCES[lang]
    ]
    assert [answer.headers["X-Finish-Reason"] for answer in answers] == ["stop"] * 3
    assert error(recogniser, answers, lang) < UNDERSTOOD


@pytest.mark.parametrize("lang", SENTENCES)
def test_each_language_has_a_stored_voice(server: Server, recogniser: Recogniser, lang: str) -> None:
    """There is one beside the default; a stream in it is understood, and is as long as its record says."""
    stored = requests.get(server.url + "/voices", timeout=10).json()["voices"]
    name = next(voice["name"] for voice in stored if voice["language"] == lang and voice["name"] != "default")
    bodies = [{"text": text, "voice": name, "seed": 1, "format": "wav"} for text in SENTENCES[lang]]
    answers = [requests.post(server.url + "/tts/stream", json=body, timeout=120) for body in bodies]
    assert error(recogniser, answers, lang) < UNDERSTOOD
    record = requests.get(f"{server.url}/requests/{answers[0].headers['X-Request-Id']}", timeout=10).json()
    wave, rate = soundfile.read(io.BytesIO(answers[0].content))
    assert record["audio_seconds"] == pytest.approx(len(wave) / rate, abs=0.001)


def test_a_transcript_of_something_else_does_no_harm(server: Server, recogniser: Recogniser) -> None:
    """A recording that does not say what it is said to gives timbre alone; with its own transcript it prompts."""
    voice = ROOT / "checkpoints" / "nano" / "voices" / "hibari"
    own = json.loads((voice / "voice.json").read_text(encoding="utf-8"))["transcripts"]["neutral"]
    recording = (voice / "neutral.flac").read_bytes()
    for transcript, prompted in ((own, True), ("My aunt has sold the old boat to her neighbours.", False)):
        answers = [
            requests.post(
                server.url + "/tts",
                data={"text": text, "seed": "1", "reference_text": transcript},
                files={"reference_audio": recording},
                timeout=120,
            )
            for text in SENTENCES["en"]
        ]
        assert error(recogniser, answers, "en") < UNDERSTOOD
        record = requests.get(f"{server.url}/requests/{answers[0].headers['X-Request-Id']}", timeout=10).json()
        assert record["prompted"] is prompted


def test_the_same_seed_gives_the_same_audio(server: Server) -> None:
    """To the last sample, and another seed another take."""
    bodies = [{"text": SENTENCES["en"][0], "seed": seed, "format": "pcm"} for seed in (3, 3, 4)]
    first, again, other = (requests.post(server.url + "/tts", json=body, timeout=120).content for body in bodies)
    assert first == again
    assert first != other


def test_the_readmes_curl_speaks(server: Server, recogniser: Recogniser, tmp_path: Path) -> None:
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
    assert error_rate([text[1]], [recogniser.transcribe(wave, rate, "en")], "en") < UNDERSTOOD
