"""The other nodes of the cluster, as Consul shows them."""

from __future__ import annotations

from server.discovery.consul import AgentClient
from server.discovery.metadata import own_service_id
from server.settings import Settings


class PeerFinder:
    """Finds the other nodes of the service whose checks pass. For one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._service = settings.consul_service
        self._own_id = own_service_id(settings)
        self._client = AgentClient(settings)

    def urls(self) -> list[str]:
        """Where they listen. Raises ConsulError."""
        self._client.acl_token.reload()
        services = self._client.passing_services(self._service)
        return [url for node_id, url in services.items() if node_id != self._own_id]
