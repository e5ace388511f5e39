"""Writes the Grafana dashboard deploy/grafana/dashboards/glmtts.json: four rows of panels on a cluster.

Edit this file instead of the JSON, and run `python -m scripts.dashboard`. In a query, `@` stands for the labels that
the dashboard's variables select.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "deploy" / "grafana" / "dashboards" / "glmtts.json"
CHOSEN = 'datacenter=~"$datacenter", region=~"$region"'
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT = 8, 7
"""Size of a panel, in Grafana's grid of 24 columns."""


@dataclass(frozen=True)
class Panel:
    """One panel. `queries`: PromQL by legend. `unit`: as Grafana names it. `note`: a description. `kind`: its type."""

    title: str
    unit: str
    queries: dict[str, str]
    note: str = ""
    kind: str = "timeseries"


def quantile(share: float, histogram: str, *by: str) -> str:
    """A quantile of a histogram over the last five minutes."""
    return f"histogram_quantile({share:g}, sum by ({', '.join((*by, 'le'))}) (rate({histogram}_bucket{{@}}[5m])))"


def mean(histogram: str) -> str:
    return f"sum by (node) (rate({histogram}_sum{{@}}[5m])) / sum by (node) (rate({histogram}_count{{@}}[5m]))"


def rate(counter: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) (rate({counter}{{@}}[5m]))" if by else f"sum(rate({counter}{{@}}[5m]))"


OVERVIEW = [
    Panel("Passing nodes", "short", {"{{datacenter}} {{region}}": "glmtts:nodes_passing:sum{@}"}, kind="stat"),
    Panel("Nodes lost in 15 minutes", "short", {"{{datacenter}} {{region}}": "glmtts:nodes_lost{@}"}, kind="stat"),
    Panel("Alerts", "short", {"{{alertname}}": 'sum by (alertname) (ALERTS{alertstate="firing"})'}, kind="stat"),
    Panel("Requests", "reqps", {"{{route}} {{status}}": rate("glmtts_requests_total", "route", "status")}),
    Panel(
        "Audio generated",
        "short",
        {"{{datacenter}} {{region}}": rate("glmtts_audio_seconds_total", "datacenter", "region")},
        "Seconds of audio per second: the number of real-time listeners that are being served.",
    ),
    Panel("Characters", "short", {"per second": rate("glmtts_characters_total")}),
    Panel(
        "Errors and rejections",
        "percentunit",
        {"errors {{region}}": "glmtts:errors:ratio{@}", "rejected {{region}}": "glmtts:rejections:ratio{@}"},
        "Of all speech requests.",
    ),
    Panel("Rejections by reason", "reqps", {"{{reason}}": rate("glmtts_rejections_total", "reason")}),
    Panel(
        "Requests through discovery",
        "reqps",
        {"via Consul {{via_consul}}": rate("glmtts_requests_total", "via_consul")},
    ),
]

LATENCY = [
    Panel(
        "Time to first audio",
        "s",
        {f"p{100 * share:g}": quantile(share, "glmtts_first_audio_seconds") for share in (0.5, 0.95, 0.99)},
    ),
    Panel(
        "Time in queue",
        "s",
        {f"p{100 * share:g}": quantile(share, "glmtts_queue_seconds") for share in (0.5, 0.95, 0.99)},
    ),
    Panel(
        "Real-time factor (RTF)",
        "short",
        {f"p{100 * share:g}": quantile(share, "glmtts_real_time_factor") for share in (0.5, 0.95)},
        "Seconds of work per second of audio. Above 1, a real-time listener's playback underruns.",
    ),
    Panel("Streams with underruns", "percentunit", {"{{datacenter}} {{region}}": "glmtts:underrun:ratio{@}"}),
    Panel(
        "Underrun of a stream",
        "s",
        {f"p{100 * share:g}": quantile(share, "glmtts_underrun_seconds") for share in (0.95, 0.99)},
    ),
    Panel("Time in each stage, p95 of requests", "s", {"{{stage}}": quantile(0.95, "glmtts_stage_seconds", "stage")}),
    Panel("Time to first audio by node, p95", "s", {"{{node}}": quantile(0.95, "glmtts_first_audio_seconds", "node")}),
    Panel("Time in queue by region, p95", "s", {"{{datacenter}} {{region}}": "glmtts:queue_seconds:p95{@}"}),
    Panel(
        "Time to first audio by region, p95", "s", {"{{datacenter}} {{region}}": "glmtts:first_audio_seconds:p95{@}"}
    ),
]

ENGINE = [
    Panel("Batch size of decode steps", "short", {"{{node}}": mean("glmtts_decode_step_rows")}),
    Panel(
        "Time of a decode step",
        "s",
        {
            f"p{100 * share:g} {{{{node}}}}": quantile(share, "glmtts_decode_step_seconds", "node")
            for share in (0.5, 0.95)
        },
    ),
    Panel("KV slots", "short", {"used {{node}}": "glmtts_kv_slots_used{@}", "total {{node}}": "glmtts_kv_slots{@}"}),
    Panel("Batch size of flow steps", "short", {"{{node}}": mean("glmtts_flow_step_rows")}),
    Panel(
        "Real-time ratio",
        "short",
        {"{{node}}": "glmtts_engine_realtime_ratio{@}"},
        "Seconds of audio made per second of work.",
    ),
    Panel(
        "Slow readers",
        "s",
        {
            "buffered audio {{node}}": "glmtts_buffered_seconds{@}",
            "paused jobs {{node}}": "glmtts_backpressured_jobs{@}",
        },
    ),
    Panel(
        "Engine errors",
        "short",
        {
            "batches retried {{node}}": "increase(glmtts_batch_retries_total{@}[5m])",
            "jobs failed {{node}}": "increase(glmtts_engine_failures_total{@}[5m])",
        },
    ),
    Panel(
        "Segments drawn again",
        "short",
        {"{{reason}} per second": rate("glmtts_redraws_total", "reason")},
        "Short segments whose first draw was too short, too long or cut off; listeners don't hear it.",
    ),
    Panel(
        "Steps with and without a CUDA graph",
        "short",
        {"{{stage}} {{launch}} per second": rate("glmtts_recorded_steps_total", "stage", "launch")},
        "On a GPU: steps that were replayed, and plain ones, whose shape was not recorded at the start.",
    ),
    Panel(
        "Jobs",
        "short",
        {"in flight {{node}}": "glmtts_in_flight{@}", "queued {{node}}": "glmtts_queued{@}"},
        "Jobs in flight include the queued ones.",
    ),
    Panel(
        "Backlog",
        "s",
        {"{{node}}": "glmtts_backlog_seconds{@}"},
        "Seconds of audio still to be generated; autoscalers use it.",
    ),
    Panel("Time since the last step", "s", {"{{node}}": "glmtts_engine_step_age_seconds{@}"}, "Not ready above 20 s."),
    Panel("Speech tokens", "short", {"{{node}} per second": rate("glmtts_speech_tokens_total", "node")}),
    Panel(
        "Finished, by reason", "reqps", {"{{reason}}": rate("glmtts_finished_total", "reason")}, "length is an anomaly."
    ),
    Panel(
        "Cancelled, interrupted, dropped",
        "reqps",
        {
            "{{reason}}": rate("glmtts_cancellations_total", "reason"),
            "interrupted": rate("glmtts_broken_streams_total"),
            "dropped by a drain": rate("glmtts_drain_cut_requests_total"),
        },
    ),
    Panel(
        "Voice cache hit ratio",
        "percentunit",
        {
            "{{node}}": 'sum by (node) (rate(glmtts_voice_cache_requests_total{@, result="hit"}[5m])) / '
            "sum by (node) (rate(glmtts_voice_cache_requests_total{@}[5m]))"
        },
    ),
    Panel(
        "Voice cache",
        "bytes",
        {"{{node}}": "glmtts_voice_cache_bytes{@}", "number {{node}}": "glmtts_voice_cache_voices{@}"},
    ),
    Panel("Waiting to be prepared", "short", {"{{kind}} {{node}}": "glmtts_preparing_waiting{@}"}),
    Panel(
        "Device memory",
        "bytes",
        {
            "{{kind}} {{node}}": "glmtts_device_memory_bytes{@}",
            "reserved by the engine {{node}}": "glmtts_engine_reserved_bytes{@}",
        },
    ),
    Panel("GPU utilisation", "percentunit", {"{{node}}": "glmtts_device_busy_ratio{@}"}, "Empty on a CPU."),
]

NODES = [
    Panel("Nodes", "short", {"": "up{job=\"glmtts\", @}"}, "1: it answers. Clients follow consul_health.", "table"),
    Panel("Builds", "short", {"": "glmtts_build_info{@}"}, kind="table"),
    Panel("Ready", "short", {"{{node}}": "glmtts_ready{@}"}),
    Panel("Registration state", "short", {"{{state}} {{node}}": "glmtts_consul_state{@} == 1"}),
    Panel(
        "Consul", "short", {"{{event}} {{node}}": 'increase(glmtts_consul_events_total{@, event!="heartbeats"}[5m])'}
    ),
    Panel("Consul agents", "short", {"{{agent}}": 'up{job="consul", datacenter=~"$datacenter"}'}),
    Panel(
        "Shared configuration",
        "short",
        {
            "{{key}} {{result}}": "sum by (key, result) (increase(glmtts_shared_config_changes_total{@}[5m]))",
            "failed queries {{node}}": "glmtts_shared_config_failures{@}",
        },
    ),
    Panel("Time to load and warm up", "s", {"{{node}}": "glmtts_load_seconds{@}"}),
    Panel("CPU", "short", {"{{node}} cores": 'rate(process_cpu_seconds_total{job="glmtts", @}[5m])'}),
    Panel("Memory of the process", "bytes", {"{{node}}": 'process_resident_memory_bytes{job="glmtts", @}'}),
    Panel("Open files", "short", {"{{node}}": 'process_open_fds{job="glmtts", @}'}),
    Panel("Restarts", "short", {"{{node}}": 'changes(process_start_time_seconds{job="glmtts", @}[1h])'}),
]  # fmt: skip

ROWS = {"Overview": OVERVIEW, "Latency": LATENCY, "Engine": ENGINE, "Nodes": NODES}


def dashboard() -> dict[str, Any]:
    """The dashboard in Grafana's format."""
    return {
        "uid": "glmtts",
        "title": "GLM-TTS",
        "tags": ["glm-tts"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source(), _variable("datacenter"), _variable("region")]},
        "panels": list(_panels()),
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _variable(label: str) -> dict[str, Any]:
    return {
        "name": label,
        "type": "query",
        "datasource": SOURCE,
        "query": f'label_values(up{{job="glmtts"}}, {label})',
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        # Also matches nodes without the label.
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for title, panels in ROWS.items():
        row = {"x": 0, "y": top, "w": 24, "h": 1}
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": row, "panels": []}
        number, top = number + 1, top + 1
        for index, panel in enumerate(panels):
            down, across = divmod(index, 24 // WIDTH)
            place = {"x": across * WIDTH, "y": top + down * HEIGHT, "w": WIDTH, "h": HEIGHT}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            number += 1
        top += -(-len(panels) // (24 // WIDTH)) * HEIGHT


def _panel(panel: Panel) -> dict[str, Any]:
    instant = panel.kind == "table"
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": SOURCE,
            "expr": query.replace("@", CHOSEN),
            "legendFormat": legend,
            **({"instant": True, "format": "table"} if instant else {}),
        }
        for index, (legend, query) in enumerate(panel.queries.items())
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.note,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }


def main() -> None:
    FILE.write_text(text(), encoding="utf-8")


def text() -> str:
    """Content of the JSON file."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
