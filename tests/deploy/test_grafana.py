"""The dashboard: whole, and with no picture that would stay empty for a name that does not exist."""

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
    """Nobody has changed the one without the other."""
    assert dashboard.FILE.read_text(encoding="utf-8") == dashboard.text()


def test_there_is_a_row_for_each_matter() -> None:
    """Overview, latency, engine, nodes; every panel has its own place and number, and its title."""
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Overview", "Latency", "Engine", "Nodes"]
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations([panel["gridPos"] for panel in BOARD["panels"]], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in BOARD["panels"])


def chosen(query: str) -> str:
    """As Grafana sends it when all is chosen."""
    return query.replace("$datacenter", ".*").replace("$region", ".*")


@pytest.mark.parametrize("query", QUERIES)
def test_prometheus_understands_every_query(cluster: LocalCluster, query: str) -> None:
    """Each is PromQL, with the labels that the variables put in."""
    assert "$" not in chosen(query)
    cluster.query(chosen(query))


def test_every_series_exists(cluster: LocalCluster) -> None:
    """Prometheus has it, or a node's /metrics names it, as it does with what only a GPU has values for."""
    text = requests.get(f"http://127.0.0.1:{next(iter(cluster.nodes))}/metrics", timeout=10).text
    named = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    wanted = set().union(*(series(query) for query in QUERIES)) - {"ALERTS"}
    assert wanted

    def missing() -> set[str]:
        return wanted - named - set(cluster.prometheus("label/__name__/values"))

    with suppress(AssertionError):  # rates need two scrapes; what is missing then is said below
        wait_until(lambda: not missing(), "the series", 60)
    assert missing() == set()


def test_the_variables_have_values(cluster: LocalCluster) -> None:
    """Datacenters and regions are those that the nodes have."""
    for variable, values in (("datacenter", ["dc1"]), ("region", ["north", "south"])):
        [found] = [each for each in BOARD["templating"]["list"] if each["name"] == variable]
        assert found["query"] == f'label_values(up{{job="glmtts"}}, {variable})'
        assert cluster.prometheus(f"label/{variable}/values") == values


def test_grafana_is_told_where_all_is() -> None:
    """The provisioned folder is where the deployment mounts the dashboard, the source is its Prometheus."""
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    sources = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())
    boards = yaml.safe_load((folder / "dashboards" / "glmtts.yml").read_text())
    compose = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    assert sources["datasources"][0]["url"] == "http://prometheus:9090"
    assert f"./grafana/dashboards:{boards['providers'][0]['options']['path']}" in compose
