"""Lines of a batch: what becomes an item, and what spoils only itself."""

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


def test_a_line_is_an_item(tmp_path: Path) -> None:
    """Its options go before the defaults; it is named by its id, else by its line's number."""
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
    ("line", "complaint"),
    [
        (b"{", "line 2"),
        (b"[]", "want a JSON object"),
        (b"\xff\xfe", "line 2"),
        ({"text": 5}, "text: want a text"),
        ({"id": "x"}, "text: want a text"),
        ({"id": "../../etc", "text": "a"}, "names a file"),
        ({"id": ".hidden", "text": "a"}, "names a file"),
        ({"id": "good", "text": "a"}, "came before"),
        ({"text": "a", "colour": "red"}, "came colour; want .*voice"),
        ({"text": "a", "format": "../x"}, "format"),
        ({"text": "a", "reference_audio": "nowhere.wav"}, "nowhere.wav"),
    ],
)
def test_a_bad_line_spoils_only_itself(tmp_path: Path, line: Any, complaint: str) -> None:
    """It says what is wrong; its neighbours are items."""
    before, bad, after = read(tmp_path, {"id": "good", "text": "a"}, line, {"text": "b"})
    assert isinstance(before, Item)
    assert isinstance(after, Item)
    assert isinstance(bad, ItemError)
    with pytest.raises(ItemError, match=complaint):
        raise bad


def test_the_digest_changes_with_all_that_decides_the_sound(tmp_path: Path) -> None:
    """Text, any option, the recording itself; not the name."""
    lines = [{"text": "a"}, {"text": "b"}, {"text": "a", "speed": 2}, {"text": "a", "reference_audio": "r"}]
    (tmp_path / "r").write_bytes(b"one")
    first = [item.digest for item in read(tmp_path, *lines) if isinstance(item, Item)]
    (tmp_path / "r").write_bytes(b"two")
    second = [item.digest for item in read(tmp_path, {"id": "c", "text": "a"}, lines[3]) if isinstance(item, Item)]
    assert len({*first, *second}) == 5
    assert second[0] == first[0]
