"""The engine learns the name of a stored voice, by which a model may know the speaker."""

from __future__ import annotations

import base64

import pytest

from glmtts.engine.api import Job
from glmtts.engine.runtime.fake import FakeEngine
from glmtts.engine.scheduling.job_handle import JobHandle
from tests.helpers.app import MakeClient
from tests.helpers.server import recording


def test_a_job_has_the_name_of_its_stored_voice(client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of the default one; a recording that a request brings has none."""
    speakers: list[str] = []
    submit = FakeEngine.submit

    def record(engine: FakeEngine, job: Job) -> JobHandle:
        speakers.append(job.speaker)
        return submit(engine, job)

    monkeypatch.setattr(FakeEngine, "submit", record)
    app = client()
    reference = {"reference_audio": base64.b64encode(recording()).decode(), "reference_text": "Me."}
    for fields in ({"voice": "default"}, {}, reference):
        assert app.post("/tts", json={"text": "Hello.", **fields}).status_code == 200
    assert speakers == ["default", "default", ""]
