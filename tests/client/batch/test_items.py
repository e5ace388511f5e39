"""The lines of a batch: valid items and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from glmtts_client.batch.items import Item, ItemError, read_items
from glmtts_client.speech import DEFAULT_OPTIONS, SpeechOptions


def read(folder: Path, *lines: Any, defaults: SpeechOptions = DEFAULT_OPTIONS) -> list[Item | ItemError]:
    file = folder / "in.jsonl"
    file.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return list(read_items(file, defaults))


def test_valid_lines(tmp_path: Path) -> None:
    """Its options override the defaults; its name is the id, else the line number."""
    (tmp_path / "me.wav").write_bytes(b"RIFF")
    items = read(
        tmp_path,
        {"id": "a.1", "text": "Hi.", "voice": "anna", "format": "flac"},
        b"",
        {"text": "Ho.", "reference_audio": "me.wav"},
        defaults=SpeechOptions(voice="default", speed=1.5),
    )
    first, second = items
    assert isinstance(first, Item)
    assert isinstance(second, Item)
    assert (first.name, first.file_name, first.text) == ("a.1", "a.1.flac", "Hi.")
    assert first.options == SpeechOptions(voice="anna", speed=1.5, format="flac")
    assert (second.file_name, second.options.reference_audio, second.options.voice) == ("00003.wav", b"RIFF", "default")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "line 2"),
        (b"[]", "expected a JSON object, got list"),
        (b"\xff\xfe", "line 2"),
        ({"text": 5}, "text: expected a string"),
        ({"id": "x"}, "text: expected a string"),
        ({"id": "../../etc", "text": "a"}, "id: expected 1 to 128"),
        ({"id": ".hidden", "text": "a"}, "id: expected 1 to 128"),
        ({"id": "good", "text": "a"}, "expected a unique id"),
        ({"text": "a", "colour": "red"}, "keys: expected .*voice.*, got colour"),
        ({"text": "a", "format": "../x"}, "format"),
        ({"text": "a", "reference_audio": "nowhere.wav"}, "nowhere.wav"),
    ],
)
def test_an_invalid_line_does_not_affect_others(tmp_path: Path, line: Any, message: str) -> None:
    before, bad, after = read(tmp_path, {"id": "good", "text": "a"}, line, {"text": "b"})
    assert isinstance(before, Item)
    assert isinstance(after, Item)
    assert isinstance(bad, ItemError)
    with pytest.raises(ItemError, match=message):
        raise bad


def test_the_digest_depends_on_the_audio(tmp_path: Path) -> None:
    """It depends on the text, the options and the content of the reference audio, not on the name."""
    lines = [{"text": "a"}, {"text": "b"}, {"text": "a", "speed": 2}, {"text": "a", "reference_audio": "r"}]
    (tmp_path / "r").write_bytes(b"one")
    first = [item.digest for item in read(tmp_path, *lines) if isinstance(item, Item)]
    (tmp_path / "r").write_bytes(b"two")
    second = [item.digest for item in read(tmp_path, {"id": "c", "text": "a"}, lines[3]) if isinstance(item, Item)]
    assert len({*first, *second}) == 5
    assert second[0] == first[0]
