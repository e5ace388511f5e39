"""Writes deploy/grafana/dashboards/glmtts.json: what there is to see of a herd, as four rows of panels.

The JSON is what Grafana takes; this is what a person reads and changes. `python -m scripts.dashboard` writes it anew.
In a query `@` stands for the labels that the dashboard's variables choose.
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
"""Of a panel, in Grafana's grid of 24 columns."""


@dataclass(frozen=True)
class Panel:
    """One picture. `queries` are PromQL by legend; `unit` is Grafana's name of it; `note` says how to read it."""

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
    Panel("Nodes that speak", "short", {"{{datacenter}} {{region}}": "glmtts:nodes_passing:sum{@}"}, kind="stat"),
    Panel("Nodes lost in 15 minutes", "short", {"{{datacenter}} {{region}}": "glmtts:nodes_lost{@}"}, kind="stat"),
    Panel("Alerts", "short", {"{{alertname}}": 'sum by (alertname) (ALERTS{alertstate="firing"})'}, kind="stat"),
    Panel("Requests", "reqps", {"{{route}} {{status}}": rate("glmtts_requests_total", "route", "status")}),
    Panel(
        "Sound made",
        "short",
        {"{{datacenter}} {{region}}": rate("glmtts_audio_seconds_total", "datacenter", "region")},
        "Seconds of sound a second: as many listeners at real time are being served.",
    ),
    Panel("Characters", "short", {"a second": rate("glmtts_characters_total")}),
    Panel(
        "Faults and refusals",
        "percentunit",
        {"faults {{region}}": "glmtts:errors:ratio{@}", "refused {{region}}": "glmtts:rejections:ratio{@}"},
        "Of all speech requests.",
    ),
    Panel("Refused, by reason", "reqps", {"{{reason}}": rate("glmtts_rejections_total", "reason")}),
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
        "Wait in line",
        "s",
        {f"p{100 * share:g}": quantile(share, "glmtts_queue_seconds") for share in (0.5, 0.95, 0.99)},
    ),
    Panel(
        "Seconds of work a second of sound (RTF)",
        "short",
        {f"p{100 * share:g}": quantile(share, "glmtts_real_time_factor") for share in (0.5, 0.95)},
        "Over 1, a listener at real time runs dry.",
    ),
    Panel("Streams that stutter", "percentunit", {"{{datacenter}} {{region}}": "glmtts:underrun:ratio{@}"}),
    Panel(
        "Silence within a stream",
        "s",
        {f"p{100 * share:g}": quantile(share, "glmtts_underrun_seconds") for share in (0.95, 0.99)},
    ),
    Panel("Stages, p95 of a request", "s", {"{{stage}}": quantile(0.95, "glmtts_stage_seconds", "stage")}),
    Panel("Time to first audio by node, p95", "s", {"{{node}}": quantile(0.95, "glmtts_first_audio_seconds", "node")}),
    Panel("Wait in line by region, p95", "s", {"{{datacenter}} {{region}}": "glmtts:queue_seconds:p95{@}"}),
    Panel("First audio by region, p95", "s", {"{{datacenter}} {{region}}": "glmtts:first_audio_seconds:p95{@}"}),
]

ENGINE = [
    Panel("Rows in a decode step", "short", {"{{node}}": mean("glmtts_decode_step_rows")}, "How well the batch fills."),
    Panel(
        "Decode step",
        "s",
        {
            f"p{100 * share:g} {{{{node}}}}": quantile(share, "glmtts_decode_step_seconds", "node")
            for share in (0.5, 0.95)
        },
    ),
    Panel(
        "KV slots", "short", {"taken {{node}}": "glmtts_kv_slots_used{@}", "there are {{node}}": "glmtts_kv_slots{@}"}
    ),
    Panel("Rows in a step of the flow", "short", {"{{node}}": mean("glmtts_flow_step_rows")}),
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
        "Faults of the engine",
        "short",
        {
            "batches retried {{node}}": "increase(glmtts_batch_retries_total{@}[5m])",
            "jobs failed {{node}}": "increase(glmtts_engine_failures_total{@}[5m])",
        },
    ),
    Panel(
        "Jobs",
        "short",
        {"inside {{node}}": "glmtts_in_flight{@}", "in line {{node}}": "glmtts_queued{@}"},
        "Inside counts those in line too.",
    ),
    Panel(
        "Backlog",
        "s",
        {"{{node}}": "glmtts_backlog_seconds{@}"},
        "Seconds of audio still to be made; autoscalers use it.",
    ),
    Panel(
        "Age of the last step", "s", {"{{node}}": "glmtts_engine_step_age_seconds{@}"}, "20 s make a node not ready."
    ),
    Panel("Speech tokens", "short", {"{{node}} a second": rate("glmtts_speech_tokens_total", "node")}),
    Panel(
        "Finished, by reason", "reqps", {"{{reason}}": rate("glmtts_finished_total", "reason")}, "length is an anomaly."
    ),
    Panel(
        "Cancelled, broken off, cut",
        "reqps",
        {
            "{{reason}}": rate("glmtts_cancellations_total", "reason"),
            "broken off": rate("glmtts_broken_streams_total"),
            "cut by a drain": rate("glmtts_drain_cut_requests_total"),
        },
    ),
    Panel(
        "Voices prepared before",
        "percentunit",
        {
            "{{node}}": 'sum by (node) (rate(glmtts_voice_cache_requests_total{@, result="hit"}[5m])) / '
            "sum by (node) (rate(glmtts_voice_cache_requests_total{@}[5m]))"
        },
    ),
    Panel(
        "Memory of prepared voices",
        "bytes",
        {"{{node}}": "glmtts_voice_cache_bytes{@}", "number {{node}}": "glmtts_voice_cache_voices{@}"},
    ),
    Panel(
        "Device memory",
        "bytes",
        {
            "{{kind}} {{node}}": "glmtts_device_memory_bytes{@}",
            "reserved by the engine {{node}}": "glmtts_engine_reserved_bytes{@}",
        },
    ),
    Panel("GPU at work", "percentunit", {"{{node}}": "glmtts_device_busy_ratio{@}"}, "Nothing for CPUs."),
]

NODES = [
    Panel("Nodes", "short", {"": "up{job=\"glmtts\", @}"}, "1 answers; consul_health is what callers go by.", "table"),
    Panel("Builds", "short", {"": "glmtts_build_info{@}"}, kind="table"),
    Panel("Ready", "short", {"{{node}}": "glmtts_ready{@}"}),
    Panel("State of discovery", "short", {"{{state}} {{node}}": "glmtts_consul_state{@} == 1"}),
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
    Panel("Seconds until warm", "s", {"{{node}}": "glmtts_load_seconds{@}"}),
    Panel("CPU", "short", {"{{node}} cores": 'rate(process_cpu_seconds_total{job="glmtts", @}[5m])'}),
    Panel("Memory of the process", "bytes", {"{{node}}": 'process_resident_memory_bytes{job="glmtts", @}'}),
    Panel("Open files", "short", {"{{node}}": 'process_open_fds{job="glmtts", @}'}),
    Panel("Restarts", "short", {"{{node}}": 'changes(process_start_time_seconds{job="glmtts", @}[1h])'}),
]  # fmt: skip

ROWS = {"Overview": OVERVIEW, "Latency": LATENCY, "Engine": ENGINE, "Nodes": NODES}


def dashboard() -> dict[str, Any]:
    """The whole, as Grafana wants it."""
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
        # Matches nodes without the label as well.
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
    at_once = panel.kind == "table"
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": SOURCE,
            "expr": query.replace("@", CHOSEN),
            "legendFormat": legend,
            **({"instant": True, "format": "table"} if at_once else {}),
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
    """The file's content."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
