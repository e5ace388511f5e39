"""A second style of a Mandarin voice, in every route that speaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glmtts.engine.api import Job
from glmtts.engine.runtime.fake import FakeEngine
from glmtts.engine.scheduling.job_handle import JobHandle
from server.settings import Settings
from server.wsgi.app import create_app, make_context
from tests.helpers.server import wait_until

NEUTRAL, CALM = "医生不但会打篮球，而且会拍照片。", "大家从图书馆回来的时候，天已经黑了。"


class RecordingEngine(FakeEngine):
    """Records the texts of the recordings that jobs are spoken after."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts: list[str] = []

    def submit(self, job: Job) -> JobHandle:
        self.prompts.append(job.voice.reference_text)
        return super().submit(job)


def test_a_style_selects_its_recording(tmp_path: Path) -> None:
    """By the field `style` or a word of `instructions`, and under the old name; without either the default speaks."""
    engine = RecordingEngine()
    context = make_context(Settings(consul=False, propagation_delay=0, drain_timeout=0), lambda: engine, tmp_path)
    context.node.start()
    wait_until(lambda: context.node.not_ready_reason() is None, "the node to be ready")
    client = create_app(context).test_client()
    cases: list[tuple[str, dict[str, Any]]] = [
        ("/tts", {"text": "你好。", "style": "calm"}),
        ("/tts/stream", {"text": "你好。", "style": "calm"}),
        ("/v1/audio/speech", {"input": "你好。", "style": "calm"}),
        ("/v1/audio/speech", {"input": "你好。", "instructions": "Be calm."}),
        ("/v1/audio/speech/batch", {"items": [{"input": "你好。", "style": "calm"}]}),
        ("/tts", {"text": "你好。"}),
    ]
    for voice in ("mingyue", "xiaoxiao"):
        for path, body in cases:
            assert client.post(path, json={**body, "voice": voice, "seed": 1}).status_code == 200
        assert engine.prompts == [*[CALM] * 5, NEUTRAL]
        engine.prompts.clear()
    refusal = client.post("/tts", json={"text": "你好。", "voice": "mingyue", "style": "angry"})
    assert "expected one of calm, neutral (voice mingyue)" in refusal.json["error"]["message"]
    context.node.drain()
