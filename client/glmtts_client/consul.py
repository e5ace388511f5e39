"""Consul's HTTP API, as far as discovery needs it: one question, asked of one agent.

Plain HTTP and no Consul library: it is a single GET, and python-consul2 has no timeouts and lets the environment change
the address it was given. Knows nothing about caching, or about what a node is used for.
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
"""Seconds: the agent is next door."""


@dataclass(frozen=True)
class ConsulAddress:
    """Where the agent is and how it is spoken to. `token_file` is read at every question, and wins over `token`."""

    url: str = "http://127.0.0.1:8500"
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    auth: tuple[str, str] | None = field(default=None, repr=False)
    verify: bool | str = True
    cert: tuple[str, str] | str | None = None

    @staticmethod
    def from_env(address: str | None = None, environ: Mapping[str, str] = os.environ) -> ConsulAddress:
        """From the CONSUL_* variables of Consul's own tools; `address` (host, host:port or URL) wins. ValueError."""
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
    wanted = "want host, host:port or an http(s) URL"
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.username:
        raise ValueError(f"Consul address {address!r}: {wanted}")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"Consul address {address!r}: {error}; {wanted}") from None
    scheme = "https" if ssl else parts.scheme
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{scheme}://{host}:{port or (8501 if scheme == 'https' else 8500)}"


class ConsulClient:
    """Asks one agent. Each thread that asks needs its own."""

    def __init__(self, address: ConsulAddress, *, scheme: str = "http") -> None:
        self._address = address
        self._scheme = scheme
        self._session = requests.Session()
        # A proxy for the world outside has no business between us and the agent.
        self._session.trust_env = False
        self._session.auth = address.auth
        self._session.verify, self._session.cert = address.verify, address.cert

    def nodes(self, service: str, *, passing: bool = True, index: int = 0, wait: float = 0.0) -> tuple[int, list[Node]]:
        """Consul's index and the nodes of `service`. With `index`, waits up to `wait` s for something newer.

        Any server may answer (a stale read), so that discovery works without a leader. DiscoveryError otherwise.
        """
        params: dict[str, str] = {"stale": ""}
        if passing:
            params["passing"] = "1"
        if index:
            params |= {"index": str(index), "wait": f"{wait:g}s"}
        # Consul waits up to a sixteenth longer, so that not all wake at once.
        patience = (CONNECT_TIMEOUT, READ_TIMEOUT + wait * 17 / 16)
        url = f"{self._address.url}/v1/health/service/{service}"
        try:
            answer = self._session.get(url, params=params, headers=self._headers(), timeout=patience)
            answer.raise_for_status()
            return int(answer.headers.get("X-Consul-Index", "0")), self._read(json.loads(answer.content))
        except (requests.RequestException, OSError) as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            said = f"answered {status}" if status else f"gave no answer ({type(error).__name__})"
            raise DiscoveryError(f"Consul at {self._address.url} {said}") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise DiscoveryError(f"{self._address.url} gave an answer that is not Consul's") from error

    def _read(self, found: Any) -> list[Node]:
        nodes = (from_consul(entry, self._scheme) for entry in found)
        return [node for node in nodes if node is not None]

    def _headers(self) -> dict[str, str]:
        file = self._address.token_file
        token = file.read_text(encoding="utf-8").strip() if file else self._address.token
        return {"X-Consul-Token": token} if token else {}

    def close(self) -> None:
        self._session.close()
