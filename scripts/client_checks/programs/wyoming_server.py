"""Speaks through wyoming-openai, the bridge of Home Assistant, as Home Assistant does.

python wyoming_server.py URL KEY TEXT        prints the seconds of speech, as JSON
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys

from wyoming.audio import AudioChunk, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.tts import Synthesize

START_SECONDS = 30


async def seconds_of(port: int, text: str) -> float:
    await asyncio.wait_for(_started(port), START_SECONDS)
    seconds = 0.0
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Synthesize(text=text).event())
        while (event := await client.read_event()) is not None and not AudioStop.is_type(event.type):
            if AudioChunk.is_type(event.type):
                chunk = AudioChunk.from_event(event)
                seconds += chunk.samples / chunk.rate
    return seconds


async def _started(port: int) -> None:
    while True:
        with contextlib.suppress(ConnectionError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.1)


def main(url: str, key: str, text: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = [
        "--uri",
        f"tcp://127.0.0.1:{port}",
        "--tts-openai-url",
        url,
        "--tts-openai-key",
        key,
        "--tts-models",
        "tts-1",
    ]
    with subprocess.Popen([sys.executable, "-m", "wyoming_openai", *flags, "--languages", "en"]) as bridge:
        try:
            print(json.dumps({"wav": asyncio.run(seconds_of(port, text))}))
        finally:
            bridge.terminate()


main(*sys.argv[1:4])
