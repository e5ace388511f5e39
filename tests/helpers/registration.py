"""Helpers of the registration tests: settings with short intervals, and what a service looks like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from glmtts.engine.api import EngineInfo
from server.discovery.registration import ConsulRegistration
from server.settings import Settings

INFO = EngineInfo("nano", "0.3", ("zh", "en"), (24000,), ("streaming",), "cpu", 1)

Join = Callable[..., ConsulRegistration]


def settings(address: str, **more: Any) -> Settings:
    """Settings with short intervals, for a cluster on loopback."""
    quick = {"health_interval": 1, "consul_ttl": 2, "loopback_cluster": True, "node_name": "here"}
    return Settings(**{"consul_addr": address, **quick, **more})


def progressing() -> float:
    """The age of an engine that has just made progress, in seconds."""
    return 0.0


def own(port: int) -> str:
    """The service id of a node with these settings."""
    return f"glm-tts-here-{port}"


def stale_service(port: int, address: str) -> dict[str, Any]:
    """A service with the same id, left by an earlier run or registered by another node."""
    return {"ID": own(port), "Name": "glm-tts", "Address": address, "Port": port, "Meta": {"stale": "yes"}}
