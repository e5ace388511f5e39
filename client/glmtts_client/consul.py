"""The part of Consul's HTTP API that discovery needs: one GET to one agent.

Uses plain HTTP instead of a Consul library, because python-consul2 has no timeouts and lets the environment override
the address.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from glmtts_client.errors import DiscoveryError
from glmtts_client.node import Node, from_consul

CONNECT_TIMEOUT, READ_TIMEOUT = 2.0, 5.0
"""Seconds; short, because the agent is usually on the same host."""


@dataclass(frozen=True)
class ConsulAddress:
    """Address and credentials of an agent. `token_file` is read before every request and overrides `token`."""

    url: str = "http://127.0.0.1:8500"
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    auth: tuple[str, str] | None = field(default=None, repr=False)
    verify: bool | str = True
    cert: tuple[str, str] | str | None = None

    @staticmethod
    def from_env(address: str | None = None, environ: Mapping[str, str] = os.environ) -> ConsulAddress:
        """From the CONSUL_* variables of Consul's own tools; `address` (host, host:port or URL) overrides the address.

        Raises ValueError.
        """
        env = {name: value for name, value in environ.items() if value}
        ssl = env.get("CONSUL_HTTP_SSL", "").lower() in ("1", "true")
        verify = env.get("CONSUL_HTTP_SSL_VERIFY", "").lower() not in ("0", "false")
        user, _, password = env.get("CONSUL_HTTP_AUTH", "").partition(":")
        cert, key = env.get("CONSUL_CLIENT_CERT"), env.get("CONSUL_CLIENT_KEY")
        return ConsulAddress(
            url=_url(address or env.get("CONSUL_HTTP_ADDR", "127.0.0.1"), ssl),
            token=env.get("CONSUL_HTTP_TOKEN", ""),
            token_file=Path(env["CONSUL_HTTP_TOKEN_FILE"]) if "CONSUL_HTTP_TOKEN_FILE" in env else None,
            auth=(user, password) if user else None,
            verify=env.get("CONSUL_CACERT", True) if verify else False,
            cert=(cert, key) if cert and key else cert,
        )


def _url(address: str, ssl: bool) -> str:
    message = f"Consul address: expected host, host:port or an http(s) URL, got {address!r}"
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.username:
        raise ValueError(message)
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{message}: {error}") from None
    scheme = "https" if ssl else parts.scheme
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{scheme}://{host}:{port or (8501 if scheme == 'https' else 8500)}"


class ConsulClient:
    """Queries one agent. Not thread-safe: use one per thread."""

    def __init__(self, address: ConsulAddress, *, scheme: str = "http") -> None:
        self._address = address
        self._scheme = scheme
        self._session = requests.Session()
        # The environment's proxy is for outside traffic, not for the agent.
        self._session.trust_env = False
        self._session.auth = address.auth
        self._session.verify, self._session.cert = address.verify, address.cert

    def nodes(self, service: str, *, passing: bool = True, index: int = 0, wait: float = 0.0) -> tuple[int, list[Node]]:
        """Consul's index and the nodes of `service`. With `index`, blocks up to `wait` s until the list changes.

        Accepts stale reads, so that discovery works while Consul has no leader. Raises DiscoveryError.
        """
        params: dict[str, str] = {"stale": ""}
        if passing:
            params["passing"] = "1"
        if index:
            params |= {"index": str(index), "wait": f"{wait:g}s"}
        # Consul adds up to wait/16 of jitter to a blocking query.
        timeout = (CONNECT_TIMEOUT, READ_TIMEOUT + wait * 17 / 16)
        url = f"{self._address.url}/v1/health/service/{service}"
        try:
            response = self._session.get(url, params=params, headers=self._headers(), timeout=timeout)
            response.raise_for_status()
            return int(response.headers.get("X-Consul-Index", "0")), self._parse(json.loads(response.content))
        except (requests.RequestException, OSError) as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            reason = f"returned status {status}" if status else f"did not respond ({type(error).__name__})"
            raise DiscoveryError(f"Consul at {self._address.url} {reason}") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise DiscoveryError(f"Consul at {self._address.url} returned an invalid response") from error

    def _parse(self, entries: Any) -> list[Node]:
        nodes = (from_consul(entry, self._scheme) for entry in entries)
        return [node for node in nodes if node is not None]

    def _headers(self) -> dict[str, str]:
        file = self._address.token_file
        token = file.read_text(encoding="utf-8").strip() if file else self._address.token
        return {"X-Consul-Token": token} if token else {}

    def close(self) -> None:
        self._session.close()
