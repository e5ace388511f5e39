"""Requests as programs send them that cannot be installed here, and what each needs back.

Read from the programs' sources and their published examples. Paths are below /v1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class RecordedRequest:
    """One request. `needs`: the content type that the program can read. `members`: of the answer, if it is JSON."""

    client: str
    path: str
    body: Mapping[str, Any] | None = None
    needs: str = "audio/mpeg"
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)
    status: int = 200
    members: Sequence[str] = ()
    form: Mapping[str, str] | None = None
    """Sent with a recording as `audio_sample`."""

    def send(self, url: str, key: str, recording: bytes) -> requests.Response:
        """Sends it to the API at `url`. A key replaces the program's own."""
        headers = {**self.headers, **({"Authorization": f"Bearer {key}"} if key else {})}
        if self.form is not None:
            files = {"audio_sample": ("voice_sample.wav", recording, "audio/wav")}
            return requests.post(url + self.path, data=self.form, files=files, headers=headers, timeout=120)
        return requests.request(self.method, url + self.path, json=self.body, headers=headers, timeout=120)

    def problem(self, response: requests.Response) -> str | None:
        """Why the program could not use the response; None if it can."""
        content_type = response.headers.get("Content-Type", "")
        if response.status_code != self.status:
            return f"status {response.status_code}: {response.text[:200]}"
        if not content_type.startswith(self.needs):
            return f"content type {content_type}"
        if self.needs == "application/json" and not set(self.members) <= response.json().keys():
            return f"no {', '.join(set(self.members) - response.json().keys())}"
        return None if response.content else "an empty body"


def recorded_requests() -> list[RecordedRequest]:
    """All of them, in the order in which they are to be sent: a voice that one stores speaks in the next."""
    lines = (Path(__file__).parent / "recorded.jsonl").read_text("utf-8").splitlines()
    return [RecordedRequest(**json.loads(line)) for line in lines]
