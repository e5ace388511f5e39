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
        ssl = _switch(env, "CONSUL_HTTP_SSL", default=False)
        verify = _switch(env, "CONSUL_HTTP_SSL_VERIFY", default=True)
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


def _switch(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    values = {"1": True, "t": True, "true": True, "y": True, "yes": True, "on": True}
    values |= {"0": False, "f": False, "false": False, "n": False, "no": False, "off": False}
    text = env.get(name, "")
    if text and text.lower() not in values:
        raise ValueError(f"{name}: expected true or false, got {text!r}")
    return values.get(text.lower(), default)


def _url(address: str, ssl: bool) -> str:
    expected = "Consul address (--consul, CONSUL_HTTP_ADDR): expected host, host:port or an http(s) URL"
    if "@" in address:  # not repeated: it has a password
        raise ValueError(f"{expected}, without a user or password: they belong in CONSUL_HTTP_AUTH")
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        name, port = parts.hostname, parts.port
    except ValueError as error:  # a port that is no number, an unclosed bracket
        raise ValueError(f"{expected}, got {address!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not name or parts.path.strip("/"):
        raise ValueError(f"{expected}, got {address!r}")
    scheme = "https" if ssl else parts.scheme
    host = f"[{name}]" if ":" in name else name
    return f"{scheme}://{host}:{port or (8501 if scheme == 'https' else 8500)}"


def needs(service: str) -> str:
    """What a token has to be allowed for discovery, in words."""
    return f"the token (--token, CONSUL_HTTP_TOKEN) needs service:read on {service} and node:read"


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
        self._last_token = ""

    def nodes(self, service: str, *, passing: bool = True, index: int = 0, wait: float = 0.0) -> tuple[int, list[Node]]:
        """Consul's index and the nodes of `service`. With `index`, blocks up to `wait` s until the list changes.

        Accepts stale reads, so that discovery works while Consul has no leader. Raises DiscoveryError.
        """
        params: dict[str, str] = {"stale": ""}
        if passing:
            params["passing"] = "1"
        if index:
            params |= {"index": str(index), "wait": f"{wait:g}s"}
        if passing and not wait:
            # From the agent's cache, which follows changes: one query to the servers for all clients of an agent.
            params["cached"] = ""
        # Consul adds up to wait/16 of jitter to a blocking query.
        response = self._get(f"/v1/health/service/{service}", params, READ_TIMEOUT + wait * 17 / 16)
        if response.status_code == 403:
            reason = " ".join(response.text.split())[:200]
            raise DiscoveryError(f"Consul at {self._address.url} denied the request ({reason}): {needs(service)}")
        if response.status_code != 200:
            raise DiscoveryError(f"Consul at {self._address.url} returned status {response.status_code}")
        try:
            return int(response.headers.get("X-Consul-Index", "0")), self._parse(json.loads(response.content))
        except (ValueError, TypeError, AttributeError) as error:
            raise DiscoveryError(f"Consul at {self._address.url} returned an invalid response") from error

    def has_acls(self) -> bool:
        """Whether this Consul has ACLs, and so may hide nodes. Raises DiscoveryError."""
        return self._get("/v1/acl/token/self", {}, READ_TIMEOUT).status_code != 401

    def _get(self, path: str, params: dict[str, str], timeout: float) -> requests.Response:
        headers = self._headers()
        try:
            return self._session.get(
                self._address.url + path, params=params, headers=headers, timeout=(CONNECT_TIMEOUT, timeout)
            )
        except requests.RequestException as error:
            reason = type(error).__name__
            if isinstance(error, requests.exceptions.SSLError):
                reason = f"TLS: {getattr(error.args[0], 'reason', None) or error}"
            raise DiscoveryError(f"Consul at {self._address.url} did not respond ({reason})") from None
        except OSError as error:  # not of the network: requests cannot open a certificate or key
            raise DiscoveryError(f"CONSUL_CACERT, CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY: {error}") from None

    def _parse(self, entries: Any) -> list[Node]:
        nodes = (from_consul(entry, self._scheme) for entry in entries)
        return [node for node in nodes if node is not None]

    def _headers(self) -> dict[str, str]:
        token = self._token()
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise DiscoveryError("the Consul token has characters that are not allowed in an HTTP header")
        return {"X-Consul-Token": token} if token else {}

    def _token(self) -> str:
        """The token; the last one while its file cannot be used. Raises DiscoveryError if there is none."""
        file = self._address.token_file
        if file is None:
            return self._address.token
        try:
            token, problem = file.read_text(encoding="utf-8").strip(), "empty"
        except (OSError, UnicodeDecodeError) as error:
            token, problem = "", type(error).__name__
        self._last_token = token or self._last_token
        if not self._last_token:
            raise DiscoveryError(f"Consul token file {file}: {problem}")
        return self._last_token

    def close(self) -> None:
        self._session.close()
