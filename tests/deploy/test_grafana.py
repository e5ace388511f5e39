"""The dashboard: complete, and without panels that stay empty because a name does not exist."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import combinations
from typing import Any

import pytest
import requests
import yaml

from scripts import dashboard
from tests.helpers.local_cluster import LocalCluster
from tests.helpers.promql import series
from tests.helpers.server import ROOT, wait_until

BOARD: dict[str, Any] = json.loads(dashboard.FILE.read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_the_file_is_what_the_script_writes() -> None:
    """Neither was changed without the other."""
    assert dashboard.FILE.read_text(encoding="utf-8") == dashboard.text()


def test_the_layout_is_complete() -> None:
    """Rows for overview, latency, engine and nodes; every panel has its own position, id and title."""
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Overview", "Latency", "Engine", "Nodes"]
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations([panel["gridPos"] for panel in BOARD["panels"]], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in BOARD["panels"])


def expanded(query: str) -> str:
    """The query that Grafana sends when everything is selected."""
    return query.replace("$datacenter", ".*").replace("$region", ".*")


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.processes
def test_prometheus_understands_every_query(cluster: LocalCluster, query: str) -> None:
    """Each is PromQL, with the labels that the variables insert."""
    assert "$" not in expanded(query)
    cluster.query(expanded(query))


@pytest.mark.processes
def test_every_series_exists(cluster: LocalCluster) -> None:
    """Prometheus has it, or a node's /metrics declares it: some series have values only with a GPU."""
    text = requests.get(f"http://127.0.0.1:{next(iter(cluster.nodes))}/metrics", timeout=10).text
    named = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    expected = set().union(*(series(query) for query in QUERIES)) - {"ALERTS"}
    assert expected

    def missing() -> set[str]:
        return expected - named - set(cluster.prometheus("label/__name__/values"))

    with suppress(AssertionError):  # rates need two scrapes; the assertion below names what is missing then
        wait_until(lambda: not missing(), "the series", 60)
    assert missing() == set()


@pytest.mark.processes
def test_the_variables_have_values(cluster: LocalCluster) -> None:
    """The datacenters and regions of the nodes."""
    for variable, values in (("datacenter", ["dc1"]), ("region", ["north", "south"])):
        [listed] = [each for each in BOARD["templating"]["list"] if each["name"] == variable]
        assert listed["query"] == f'label_values(up{{job="glmtts"}}, {variable})'
        assert cluster.prometheus(f"label/{variable}/values") == values


def test_grafana_is_provisioned() -> None:
    """From the directory where the deployment mounts the dashboard, with its Prometheus as the source."""
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    sources = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())
    boards = yaml.safe_load((folder / "dashboards" / "glmtts.yml").read_text())
    compose = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    assert sources["datasources"][0]["url"] == "http://prometheus:9090"
    assert f"./grafana/dashboards:{boards['providers'][0]['options']['path']}" in compose
