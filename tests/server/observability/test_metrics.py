"""The metrics, as Prometheus scrapes them from a running server."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from server.observability.metrics import TTFA_BUCKETS
from tests.helpers.server import ROOT, Server, wait_until

pytestmark = pytest.mark.processes

SERIES = {
    "requests": ("counter", {"route", "status", "via_consul"}),
    "in_flight": ("gauge", set()),
    "queued": ("gauge", set()),
    "backlog_seconds": ("gauge", set()),
    "queue_seconds": ("histogram", set()),
    "first_audio_seconds": ("histogram", set()),
    "real_time_factor": ("histogram", set()),
    "underrun_seconds": ("histogram", set()),
    "stage_seconds": ("histogram", {"stage"}),
    "audio_seconds": ("counter", set()),
    "characters": ("counter", set()),
    "speech_tokens": ("counter", set()),
    "finished": ("counter", {"reason"}),
    "cancellations": ("counter", {"reason"}),
    "broken_streams": ("counter", set()),
    "rejections": ("counter", {"reason"}),
    "drain_cut_requests": ("counter", set()),
    "voice_cache_requests": ("counter", {"result"}),
    "voice_cache_voices": ("gauge", set()),
    "voice_cache_bytes": ("gauge", set()),
    "preparing_waiting": ("gauge", {"kind"}),
    "engine_step_age_seconds": ("gauge", set()),
    "decode_step_seconds": ("histogram", set()),
    "decode_step_rows": ("histogram", set()),
    "flow_step_rows": ("histogram", set()),
    "kv_slots": ("gauge", set()),
    "kv_slots_used": ("gauge", set()),
    "engine_reserved_bytes": ("gauge", set()),
    "voice_prompt_cache_bytes": ("gauge", set()),
    "voice_prompt_cache_hits": ("counter", set()),
    "voice_prompt_cache_misses": ("counter", set()),
    "buffered_seconds": ("gauge", set()),
    "backpressured_jobs": ("gauge", set()),
    "engine_realtime_ratio": ("gauge", set()),
    "batch_retries": ("counter", set()),
    "engine_failures": ("counter", set()),
    "redraws": ("counter", {"reason"}),
    "recorded_shapes": ("gauge", {"stage"}),
    "recorded_steps": ("counter", {"stage", "launch"}),
    "load_seconds": ("gauge", set()),
    "device_memory_bytes": ("gauge", {"kind"}),
    "device_busy_ratio": ("gauge", set()),
    "ready": ("gauge", set()),
    "consul_state": ("gauge", {"state"}),
    "consul_events": ("counter", {"event"}),
    "shared_config_changes": ("counter", {"key", "result"}),
    "shared_config_failures": ("gauge", set()),
    "build_info": ("gauge", {"model", "model_version", "device"}),
}
"""All metrics of the server: type and labels. Dashboards and alerts depend on these names."""


@pytest.fixture(scope="module")
def slow(voices: Path) -> Iterator[Server]:
    """Makes 0.2 s of audio in 0.3 s, so that every stream has underruns."""
    with Server("fake:delay=0.3,max_queued=3", voices=voices) as server:
        yield server


def scraped(server: Server) -> dict[str, Metric]:
    """The metric families of a scrape, by name without the prefix."""
    text = requests.get(server.url + "/metrics", timeout=10).text
    return {family.name.removeprefix("glmtts_"): family for family in text_string_to_metric_families(text)}


def post(server: Server, text: str, path: str = "/tts/stream", **fields: object) -> requests.Response:
    return requests.post(server.url + path, json={"text": text, "format": "pcm", **fields}, timeout=60)


def test_every_series_is_there_from_the_start(slow: Server) -> None:
    """With type and labels, before the first request; no other metric has the prefix."""
    families = scraped(slow)
    own = {name: family for name, family in families.items() if not name.startswith(("process_", "python_"))}
    assert {name: family.type for name, family in own.items()} == {name: kind for name, (kind, _) in SERIES.items()}
    for name, family in own.items():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels <= SERIES[name][1], name
    assert families["process_resident_memory_bytes"].samples[0].value > 0


def test_promtool_accepts_the_metrics(slow: Server) -> None:
    """Names, units and help texts follow Prometheus' conventions."""
    promtool = ROOT / ".tools" / "promtool"
    if not promtool.exists():
        pytest.skip("no promtool in .tools: scripts/get_prometheus.sh fetches it")
    text = requests.get(slow.url + "/metrics", timeout=10).content
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False, timeout=60)
    assert (checked.returncode, checked.stderr.decode()) == (0, "")


def test_a_request_is_counted_in_every_metric(slow: Server) -> None:
    """Once per metric; with underruns, because the engine is slower than real time."""
    before = {name: slow.metric(f"glmtts_{name}") for name in ("audio_seconds_total", "characters_total")}
    post(slow, "abcdefghij").raise_for_status()  # five chunks
    wait_until(lambda: slow.metric("glmtts_underrun_seconds_count") == 1, "the count")
    assert slow.metric("glmtts_underrun_seconds_sum") >= 4 * 0.1 * 0.9
    assert slow.metric("glmtts_requests_total", route="/tts/stream", status="200", via_consul="false") == 1
    assert slow.metric("glmtts_audio_seconds_total") - before["audio_seconds_total"] == pytest.approx(1.0)
    assert slow.metric("glmtts_characters_total") - before["characters_total"] == 10
    assert slow.metric("glmtts_finished_total", reason="stop") == 1
    for name in ("queue_seconds", "first_audio_seconds", "real_time_factor"):
        assert slow.metric(f"glmtts_{name}_count") == 1, name
    for stage in ("text", "voice", "decode", "send"):
        assert slow.metric("glmtts_stage_seconds_count", stage=stage) == 1, stage
    assert slow.metric("glmtts_first_audio_seconds_sum") >= 0.3 * 0.9
    assert slow.metric("glmtts_real_time_factor_sum") >= 1.5 * 0.9


def test_the_engines_steps_are_counted(slow: Server) -> None:
    """Duration and batch size of each step; slots in use and in total."""
    steps = slow.metric("glmtts_decode_step_seconds_count")
    with requests.post(slow.url + "/tts/stream", json={"text": "a" * 10}, stream=True, timeout=60) as answer:
        assert slow.metric("glmtts_kv_slots_used") == slow.metric("glmtts_kv_slots") == 1
        assert answer.content
    wait_until(lambda: slow.metric("glmtts_kv_slots_used") == 0, "the slot to be free")
    assert slow.metric("glmtts_decode_step_seconds_count") == steps + 5
    assert slow.metric("glmtts_decode_step_seconds_sum") >= 0.3 * 0.9 * (steps + 5)
    assert slow.metric("glmtts_decode_step_rows_sum") == steps + 5
    assert slow.metric("glmtts_decode_step_seconds_bucket", le="0.15") == 0


def test_the_buckets_resolve_what_matters(slow: Server) -> None:
    """First audio is resolved from 50 ms to 10 s; no underrun has a bucket of its own."""
    families = scraped(slow)
    bounds = [sample.labels["le"] for sample in families["first_audio_seconds"].samples if "le" in sample.labels]
    assert [float(bound) for bound in bounds[:-1]] == list(TTFA_BUCKETS)
    assert (TTFA_BUCKETS[0], TTFA_BUCKETS[-1]) == (0.05, 10.0)
    assert families["underrun_seconds"].samples[0].labels["le"] == "0.0"


def test_running_and_queued_requests_are_counted(slow: Server) -> None:
    """In flight, queued, backlog, and the age of the engine's last step; all 0 again when idle."""
    threads = [threading.Thread(target=post, args=(slow, "a" * 20, "/tts")) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: slow.metric("glmtts_queued") == 1, "one queued")
    assert slow.metric("glmtts_in_flight") == 2
    assert slow.metric("glmtts_backlog_seconds") > 2
    wait_until(lambda: slow.metric("glmtts_engine_step_age_seconds") > 0, "a step that takes time")
    for thread in threads:
        thread.join()
    wait_until(lambda: slow.metric("glmtts_in_flight") == 0, "the end")
    assert [slow.metric(f"glmtts_{name}") for name in ("queued", "backlog_seconds", "engine_step_age_seconds")] == [
        0,
        0,
        0,
    ]


def test_rejections_and_failures_are_counted_by_reason(slow: Server) -> None:
    """Busy, late and failed requests by reason; bad requests by status only."""
    with requests.post(slow.url + "/tts/stream", json={"text": "a" * 60}, stream=True, timeout=60):
        assert post(slow, "Hello.", timeout=0.05).status_code == 503
    assert post(slow, "FAULT-ENGINE.").status_code == 500
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        post(slow, "A LATE FAULT-ENGINE.")
    assert post(slow, "").status_code == 400
    wait_until(lambda: slow.metric("glmtts_rejections_total", reason="queue_timeout") == 1, "the late one")
    wait_until(lambda: slow.metric("glmtts_finished_total", reason="error") == 3, "the failed ones")
    assert slow.metric("glmtts_broken_streams_total") == 1
    assert slow.metric("glmtts_engine_failures_total") == 2
    wait_until(lambda: slow.metric("glmtts_finished_total", reason="cancelled") == 1, "the one that was given up")
    assert slow.metric("glmtts_requests_total", route="/tts/stream", status="400") == 1
    reasons = {sample.labels["reason"] for sample in scraped(slow)["rejections"].samples if "reason" in sample.labels}
    assert reasons == {"busy", "queue_timeout", "loading", "draining", "device_memory"}


def test_labels_stay_bounded(slow: Server) -> None:
    """No path, voice or text of a client becomes a label."""
    for made_up in ("/wp-admin", "/voices/nobody-at-all", "/requests/none-such"):
        requests.get(slow.url + made_up, timeout=10)
    post(slow, "Hello.", voice="nobody-at-all")
    text = requests.get(slow.url + "/metrics", timeout=10).text
    assert 'route="other"' in text
    assert 'route="/voices/<name>"' in text
    assert "nobody-at-all" not in text
    assert "wp-admin" not in text


def test_the_voice_cache_is_counted(slow: Server) -> None:
    """Each style of a stored voice is prepared once, before its first request; from then on it is a hit."""
    stored = requests.get(slow.url + "/voices", timeout=10).json()["voices"]
    styles = sum(len(voice["styles"]) for voice in stored)
    wait_until(lambda: slow.metric("glmtts_voice_cache_voices") == styles, "the stored voices to be prepared")
    hits = slow.metric("glmtts_voice_cache_requests_total", result="hit")
    post(slow, "a").raise_for_status()
    assert slow.metric("glmtts_voice_cache_requests_total", result="hit") == hits + 1
    assert slow.metric("glmtts_voice_cache_requests_total", result="miss") == styles
    assert slow.metric("glmtts_voice_cache_bytes") > 1000


def test_the_loaded_model_and_its_device_are_reported(voices: Path) -> None:
    """Load time, device memory and build info; one discovery state; a drain makes the node not ready."""
    with Server("fake:load=0.5", voices=voices, env={"GLMTTS_PROPAGATION_DELAY": "5"}) as server:
        assert server.metric("glmtts_load_seconds") >= 0.5
        assert server.metric("glmtts_build_info", model="fake", model_version="fake-1", device="cpu") == 1
        used, total = (server.metric("glmtts_device_memory_bytes", kind=kind) for kind in ("used", "total"))
        assert 0 < used < total
        states = {sample.labels["state"]: sample.value for sample in scraped(server)["consul_state"].samples}
        assert (states.pop("disabled"), set(states.values())) == (1.0, {0.0})
        assert server.metric("glmtts_ready") == 1
        os.kill(server.process.pid, signal.SIGTERM)
        wait_until(lambda: server.metric("glmtts_ready") == 0, "the drain to begin")
