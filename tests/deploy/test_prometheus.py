"""Prometheus' configuration and rules: tested with its own tool and in a real cluster."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.helpers.local_cluster import LocalCluster
from tests.helpers.promql import series
from tests.helpers.server import ROOT, wait_until
from tests.server.observability.test_metrics import SERIES

FOLDER = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
TESTS = sorted((FOLDER / "tests").glob("*.yml"))


@pytest.fixture(scope="module")
def promtool() -> Path:
    subprocess.run([ROOT / "scripts" / "get_prometheus.sh"], check=True, stdout=subprocess.DEVNULL)
    return ROOT / ".tools" / "promtool"


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_valid(promtool: Path) -> None:
    """Discovery through Consul, relabelling and rules."""
    run(promtool, "check", "config", FOLDER / "prometheus.yml")


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_the_rules_pass_their_tests(promtool: Path, file: Path) -> None:
    """promtool evaluates the rules on given series, and compares the alerts."""
    run(promtool, "test", "rules", file)


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    """And texts, a severity, and a section in the operator's manual."""
    fires = {
        case["alertname"]
        for file in TESTS
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]
        for case in test.get("alert_rule_test", [])
        if case["exp_alerts"]
    }
    assert fires == {alert["alert"] for alert in ALERTS}
    manual = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for alert in ALERTS:
        assert alert["annotations"].keys() == {"summary", "description"}
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert re.search(rf"^#+ {alert['alert']}$", manual, re.MULTILINE), alert["alert"]


def test_rules_use_series_that_exist() -> None:
    """Each is one of the program's, of Prometheus' own, or of another rule."""
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    kinds = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    own = {f"glmtts_{name}{end}" for name, (kind, _) in SERIES.items() for end in kinds[kind]}
    known = own | recorded | {"up", "process_start_time_seconds"}
    for rule in RULES:
        assert series(rule["expr"]) <= known, rule


@pytest.mark.processes
def test_discovery_labels_every_node(cluster: LocalCluster) -> None:
    """The metadata in Consul become labels, also of the node's own series, except for its health, which changes."""
    targets = cluster.query('up{job="glmtts"}')
    assert {target["metric"]["region"] for target in targets} == {"north", "south"}
    for target in targets:
        labels = target["metric"]
        assert labels["consul_health"] == "passing"
        expected = {"datacenter": "dc1", "tier": "cpu", "model": "fake", "model_version": "fake-1"}
        assert expected.items() <= labels.items()
        assert labels["node"] == f"glm-tts-here-{labels['instance'].rpartition(':')[2]}"
    builds = cluster.query("glmtts_build_info")
    assert len(builds) == 2
    assert all("consul_health" not in build["metric"] and build["metric"]["model"] == "fake" for build in builds)


@pytest.mark.processes
def test_consul_agents_are_scraped_too(cluster: LocalCluster) -> None:
    """Once each, even an agent that is both a server and beside nodes."""
    [agent] = cluster.query('up{job="consul"}')
    assert (agent["metric"]["agent"], agent["value"][1]) == ("here", "1")
    assert cluster.query('{job="consul", __name__=~"consul_.+"}')


@pytest.mark.slow
def test_a_killed_node_raises_alerts(cluster: LocalCluster) -> None:
    """After kill -9 of one of two nodes: it does not answer and its region is empty; and the alerts still fire when
    Consul has removed it, and its up == 0 with it."""
    assert not cluster.alerts("GlmttsRegistrationsLost") + cluster.alerts("GlmttsNodeDown")
    port, pid = next(iter(cluster.nodes.items()))
    [victim] = cluster.query(f'up{{job="glmtts", node="glm-tts-here-{port}"}}')
    os.killpg(pid, signal.SIGKILL)
    region = victim["metric"]["region"]
    wait_until(lambda: cluster.alerts("GlmttsNodeDown"), "the alert of a dead node", 120)
    assert [alert["node"] for alert in cluster.alerts("GlmttsNodeDown")] == [f"glm-tts-here-{port}"]
    wait_until(lambda: cluster.alerts("GlmttsRegistrationsLost"), "the alert of lost registrations", 180)
    consul = f"http://127.0.0.1:{cluster.read_state()['consul']}/v1/catalog/service/glm-tts"
    wait_until(lambda: len(requests.get(consul, timeout=10).json()) == 1, "Consul to remove it", 180)
    wait_until(lambda: not cluster.query(f'up{{node="glm-tts-here-{port}"}}'), "its series to end")
    assert {alert["region"] for alert in cluster.alerts("GlmttsRegistrationsLost")} == {region}
    assert {alert["region"] for alert in cluster.alerts("GlmttsRegionEmpty")} == {region}
    assert not cluster.alerts("GlmttsNoPassingNode")
