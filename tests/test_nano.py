"""The checkpoint in the repository: the server uses it by default, and a recogniser understands its speech.

These tests only check that it is intelligible; `scripts/evaluate.py` has the figures.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import requests
import soundfile

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


class Listener:
    """Transcribes speech and counts the errors."""

    def __init__(self, metrics: ModuleType) -> None:
        self._metrics, self._recogniser = metrics, metrics.Recogniser(ROOT / ".tools")

    def error(self, texts: tuple[str, ...], wavs: list[bytes], lang: str) -> float:
        """Error rate of texts in encoded audio."""
        waves = [soundfile.read(io.BytesIO(wav), dtype="float32") for wav in wavs]
        transcripts = [self._recogniser.transcribe(wave, rate, lang) for wave, rate in waves]
        return float(self._metrics.error_rate(list(texts), transcripts, lang))


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener(pytest.importorskip("scripts.benchmarks.speech_metrics", reason="needs the extra eval"))


def wavs(responses: list[requests.Response]) -> list[bytes]:
    for response in responses:
        assert response.status_code == 200, response.text
    return [response.content for response in responses]


@pytest.mark.recogniser
@pytest.mark.parametrize("lang", SENTENCES)
def test_the_default_voice_speaks_both_languages(server: Server, listener: Listener, lang: str) -> None:
    """A request with only a text returns a wav in which that text is heard."""
    responses = [
        requests.post(server.url + "/tts", json={"text": text, "seed": 1}, timeout=120) for text in SENTENCES[lang]
    ]
    assert [response.headers["X-Finish-Reason"] for response in responses] == ["stop"] * 3
    assert listener.error(SENTENCES[lang], wavs(responses), lang) < UNDERSTOOD


@pytest.mark.recogniser
@pytest.mark.parametrize("lang", SENTENCES)
def test_each_language_has_a_stored_voice(server: Server, listener: Listener, lang: str) -> None:
    """There is one beside the default; a stream in it is understood, and is as long as its record says."""
    assert requests.get(server.url + "/info", timeout=10).json()["calibrated"] is True
    stored = requests.get(server.url + "/voices", timeout=10).json()["voices"]
    name = next(voice["name"] for voice in stored if voice["language"] == lang and voice["name"] != "default")
    bodies = [{"text": text, "voice": name, "seed": 1, "format": "wav"} for text in SENTENCES[lang]]
    responses = [requests.post(server.url + "/tts/stream", json=body, timeout=120) for body in bodies]
    assert listener.error(SENTENCES[lang], wavs(responses), lang) < UNDERSTOOD
    record = requests.get(f"{server.url}/requests/{responses[0].headers['X-Request-Id']}", timeout=10).json()
    wave, rate = soundfile.read(io.BytesIO(responses[0].content))
    assert record["audio_seconds"] == pytest.approx(len(wave) / rate, abs=0.001)


@pytest.mark.recogniser
def test_a_transcript_of_something_else_does_no_harm(server: Server, listener: Listener) -> None:
    """A recording with a wrong transcript gives only the timbre; with its own transcript it is a prompt."""
    voice = ROOT / "checkpoints" / "nano" / "voices" / "hibari"
    own = json.loads((voice / "voice.json").read_text(encoding="utf-8"))["transcripts"]["neutral"]
    recording = (voice / "neutral.flac").read_bytes()
    for transcript, prompted in ((own, True), ("My aunt has sold the old boat to her neighbours.", False)):
        responses = [
            requests.post(
                server.url + "/tts",
                data={"text": text, "seed": "1", "reference_text": transcript},
                files={"reference_audio": recording},
                timeout=120,
            )
            for text in SENTENCES["en"]
        ]
        assert listener.error(SENTENCES["en"], wavs(responses), "en") < UNDERSTOOD
        record = requests.get(f"{server.url}/requests/{responses[0].headers['X-Request-Id']}", timeout=10).json()
        assert record["prompted"] is prompted


@pytest.mark.processes
def test_the_same_seed_gives_the_same_audio(server: Server) -> None:
    """Sample for sample; another seed gives other audio."""
    bodies = [{"text": SENTENCES["en"][0], "seed": seed, "format": "pcm"} for seed in (3, 3, 4)]
    first, again, other = (requests.post(server.url + "/tts", json=body, timeout=120).content for body in bodies)
    assert first == again
    assert first != other


@pytest.mark.recogniser
def test_the_readmes_curl_speaks(server: Server, listener: Listener, tmp_path: Path) -> None:
    """The README's request, sent by curl, returns a wav in which its text is heard."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    line = next(line for line in readme.splitlines() if line.startswith("curl") and "reference_audio" in line)
    words = [word.replace("localhost:7860", f"127.0.0.1:{server.port}") for word in shlex.split(line)]
    words[words.index("-o") + 1] = str(tmp_path / "out.wav")
    subprocess.run(words, cwd=ROOT, check=True, timeout=120)
    text = re.search(r"(?:^|\s)text=(.+)", next(word for word in words if word.startswith("text=")))
    assert text is not None
    assert listener.error((text[1],), [(tmp_path / "out.wav").read_bytes()], "en") < UNDERSTOOD
