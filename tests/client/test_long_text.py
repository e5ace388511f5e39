"""Texts longer than a server takes: how they are cut, and that nothing of them is lost."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from glmtts_client import ClientError, Cluster, Query, ResponseError, RetriesExhaustedError, RetryPolicy, SpeechOptions
from glmtts_client.batch.items import read_items
from glmtts_client.batch.runner import run_batch
from glmtts_client.long_text import for_each_part, split
from glmtts_client.speech import Language
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.server import Server, store_voice

LIMIT = 60
SENTENCES = "".join(f"这是第{number}句。And this is number {number}! " for number in range(20))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A node that takes at most LIMIT characters."""
    voices = tmp_path_factory.mktemp("voices")
    store_voice(voices, "default", {"neutral": "This is me."})
    with (
        Server("fake:", voices=voices, env={"GLMTTS_MAX_TEXT_CHARS": str(LIMIT)}) as server,
        Cluster(urls=[server.url]) as cluster,
    ):
        yield cluster


@given(st.text("a。，. \n", max_size=200), st.integers(1, 50))
def test_parts_are_the_text(text: str, limit: int) -> None:
    """No part is longer than the limit, and joined they are the text."""
    parts = split(text, limit)
    assert "".join(parts) == text
    assert all(len(part) <= limit for part in parts)
    assert all(parts) or not text


@pytest.mark.parametrize(
    ("text", "limit", "parts"),
    [
        ("短。", 10, ["短。"]),
        ("一二三四。五六七八。九", 10, ["一二三四。五六七八。", "九"]),
        ("He paid 3.50 there. And left.", 20, ["He paid 3.50 there.", " And left."]),
        ("她说：“好。”然后走了很远", 9, ["她说：“好。”", "然后走了很远"]),
        ("一二三四，五六七八九十", 7, ["一二三四，", "五六七八九十"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
    ],
)
def test_split(text: str, limit: int, parts: list[str]) -> None:
    """At the end of a sentence if possible, else at a comma, else anywhere."""
    assert split(text, limit) == parts


def test_a_hundred_thousand_characters() -> None:
    """They take twenty requests, hardly more than they must."""
    text = ("这是一个句子。" * 15000)[:100_000]
    assert len(split(text, 5000)) == 21


def test_parts_with_nothing_to_say() -> None:
    """Parts of signs or of another language are left out, unless there is nothing else; other errors count."""

    def process(part: str) -> str:
        if "안" in part:
            raise ResponseError(400, "unsupported_language", "text", field="text", request_id=None)
        if "!" in part:
            raise ResponseError(400, "invalid_text", "text", field="text", request_id=None)
        return part.upper()

    assert list(for_each_part("ab。----안안안。cd", 4, process)) == [
        ("ab。", "AB。"),
        ("----", None),
        ("안안안。", None),
        ("cd", "CD"),
    ]
    for text, code in (("안안안。안", "unsupported_language"), ("a!b", "invalid_text")):
        with pytest.raises(ResponseError) as caught:
            list(for_each_part(text, 2, process))
        assert caught.value.code == code


@pytest.mark.processes
def test_a_long_text_is_spoken_whole(cluster: Cluster) -> None:
    """Its segments are those of its parts, and its audio has all of them; likewise as a stream."""
    segments = cluster.segments(SENTENCES)
    assert "".join(segments).replace(" ", "") == SENTENCES.replace(" ", "")
    seconds = 0.1 * sum(map(len, segments))
    speech = cluster.synthesize(SENTENCES)
    assert speech.audio_seconds == pytest.approx(seconds)
    with wave.open(io.BytesIO(speech.audio)) as file:
        assert file.getnframes() == pytest.approx(seconds * file.getframerate())
    pcm = cluster.synthesize(SENTENCES, SpeechOptions(format="pcm", seed=1))
    assert len(pcm.audio) / 2 / pcm.sample_rate == pytest.approx(seconds)
    mp3 = cluster.synthesize(SENTENCES, SpeechOptions(format="mp3"))
    assert len(mp3.audio) * 8 / 96_000 == pytest.approx(seconds, rel=0.1)
    with cluster.stream(SENTENCES, SpeechOptions(seed=1)) as stream:
        streamed = sum(map(len, stream)) / 2 / stream.sample_rate
    assert streamed == pytest.approx(seconds)
    with pytest.raises(ClientError, match="format: expected wav, pcm, mp3 or aac"):
        cluster.synthesize(SENTENCES, SpeechOptions(format="flac"))


@pytest.mark.processes
def test_long_ssml_is_an_error(cluster: Cluster) -> None:
    """Cutting it would break its elements."""
    for call in (cluster.synthesize, cluster.segments):
        with pytest.raises(ClientError, match=f"text: expected SSML of at most {LIMIT} characters"):
            call(f"<speak>{SENTENCES}</speak>")


@pytest.mark.processes
def test_characters_in_another_language_are_counted(cluster: Cluster) -> None:
    """Those that the server skips, and parts of nothing else."""
    assert cluster.synthesize("Hello 안녕.").skipped_characters == 2
    korean = "안녕하세요" * 13
    assert cluster.synthesize(f"{'Hello. ' * 8}안녕. {korean}. Bye.").skipped_characters == 2 + len(korean)


@pytest.mark.processes
def test_a_batch_speaks_long_items(cluster: Cluster, tmp_path: Path) -> None:
    """An item may be longer than a request."""
    (tmp_path / "in.jsonl").write_text(json.dumps({"id": "long", "text": SENTENCES, "language": "auto"}))
    summary = run_batch(cluster, read_items(tmp_path / "in.jsonl"), tmp_path / "out", jobs=1)
    assert (summary.done, summary.failed) == (1, 0)
    with wave.open(str(tmp_path / "out" / "long.wav")) as file:
        seconds = file.getnframes() / file.getframerate()
    assert seconds == pytest.approx(0.1 * sum(map(len, cluster.segments(SENTENCES))))
    [result] = map(json.loads, (tmp_path / "out" / "results.jsonl").read_text().splitlines())
    assert result["skipped_characters"] == 0


@pytest.mark.processes
def test_a_language_is_sent_and_required(cluster: Cluster) -> None:
    """Requests with any language are served; a node that lacks a required one is not used."""
    for language in get_args(Language):
        cluster.synthesize("Hi.", SpeechOptions(language=language))
        assert cluster.segments("Hi.", language=language) == ["Hi."]
    [node] = cluster.nodes()
    with (
        Cluster(urls=[node.url], query=Query(language="fr"), retry=RetryPolicy(timeout=0.5)) as other,
        pytest.raises(RetriesExhaustedError, match="no node matches"),
    ):
        other.synthesize("Hi.", SpeechOptions(language="zh"))
