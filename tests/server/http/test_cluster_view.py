"""GET /cluster: how this node stands with Consul, in words and as values. Where there is a cluster: test_console.py."""

from __future__ import annotations

from scripts.processes import free_ports
from tests.helpers.app import MakeClient


def test_without_consul_there_is_no_cluster(client: MakeClient) -> None:
    cluster = client(consul=False).get("/cluster").json
    assert (cluster["configured"], cluster["registration"], cluster["nodes"]) == (False, "disabled", [])


def test_a_silent_agent_is_named(client: MakeClient) -> None:
    """The node itself serves on."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    cluster = client(consul=True, consul_addr=address).get("/cluster").json
    assert (cluster["configured"], cluster["nodes"]) == (True, [])
    assert address in cluster["error"]
    assert cluster["registration"] in ("waiting", "retrying")
    assert cluster["summary"] == f"This node is {cluster['registration']}. Consul cannot be asked: {cluster['error']}."
