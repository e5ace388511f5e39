"""A node as discovery describes it, and the filters that decide whether a request may go to it.

Metadata comes from the nodes: any key may be missing and any value malformed. What cannot be parsed counts as missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from glmtts_client.version import API_VERSION


@dataclass(frozen=True)
class Node:
    """One server. `state`: passing, warning or critical, from its checks. `failing_checks`: their names."""

    id: str
    url: str
    meta: Mapping[str, str] = field(default_factory=dict, hash=False)
    state: str = "passing"
    failing_checks: str = ""

    @property
    def model(self) -> str:
        return self.meta.get("model", "")

    @property
    def version(self) -> str:
        """Version of the model: a number or any other text."""
        return self.meta.get("model_version", "")

    @property
    def release(self) -> str:
        """Version of the server's program; "" if unknown."""
        return self.meta.get("release", "")

    @property
    def api_versions(self) -> frozenset[str]:
        """Of the HTTP API; version 1 if the node does not say."""
        return self._values("api_version") or frozenset({"1"})

    @property
    def region(self) -> str:
        return self.meta.get("region", "")

    @property
    def tier(self) -> str:
        """`cpu`, `small` or `large`; "" if unknown."""
        return self.meta.get("tier", "")

    @property
    def languages(self) -> frozenset[str]:
        return self._values("language")

    @property
    def features(self) -> frozenset[str]:
        return self._values("features")

    @property
    def sample_rates(self) -> frozenset[int]:
        """The rates (Hz) that the node produces without resampling."""
        return frozenset(int(rate) for rate in self._values("sample_rate") if rate.isdecimal())

    @property
    def max_streams(self) -> int:
        """The number of requests that the node processes at once; 1 if unknown."""
        text = self.meta.get("max_streams", "")
        return max(1, int(text)) if text.isdecimal() else 1

    def same_model(self, other: Node) -> bool:
        """Whether both have the same checkpoint, as far as they say."""
        return (self.model, self.version) == (other.model, other.version)

    def _values(self, key: str) -> frozenset[str]:
        """The items of a comma-separated value."""
        return frozenset(item.strip() for item in self.meta.get(key, "").split(",") if item.strip())


def from_consul(entry: Any, scheme: str = "http") -> Node | None:
    """A node from an entry of /v1/health/service; None if the entry has no address or port.

    A node that serves https says so in its metadata; `scheme` is that of the others.
    """
    service, host = entry.get("Service") or {}, entry.get("Node") or {}
    address, port = service.get("Address") or host.get("Address"), service.get("Port")
    if not address or not port:
        return None
    meta = {str(key): str(value) for key, value in (service.get("Meta") or {}).items() if value is not None}
    scheme = "https" if meta.get("scheme") == "https" else scheme
    failing = [check for check in entry.get("Checks") or () if check.get("Status") != "passing"]
    critical = any(check.get("Status") != "warning" for check in failing)
    return Node(
        id=str(service.get("ID") or f"{address}:{port}"),
        url=f"{scheme}://{f'[{address}]' if ':' in address else address}:{port}",
        meta=meta,
        state="critical" if critical else "warning" if failing else "passing",
        failing_checks=", ".join(sorted(str(check.get("Name") or check.get("CheckID")) for check in failing)),
    )


@dataclass(frozen=True)
class Query:
    """Hard requirements on a node; None and the empty set match every node. A missing value does not match.

    A node that does not serve this client's version of the HTTP API never matches.

    `version`: of the model, a range such as ">=1.2,<2" or an exact version. `sample_rate`: in Hz, without resampling.
    `voice`: a stored voice, which metadata does not show: `matches` leaves it out.
    """

    language: str | None = None
    features: Collection[str] = frozenset()
    sample_rate: int | None = None
    model: str | None = None
    version: str | None = None
    region: str | None = None
    voice: str | None = None

    def matches(self, node: Node) -> bool:
        """Whether a request may go to `node`."""
        return (
            API_VERSION in node.api_versions
            and self.language in (None, *node.languages)
            and node.features.issuperset(self.features)
            and self.sample_rate in (None, *node.sample_rates)
            and self.model in (None, node.model)
            and self.region in (None, node.region)
            and (self.version is None or version_matches(node.version, self.version))
        )

    def with_language(self, language: str | None) -> Query:
        """This query, for a request in `language`; None and "auto" require none."""
        return self if language in (None, "auto") or self.language is not None else replace(self, language=language)

    def with_voice(self, voice: str | None) -> Query:
        """This query, for a request with a stored voice."""
        return self if voice is None else replace(self, voice=voice)


ANY_NODE = Query()


def version_matches(version: str, expected: str) -> bool:
    """Whether `version` equals `expected` or lies in that range. A version that is not a number lies in no range."""
    if version == expected:
        return bool(version)
    try:
        return SpecifierSet(expected, prereleases=True).contains(Version(version))
    except (InvalidSpecifier, InvalidVersion):
        return False
