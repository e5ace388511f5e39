"""Which Host and Origin a server without API keys serves: against web pages of others in the browser of its user.

A page may send requests to any address. It cannot forge Origin, and with DNS rebinding its requests look like those of
this server's own pages, but for Host, which has the page's name.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from werkzeug.datastructures import Headers
from werkzeug.sansio.utils import host_is_trusted

from server.errors import ApiError
from server.settings import Settings, comma_separated

PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".home.arpa", ".consul", ".test")
"""Names that nobody can register in the public DNS."""


class OriginCheck:
    """Holds the names of this server."""

    def __init__(self, settings: Settings) -> None:
        names = [*comma_separated(settings.allowed_hosts), socket.gethostname(), settings.advertise or ""]
        self._hosts = [*PRIVATE_SUFFIXES, *(name.lower() for name in names if name)]
        self._origins = comma_separated(settings.cors_origins)

    def check(self, headers: Headers) -> None:
        """ApiError 403 for a Host that is not this server's, or an Origin that is neither its own nor allowed."""
        host, origin = headers.get("Host", ""), headers.get("Origin")
        if not self._is_ours(host):
            expected = "an address, a private name or one of GLMTTS_ALLOWED_HOSTS"
            raise ApiError(403, "host_not_allowed", f"Host: expected {expected}, got another name")
        if origin is None or "*" in self._origins or origin in self._origins:
            return
        if urlsplit(origin).netloc.lower() != host.lower():
            expected = "that of this server or one of GLMTTS_CORS_ORIGINS"
            raise ApiError(403, "origin_not_allowed", f"Origin: expected {expected}, got another")

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if "*" in self._hosts or name is None:  # HTTP/1.0 may leave it out; browsers don't
            return True
        return _is_address(name) or "." not in name or host_is_trusted(name, self._hosts)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
