"""A second host on this machine: a network namespace, connected to the rest by one link that can be taken down.

Needs root and iproute2.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(r"glmtts-chaos-(\d+)")
NEAR_ADDRESS, FAR_ADDRESS = "10.254.77.1", "10.254.77.2"
"""The two ends of the link; the far one is inside the namespace."""


@dataclass(frozen=True)
class IsolatedHost:
    """The network namespace `name`."""

    name: str

    @property
    def command_prefix(self) -> list[str]:
        """Runs the command that follows it inside the namespace."""
        return ["ip", "netns", "exec", self.name]

    def disconnect(self) -> None:
        """Drops all traffic in both directions; open connections are not reset."""
        self._set_link("down")

    def reconnect(self) -> None:
        """Lets traffic through again."""
        self._set_link("up")

    def _set_link(self, state: str) -> None:
        # The far end: the near one would lose its address, to which a server is bound.
        _ip("-n", self.name, "link", "set", "far", state)


def unavailable_reason() -> str:
    """Why this machine can't have such a host; "" if it can."""
    if shutil.which("ip") is None:
        return "no iproute2"
    probe = f"glmtts-chaos-{os.getpid()}"
    try:
        _ip("netns", "add", probe)
        _ip("netns", "delete", probe)
    except subprocess.CalledProcessError as error:
        return f"no network namespaces: {error.stderr.strip()}"
    return ""


@contextmanager
def isolated_host() -> Iterator[IsolatedHost]:
    """A host whose link has the addresses NEAR_ADDRESS and FAR_ADDRESS; removed on exit."""
    _remove_stale()
    name, near = f"glmtts-chaos-{os.getpid()}", f"chaos{os.getpid() % 10**6}"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", near, "type", "veth", "peer", "name", "far", "netns", name)
        _ip("address", "add", f"{NEAR_ADDRESS}/30", "dev", near)
        _ip("link", "set", near, "up")
        # lo comes first, then far: an address that lo gets when it goes up must not be added a second time.
        for command in ("address add 127.0.0.1/8 dev lo", "link set lo up", f"address add {FAR_ADDRESS}/30 dev far",
                        "link set far up"):  # fmt: skip
            _ip("-n", name, *command.split())
        yield IsolatedHost(name)
    finally:
        _ip("netns", "delete", name)  # deletes both ends of the link too


def _remove_stale() -> None:
    """Removes the namespaces of runs that were killed."""
    for line in _ip("netns", "list").splitlines():
        match = NAME.match(line)
        if match and not Path(f"/proc/{match[1]}").exists():
            _ip("netns", "delete", match[0])


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
