"""What nodes of two releases must understand of each other: tokens, stored voices, shared configuration."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import requests

from scripts.faults.agents import Agent
from scripts.faults.cluster import Node

DOCUMENTS: dict[str, dict[str, Any]] = {
    "default_style": {"speed": 1.0},
    "g2p_replace": {"行长": "<|H|><|ANG2|><|ZH|><|ANG3|>"},
    "limits": {"max_text_chars": 1234},
}
"""Shared configuration, as the releases before wrote it."""
TIMEOUT = 60.0
"""Seconds within which a change must be on all nodes, and a request must be answered."""
CHANGES = "glmtts_shared_config_changes_total{"


def write_documents(agent: Agent) -> None:
    """Writes the shared configuration into Consul."""
    for key, document in DOCUMENTS.items():
        agent.call("PUT", f"/v1/kv/glm-tts/{key}", document)


def problems_of_documents(nodes: Sequence[Node]) -> list[str]:
    """Nodes that do not have the shared configuration in force, or have refused any of it."""
    missing = [node.name for node in nodes if not _becomes_true(partial(_has_limit, node))]
    refused = [node.name for node in nodes if any(_refusals(node))]
    return [f"{name}: expected the shared limits, got others" for name in missing] + [
        f"{name}: expected to take the shared configuration, refused it" for name in refused
    ]


def problems_of_voices(nodes: Sequence[Node], origins: Sequence[Node], recording: Path) -> list[str]:
    """Stores a voice at each of `origins`: nodes that cannot speak with one, or that keep it after it is deleted."""
    fields = {"reference_text": "He sat on the floor cross-legged and meditated.", "consent": "a test"}
    urls = {f"from-{origin.name}": f"{origin.url}/voices/from-{origin.name}" for origin in origins}
    for url in urls.values():
        files = {"reference_audio": recording.read_bytes()}
        requests.post(url, fields, files=files, timeout=TIMEOUT).raise_for_status()
    problems = [
        f"{node.name}: expected the voice {name}, lacks it"
        for name in urls
        for node in nodes
        if not _becomes_true(partial(_speaks, node, name))
    ]
    for url in urls.values():
        requests.delete(url, timeout=TIMEOUT).raise_for_status()
    return problems + [
        f"{node.name}: expected the voice {name} to be deleted, has it"
        for name in urls
        for node in nodes
        if not _becomes_true(partial(_lacks_voice, node, name))
    ]


def problems_of_tokens(nodes: Sequence[Node]) -> list[str]:
    """Pairs of nodes of which one does not go on where the other stopped, although they have the same model."""
    versions = {node.name: model_version(node) for node in nodes}
    tokens = {node.name: _speak(node, text="One.", segmented=True).headers["X-Continuation"] for node in nodes}
    problems = []
    for one, other in permutations(nodes, 2):
        response = _speak(other, text="Two.", segmented=True, continuation=tokens[one.name])
        same = versions[one.name] == versions[other.name]
        refused = response.status_code == 400 and response.json()["error"]["field"] == "continuation"
        if not (response.status_code == 200 if same else refused):
            problems.append(f"{other.name}: token of {one.name}: {response.status_code} {response.text.strip()[:200]}")
    return problems


def model_version(node: Node) -> str:
    return str(_get(node, "/info").json()["model_version"])


def release(node: Node) -> str:
    """Version of its program; "" before nodes said so."""
    return str(_get(node, "/info").json()["metadata"].get("release", ""))


def _speaks(node: Node, voice: str) -> bool:
    return _speak(node, text="One.", voice=voice).status_code == 200


def _lacks_voice(node: Node, name: str) -> bool:
    return _get(node, f"/voices/{name}").status_code == 404


def _has_limit(node: Node) -> bool:
    limits = _get(node, "/info").json()["limits"]
    return bool(limits["max_text_chars"] == DOCUMENTS["limits"]["max_text_chars"])


def _refusals(node: Node) -> Iterator[float]:
    for line in _get(node, "/metrics").text.splitlines():
        if line.startswith(CHANGES) and 'result="refused"' in line:
            yield float(line.rpartition(" ")[2])


def _get(node: Node, path: str) -> requests.Response:
    return requests.get(node.url + path, timeout=TIMEOUT)


def _speak(node: Node, **fields: Any) -> requests.Response:
    """The response; a busy node is asked again."""
    body = json.dumps({"format": "pcm", "seed": 1, **fields})
    headers = {"Content-Type": "application/json"}
    deadline = time.monotonic() + TIMEOUT
    while True:
        response = requests.post(f"{node.url}/tts", body, headers=headers, timeout=TIMEOUT)
        if response.status_code != 429 or time.monotonic() > deadline:
            return response
        time.sleep(0.5)


def _becomes_true(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
