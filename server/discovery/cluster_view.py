"""The cluster as this node sees it: what Consul lists, and what each listed node says of its own load.

It asks the local agent, and the nodes that the agent lists, and nobody else.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import requests

from server.discovery.consul import AgentClient
from server.discovery.errors import ConsulError
from server.discovery.metadata import own_service_id
from server.discovery.services import ServiceInstance
from server.settings import Settings

CACHE_SECONDS = 1.5
NODE_TIMEOUT = (1.0, 2.0)
"""Connect and read, in seconds."""
MAX_PARALLEL = 16
MAX_NODES = 200
"""More nodes are listed without their load."""
_GAUGES = {"in_flight": "glmtts_in_flight", "queued": "glmtts_queued", "backlog_seconds": "glmtts_backlog_seconds"}


class ClusterView:
    """A snapshot of the cluster, at most CACHE_SECONDS old. Thread-safe.

    `registration` and `reason` return the node's own status in discovery, and why it has it.
    """

    def __init__(self, settings: Settings, registration: Callable[[], str], reason: Callable[[], str]) -> None:
        self._settings = settings
        self._own_id = own_service_id(settings)
        self._registration, self._reason = registration, reason
        self._lock = threading.Lock()
        self._snapshot: dict[str, Any] = {}
        self._expires_at = 0.0

    def snapshot(self) -> dict[str, Any]:
        """What docs/api.md says of GET /cluster."""
        if not self._settings.consul:
            return self._describe("Consul is turned off: this node serves alone.")
        with self._lock:
            if time.monotonic() >= self._expires_at:
                self._snapshot = self._query()
                self._expires_at = time.monotonic() + CACHE_SECONDS
            return self._snapshot

    def _query(self) -> dict[str, Any]:
        own = f"This node is {self._registration()}"
        agent = AgentClient(self._settings)
        try:
            agent.acl_token.reload()
            instances = agent.service_instances(self._settings.consul_service)
        except ConsulError as error:
            return self._describe(f"{own}. Consul cannot be asked: {error}.", error=str(error))
        finally:
            agent.close()
        with ThreadPoolExecutor(MAX_PARALLEL) as threads:
            loads = list(threads.map(partial(_load, ca=self._settings.tls_ca), instances[:MAX_NODES]))
        loads += [_NO_LOAD] * (len(instances) - len(loads))
        nodes = [_node(instance, load) for instance, load in zip(instances, loads, strict=True)]
        count = sum(node["handed_out"] for node in nodes)
        reason = self._reason()
        own += f" ({reason})." if reason else "."
        summary = f"{own} Consul lists {len(nodes)} nodes; clients are handed {count} of them."
        return self._describe(summary, nodes)

    def _describe(self, summary: str, nodes: Sequence[dict[str, Any]] = (), error: str | None = None) -> dict[str, Any]:
        return {
            "configured": self._settings.consul,
            "node": self._own_id,
            "registration": self._registration(),
            "reason": self._reason(),
            "error": error,
            "summary": summary,
            "nodes": list(nodes),
        }


_NO_LOAD: dict[str, Any] = dict.fromkeys(_GAUGES) | {"not_ready": None}


def _load(instance: ServiceInstance, ca: Path | None) -> dict[str, Any]:
    """The gauges of a node, and why it is not ready; None where it does not say. `ca`: see Settings.tls_ca."""
    try:
        with requests.Session() as session:
            session.trust_env = False
            session.verify = True if ca is None else str(ca)
            ready = session.get(f"{instance.url}/ready", timeout=NODE_TIMEOUT, allow_redirects=False)
            text = session.get(f"{instance.url}/metrics", timeout=NODE_TIMEOUT, allow_redirects=False).text
            reason = None if ready.ok else str(ready.json().get("reason", f"/ready returns {ready.status_code}"))
    except (requests.RequestException, ValueError, AttributeError) as error:
        return _NO_LOAD | {"not_ready": f"does not answer this node ({type(error).__name__})"}
    return {key: _gauge(text, name) for key, name in _GAUGES.items()} | {"not_ready": reason}


def _gauge(text: str, name: str) -> float | None:
    match = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return None if match is None else float(match[1])


def _node(instance: ServiceInstance, load: dict[str, Any]) -> dict[str, Any]:
    failing = [check for check in instance.checks if check.status != "passing"]
    reasons = [f"{check.name}: {check.status}{f' ({check.output})' if check.output else ''}" for check in failing]
    if load["not_ready"]:
        reasons.append(f"not ready: {load['not_ready']}")
    critical = any(check.status != "warning" for check in failing)
    state = "critical" if critical else "warning" if failing else "passing"
    counts = {key: load[key] for key in _GAUGES}
    return {
        "id": instance.id,
        "address": instance.address,
        "port": instance.port,
        "state": state,
        "handed_out": state == "passing",
        "reasons": reasons,
        "not_ready": load["not_ready"],
        "checks": [asdict(check) for check in instance.checks],
        "meta": instance.meta,
        **counts,
    }
