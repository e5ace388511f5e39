"""Recordings of voices where servers require consent to their use."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from glmtts_client import Cluster, ResponseError, SpeechOptions
from glmtts_client.cli.main import cli

from tests.helpers.server import Server, recording

pytestmark = pytest.mark.processes


def test_consent_goes_with_a_recording(voices: Path, tmp_path: Path) -> None:
    """With whole files, streams, text that comes in pieces, and the command."""
    options = SpeechOptions(reference_audio=recording(), consent="Me, today")
    with Server(voices=voices, env={"GLMTTS_REQUIRE_CONSENT": "on"}) as server, Cluster(urls=[server.url]) as cluster:
        with pytest.raises(ResponseError, match="consent: expected"):
            cluster.synthesize("Hello.", SpeechOptions(reference_audio=recording()))
        assert cluster.synthesize("Hello.", options).audio
        with cluster.stream("Hello.", options) as stream:
            assert b"".join(stream)
        with cluster.follow(["Hello."], options) as live:
            assert b"".join(live)
        (tmp_path / "me.wav").write_bytes(recording())
        command = ["--url", server.url, "say", "Hello.", "-o", f"{tmp_path}/a.wav", "--consent", "Me, today"]
        done = CliRunner().invoke(cli, [*command, "--reference-audio", f"{tmp_path}/me.wav"])
        assert done.exit_code == 0, done.output
