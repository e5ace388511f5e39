"""Speaks with livekit-plugins-openai: as events and as bare audio, in the formats that the plugin decodes.

python livekit_plugin.py URL KEY TEXT        prints the seconds of speech by what was asked for, as JSON
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from livekit.plugins import openai

CASES: dict[str, dict[str, Any]] = {
    "events, mp3": {},
    "events, wav": {"response_format": "wav"},
    "bare, mp3": {"model": "tts-1"},
    "bare, pcm": {"model": "tts-1", "response_format": "pcm"},
    "events, opus": {"response_format": "opus"},
    "events, flac, slower": {"response_format": "flac", "speed": 0.8, "instructions": "Speak calmly."},
}


async def seconds_of(url: str, key: str, text: str, options: dict[str, Any]) -> float:
    speech = openai.TTS(base_url=url, api_key=key, **options)
    seconds = 0.0
    async with speech.synthesize(text) as stream:
        async for event in stream:
            seconds += event.frame.duration
    await speech.aclose()
    return seconds


async def main(url: str, key: str, text: str) -> None:
    print(json.dumps({case: await seconds_of(url, key, text, options) for case, options in CASES.items()}))


asyncio.run(main(*sys.argv[1:4]))
