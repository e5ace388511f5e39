"""Nodes and services, as the agent and the catalogue show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from server.discovery.advertise import node_url

MAX_OUTPUT_CHARS = 200


@dataclass(frozen=True)
class AgentService:
    """A service as the local agent holds it. `address` is "" for the agent's own; `checks` are ids."""

    address: str
    port: int
    checks: frozenset[str]


@dataclass(frozen=True)
class CatalogService:
    """A service as the catalogue shows it. `agent_alive` is False if the agent that holds it has failed; `passing` has
    the ids of the checks that pass."""

    node: str
    address: str
    port: int
    agent_alive: bool
    passing: frozenset[str]


@dataclass(frozen=True)
class AgentNode:
    """The node that the agent is: its name, and the address of services without one of their own."""

    name: str
    address: str


@dataclass(frozen=True)
class CheckResult:
    """A health check of a service or of its agent. `status`: passing, warning or critical. `output`: what it said, or
    why an operator has put the service into maintenance."""

    name: str
    status: str
    output: str


@dataclass(frozen=True)
class ServiceInstance:
    """One node of a service, as clients find it. `meta` is its registered metadata."""

    id: str
    address: str
    port: int
    meta: dict[str, str]
    checks: tuple[CheckResult, ...]

    @property
    def url(self) -> str:
        """Of its API."""
        return node_url(self.address, self.port, self.meta.get("scheme", "http"))


def service_instance(item: dict[str, Any]) -> ServiceInstance:
    """From an entry of /v1/health/service. LookupError, TypeError, AttributeError: it is none."""
    service = item["Service"]
    checks = tuple(
        CheckResult(check["Name"] or check["CheckID"], check["Status"], _words(check["Output"] or check["Notes"]))
        for check in item["Checks"]
    )
    address = service["Address"] or item["Node"]["Address"]
    return ServiceInstance(service["ID"], address, service["Port"], service["Meta"] or {}, checks)


def _words(text: str) -> str:
    return " ".join(text.split())[:MAX_OUTPUT_CHARS]


def catalog_service(item: dict[str, Any]) -> CatalogService:
    """From an entry of /v1/health/service. LookupError, TypeError: it is none."""
    node, service = item["Node"], item["Service"]
    status = {check["CheckID"]: check["Status"] for check in item["Checks"]}
    return CatalogService(
        node=node["Node"],
        address=service["Address"] or node["Address"],
        port=service["Port"],
        agent_alive=status.get("serfHealth") != "critical",
        passing=frozenset(check for check, value in status.items() if value == "passing"),
    )
