"""`glmtts voices add` and `delete`, with a real node and, in place of a microphone, a recording."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import pytest
import requests
import soundfile
from click.testing import CliRunner
from glmtts_client import ClientError
from glmtts_client.cli.main import cli

from tests.helpers.server import ROOT, Server, store_voice

pytestmark = pytest.mark.processes

SPEECH = ROOT / "checkpoints" / "nano" / "voices" / "hibari" / "neutral.flac"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("voices")
    store_voice(folder, "default", {"neutral": "This is me."})
    (folder / "aliases.json").write_text('{"narrator": "default"}', "utf-8")
    with Server(voices=folder) as server:
        yield server


def run(server: Server, *arguments: str) -> str:
    """What a command prints; it must succeed."""
    result = CliRunner().invoke(cli, ["--url", server.url, "voices", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def microphone(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A sounddevice whose microphone hears `samples`."""
    samples, rate = soundfile.read(SPEECH, dtype="float32")
    heard = {"samples": samples}

    def rec(frames: int, **options: Any) -> Any:
        assert options == {"samplerate": rate, "channels": 1, "dtype": "float32", "blocking": True}
        assert frames == 3 * rate
        return heard["samples"][:, None]

    module = ModuleType("sounddevice")
    parts = {"PortAudioError": OSError, "query_devices": lambda kind: {"default_samplerate": float(rate)}, "rec": rec}
    for name, part in parts.items():
        setattr(module, name, part)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return heard


def test_a_file_is_stored_and_deleted(server: Server) -> None:
    """With all that is said of it; one style is deleted, then the voice."""
    arguments = ("--reference-audio", str(SPEECH), "--language", "zh", "--consent", "Anna, by letter")
    output = run(server, "add", "anna", *arguments, "--style", "calm", "--reference-text", "He sat on the floor.")
    assert "stored: anna, with the styles calm" in output
    assert "no transcript" in run(server, "add", "anna", *arguments, "--style", "sad")
    shown = requests.get(f"{server.url}/voices/anna", timeout=10).json()
    assert (shown["language"], shown["styles"]) == ("zh", {"calm": "He sat on the floor.", "sad": ""})
    assert shown["recordings"]["calm"]["consent"] == "Anna, by letter"
    assert json.loads(run(server, "--json").splitlines()[0])["name"] == "anna"
    run(server, "delete", "anna", "--style", "sad")
    assert "calm" in run(server)
    run(server, "delete", "anna")
    assert requests.get(f"{server.url}/voices/anna", timeout=10).status_code == 404
    with pytest.raises(ClientError, match="unknown_voice"):
        cli(["--url", server.url, "voices", "delete", "anna"], standalone_mode=False)


def test_a_recording_is_stored_if_nothing_is_wrong_with_it(server: Server, microphone: dict[str, Any]) -> None:
    """What is wrong is said, and stored only by force."""
    arguments = ["add", "bob", "--record", "3", "--reference-text", "He sat on the floor."]
    assert "stored: bob" in run(server, *arguments)
    samples = microphone["samples"]
    noise = np.random.default_rng(1).standard_normal(len(samples)) * 0.1
    microphone["samples"] = np.clip(samples * 3 + noise, -1, 1).astype(np.float32)
    command = ["--url", server.url, "voices", *arguments, "--style", "loud"]
    with pytest.raises(click.ClickException, match=r"clipped: .*noisy: "):
        cli(command, standalone_mode=False)
    assert list(requests.get(f"{server.url}/voices/bob", timeout=10).json()["styles"]) == ["neutral"]
    assert "noisy: " in run(server, *arguments, "--style", "loud", "--force")
    assert set(requests.get(f"{server.url}/voices/bob", timeout=10).json()["styles"]) == {"neutral", "loud"}


def test_an_alias_speaks(server: Server, tmp_path: Path) -> None:
    """As the voice that it stands for, which is listed by its own name."""
    for voice in ("narrator", "default"):
        arguments = ["say", "Hello.", "--voice", voice, "--seed", "1", "-o", str(tmp_path / f"{voice}.wav")]
        cli(["--url", server.url, *arguments], standalone_mode=False)
    assert (tmp_path / "narrator.wav").read_bytes() == (tmp_path / "default.wav").read_bytes()
    assert "narrator" not in run(server)


def test_without_a_microphone_the_error_says_what_is_missing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package, or the recording itself."""
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ClientError, match=r"pip install 'glmtts-client\[record\]'"):
        cli(["--url", server.url, "voices", "add", "eve", "--record", "3"], standalone_mode=False)
    for arguments in ((), ("--record", "3", "--reference-audio", str(SPEECH))):
        with pytest.raises(click.UsageError, match="--reference-audio FILE or --record"):
            cli(["--url", server.url, "voices", "add", "eve", *arguments], standalone_mode=False)
