"""The application as it is constructed."""

from pathlib import Path

from glmtts.engine.runtime.fake import FakeEngine, FakeOptions
from glmtts.text.language import Language
from glmtts.voice.voice import Voice
from server.settings import Settings
from server.voices.flac import to_flac
from server.wsgi.app import create_app, make_context, make_store
from tests.helpers.server import recording, store_voice, wait_until


class RecordingEngine(FakeEngine):
    """Records the texts of the voices that it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def make_voice(self, reference_audio: bytes, reference_text: str, language: Language | None = None) -> Voice:
        self.made.append(reference_text)
        return super().make_voice(reference_audio, reference_text, language)


def test_the_default_voice_is_made_before_the_node_is_ready_and_only_once(tmp_path: Path) -> None:
    """Its first request does not pay for it, and no number of uploads evicts it."""
    store_voice(tmp_path, "default", {"neutral": "This is me."})
    engine = RecordingEngine()
    context = make_context(
        Settings(consul=False, voice_cache_items=2, propagation_delay=0, drain_timeout=0), lambda: engine, tmp_path
    )
    context.node.start()
    wait_until(lambda: context.node.not_ready_reason() is None, "the node to be ready")
    assert engine.made == ["This is me."]
    for number in range(3):
        context.voice_cache.get(engine.make_voice, recording(), f"upload {number}")
    audio, transcript, *_ = context.voices.reference("default", None)
    context.voice_cache.get(engine.make_voice, audio, transcript)
    assert engine.made.count("This is me.") == 1
    context.node.drain()


def test_a_stored_voice_is_made_once_for_all_restarts(tmp_path: Path) -> None:
    """What is made of it is kept on disk, until the recording or its text changes."""
    settings = Settings(consul=False, propagation_delay=0, drain_timeout=0, voices_dir=tmp_path)

    def made_by_a_start() -> list[str]:
        engine = RecordingEngine()
        context = make_context(settings, lambda: engine, None)
        context.node.start()
        wait_until(lambda: context.node.not_ready_reason() is None, "the node to be ready")
        context.node.drain()
        return engine.made

    store = make_store(settings, None)
    store.put("default", "neutral", "One.", to_flac(recording()), "en")
    assert [made_by_a_start(), made_by_a_start()] == [["One."], []]
    store.put("default", "neutral", "Two.", to_flac(recording()), "en")
    assert [made_by_a_start(), made_by_a_start()] == [["Two."], []]
    assert len(list(tmp_path.glob("default/*.safetensors"))) == 1, "that of the replaced text is gone"


def test_the_record_of_a_disconnected_client_keeps_no_ids(tmp_path: Path) -> None:
    """A thousand records are kept, and the ids of the finished segments would take fifty kilobytes each."""
    store_voice(tmp_path, "default", {"neutral": "This is me."})
    engine = FakeEngine(FakeOptions(delay=0.02))
    context = make_context(Settings(consul=False, propagation_delay=0, drain_timeout=0), lambda: engine, tmp_path)
    context.node.start()
    wait_until(lambda: context.node.not_ready_reason() is None, "the node to be ready")
    body = {"text": "One. Two. Three. Four.", "format": "pcm"}
    answer = create_app(context).test_client().post("/tts/stream", json=body, buffered=False)
    record = context.request_history.get(answer.headers["X-Request-Id"])
    assert record is not None
    assert record.report is not None
    chunks = answer.iter_encoded()
    while not record.report.history:
        next(chunks)
    answer.close()
    wait_until(lambda: engine.num_running() == 0, "the job to be over")
    assert record.report.finish_reason == "cancelled"
    assert record.report.history == ()
    context.node.drain()
