"""Who may call what. Each route declares what it needs, and every request is checked against that.

With API keys, a key is the lock. Without them the server is open, and then a web page that a person visits could use it
through their browser: so Host and Origin are checked; and beyond loopback only speaking is open.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from flask import Flask
from werkzeug.datastructures import Headers

from server.discovery.advertise import is_loopback
from server.errors import ApiError
from server.http.origin import OriginCheck
from server.keys.key_file import ApiKey, KeyFile, Scope
from server.keys.usage import KeyUsage
from server.settings import Settings

log = logging.getLogger(__name__)

Need = Literal["probe", "metrics", "names", "public", Scope]
"""What a route needs: nothing at all; what GLMTTS_PROTECT_METRICS says; what GLMTTS_PROTECT_NAMES says; a fitting Host
and Origin where there are no keys; a key with that scope."""
CLOSED_BEYOND_LOOPBACK: tuple[Scope, ...] = ("voices", "admin")
"""What a server without keys refuses to everyone if it listens beyond loopback."""
View = TypeVar("View", bound=Callable[..., Any])
_ATTRIBUTE = "needs"


def needs(need: Need, view: View) -> View:
    """Declares what a view function needs; `create_app` refuses one that does not."""
    setattr(view, _ATTRIBUTE, need)
    return view


def need_of(app: Flask, endpoint: str) -> Need:
    """What the view of an endpoint declared. LookupError: nothing."""
    need: Need | None = getattr(app.view_functions[endpoint], _ATTRIBUTE, None)
    if need is None:
        raise LookupError(f"{endpoint}: expected a view that declares what it needs (server.http.access.needs)")
    return need


@dataclass(frozen=True)
class Caller:
    """Who sent a request. `key` is None on a server without keys, and for what needs none."""

    key: ApiKey | None = None

    @property
    def name(self) -> str | None:
        """The key's name, for the log."""
        return self.key.name if self.key is not None else None

    def may(self, scope: Scope) -> bool:
        """Whether the key has the scope."""
        return self.key is not None and scope in self.key.scopes


class AccessControl:
    """Checks requests by their headers alone. Thread-safe. `only_speech`: without keys and not on loopback.

    OSError, ValueError: the file of API keys is unreadable or invalid.
    """

    def __init__(self, settings: Settings) -> None:
        self.keys = None if settings.api_keys_file is None else KeyFile(settings.api_keys_file)
        self.usage = KeyUsage()
        self.only_speech = self.keys is None and not is_loopback(settings.host)
        self._metrics_need: Need = "admin" if settings.protect_metrics else "probe"
        self._names_need: Need = "speak" if settings.protect_names else "public"
        self._origins = OriginCheck(settings)
        if self.only_speech:
            log.warning(
                "NO API KEYS: whoever reaches %s can speak. Storing and deleting voices and /admin are off. To open "
                "them, make a key with `python -m server.keys new` and set GLMTTS_API_KEYS_FILE",
                settings.host,
            )

    def authorize(self, need: Need, headers: Headers) -> Caller:
        """Who sent the headers. ApiError 401: no valid key; 403: one without the scope, or a foreign Host or Origin."""
        need = {"metrics": self._metrics_need, "names": self._names_need}.get(need, need)
        if need == "probe":
            return Caller()
        if self.keys is None:
            self._origins.check(headers)
            if self.only_speech and need in CLOSED_BEYOND_LOOPBACK:
                raise ApiError(403, "keys_required", "API key: expected a server with API keys, got one without")
            return Caller()
        if need == "public":
            return Caller()
        key = self._key(self.keys, headers)
        if need not in key.scopes:
            message = f"API key: expected one with the scope {need}, got one with {', '.join(key.scopes)}"
            raise ApiError(403, "insufficient_scope", message)
        return Caller(key)

    def _key(self, keys: KeyFile, headers: Headers) -> ApiKey:
        scheme, _, secret = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            secret = headers.get("X-Api-Key", "")
        if not secret.strip():
            message = "API key: expected Authorization: Bearer KEY or X-API-Key: KEY, got none"
            raise ApiError(401, "missing_api_key", message)
        key = keys.find(secret.strip())
        if key is None:
            raise ApiError(401, "invalid_api_key", "API key: expected one of this server's keys, got another")
        return key

    def refusal(self, caller: Caller, scope: Scope) -> str | None:
        """The code of the error with which a route that needs the scope refuses the caller; None: it does not."""
        if self.keys is None:
            return "keys_required" if self.only_speech and scope in CLOSED_BEYOND_LOOPBACK else None
        return None if caller.may(scope) else "insufficient_scope"

    def may_see(self, caller: Caller, owner: str | None) -> bool:
        """Whether the caller may see a request of the key with the name `owner`.

        Without keys whoever knows an id may: it is ours, and nobody guesses it.
        """
        return self.keys is None or caller.name == owner or caller.may("admin")

    def begin(self, caller: Caller) -> Callable[[], None]:
        """Counts a request in flight, until the returned function is called. ApiError 429: the key has too many."""
        key = caller.key
        if key is None:
            return lambda: None
        self.usage.begin(key)
        return lambda: self.usage.end(key)

    def charge(self, caller: Caller, text: str) -> None:
        """Counts the characters of a text to be spoken. ApiError 429: more than the key has left of its minute."""
        if caller.key is not None:
            self.usage.charge(caller.key, len(text))
