"""A node as discovery describes it, and the filters that decide whether a request may go to it at all.

Metadata may lack any key and hold anything: what cannot be read is as if it were not there. Knows nothing about
connections, or about which of the admitted nodes is best.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version


@dataclass(frozen=True)
class Node:
    """One server. `state`, by its checks: passing, warning or critical. `failing_checks`: their names."""

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
        """Of the model; a number or any other text."""
        return self.meta.get("model_version", "")

    @property
    def region(self) -> str:
        return self.meta.get("region", "")

    @property
    def tier(self) -> str:
        """`cpu`, `small` or `large`; "" if it does not say."""
        return self.meta.get("tier", "")

    @property
    def languages(self) -> frozenset[str]:
        return self._set("language")

    @property
    def features(self) -> frozenset[str]:
        return self._set("features")

    @property
    def sample_rates(self) -> frozenset[int]:
        """The rates (Hz) that it makes without resampling."""
        return frozenset(int(rate) for rate in self._set("sample_rate") if rate.isdecimal())

    @property
    def max_streams(self) -> int:
        """How many requests it works on at once; 1 if it does not say."""
        text = self.meta.get("max_streams", "")
        return max(1, int(text)) if text.isdecimal() else 1

    def _set(self, key: str) -> frozenset[str]:
        """A comma-separated value."""
        return frozenset(item.strip() for item in self.meta.get(key, "").split(",") if item.strip())


def from_consul(entry: Any, scheme: str = "http") -> Node | None:
    """A node from an entry of /v1/health/service; None for one without an address or a port."""
    service, host = entry.get("Service") or {}, entry.get("Node") or {}
    address, port = service.get("Address") or host.get("Address"), service.get("Port")
    if not address or not port:
        return None
    meta = {str(key): str(value) for key, value in (service.get("Meta") or {}).items() if value is not None}
    bad = [check for check in entry.get("Checks") or () if check.get("Status") != "passing"]
    critical = any(check.get("Status") != "warning" for check in bad)
    return Node(
        id=str(service.get("ID") or f"{address}:{port}"),
        url=f"{scheme}://{f'[{address}]' if ':' in address else address}:{port}",
        meta=meta,
        state="critical" if critical else "warning" if bad else "passing",
        failing_checks=", ".join(sorted(str(check.get("Name") or check.get("CheckID")) for check in bad)),
    )


@dataclass(frozen=True)
class Query:
    """What a node must be; None and the empty set admit all. Hard: a node that does not say is not admitted.

    `version` is of the model: a range such as ">=1.2,<2", or the version itself. `sample_rate` (Hz) must be native.
    """

    language: str | None = None
    features: Collection[str] = frozenset()
    sample_rate: int | None = None
    model: str | None = None
    version: str | None = None
    region: str | None = None

    def matches(self, node: Node) -> bool:
        """Whether a request may go there."""
        return (
            self.language in (None, *node.languages)
            and node.features.issuperset(self.features)
            and self.sample_rate in (None, *node.sample_rates)
            and self.model in (None, node.model)
            and self.region in (None, node.region)
            and (self.version is None or version_matches(node.version, self.version))
        )


ANY_NODE = Query()


def version_matches(version: str, wanted: str) -> bool:
    """Whether `version` is `wanted` itself, or in that range. A version that is no number is in no range."""
    if version == wanted:
        return bool(version)
    try:
        return SpecifierSet(wanted, prereleases=True).contains(Version(version))
    except (InvalidSpecifier, InvalidVersion):
        return False
