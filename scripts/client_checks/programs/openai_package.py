"""Speaks with the openai package from PyPI: every format whole, one as a stream.

python openai_package.py URL KEY TEXT        prints bytes by what was asked for, as JSON
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openai


def main(url: str, key: str, text: str) -> None:
    client = openai.OpenAI(base_url=url, api_key=key)
    speech: dict[str, Any] = {"input": text, "model": "gpt-4o-mini-tts", "voice": "coral"}
    answer = {"no format": len(client.audio.speech.create(**speech).content)}
    for fmt in ("opus", "aac", "flac", "wav", "pcm"):
        answer[fmt] = len(client.audio.speech.create(**speech, response_format=fmt).content)
    with client.audio.speech.with_streaming_response.create(**speech, response_format="pcm") as stream:
        answer["streamed pcm"] = sum(map(len, stream.iter_bytes()))
    print(json.dumps(answer))


main(*sys.argv[1:4])
