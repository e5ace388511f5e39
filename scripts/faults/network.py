"""A host of its own on this machine: a network namespace, joined to the rest by one link that can be cut.

Needs root, and iproute2. Knows nothing about what runs there.
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
HERE, THERE = "10.254.77.1", "10.254.77.2"
"""The two ends of the link."""


@dataclass(frozen=True)
class Island:
    """The namespace `name`. `inside` stands before a command that shall run there."""

    name: str

    @property
    def inside(self) -> list[str]:
        return ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        """Nothing goes in or out any more, and nobody is told."""
        self._set("down")

    def join(self) -> None:
        self._set("up")

    def _set(self, state: str) -> None:
        # The far end: taken down here, the near one would lose its address, which a server is bound to.
        _ip("-n", self.name, "link", "set", "far", state)


def obstacle() -> str:
    """Why there can be none here; "" if there can."""
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
def island() -> Iterator[Island]:
    """One, with addresses HERE and THERE at the ends of its link; gone after."""
    _sweep()
    name, near = f"glmtts-chaos-{os.getpid()}", f"chaos{os.getpid() % 10**6}"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", near, "type", "veth", "peer", "name", "far", "netns", name)
        _ip("address", "add", f"{HERE}/30", "dev", near)
        _ip("link", "set", near, "up")
        for command in ("address add 127.0.0.1/8 dev lo", "link set lo up", f"address add {THERE}/30 dev far",
                        "link set far up"):  # fmt: skip
            # An address may be there already: lo gets its own when it goes up.
            _ip("-n", name, *command.split())
        yield Island(name)
    finally:
        _ip("netns", "delete", name)  # and the link with it, both ends


def _sweep() -> None:
    """Removes what runs left that were killed."""
    for line in _ip("netns", "list").splitlines():
        found = NAME.match(line)
        if found and not Path(f"/proc/{found[1]}").exists():
            _ip("netns", "delete", found[0])


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
