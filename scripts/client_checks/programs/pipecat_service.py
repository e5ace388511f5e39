"""Speaks with Pipecat's OpenAITTSService, in a pipeline.

python pipecat_service.py URL KEY TEXT        prints the seconds of speech by voice, as JSON
"""

from __future__ import annotations

import asyncio
import json
import sys

from pipecat.frames.frames import ErrorFrame, TTSAudioRawFrame, TTSSpeakFrame
from pipecat.services.openai.tts import OpenAITTSService
from pipecat.tests.utils import run_test

VOICES = ("alloy", "nova", "cedar")


async def seconds_of(url: str, key: str, text: str, voice: str) -> float:
    service = OpenAITTSService(base_url=url, api_key=key, settings=OpenAITTSService.Settings(voice=voice))
    frames, errors = await run_test(service, frames_to_send=[TTSSpeakFrame(text)])
    failed = [frame.error for frame in (*frames, *errors) if isinstance(frame, ErrorFrame)]
    if failed:
        raise RuntimeError(failed[0])
    audio = [frame for frame in frames if isinstance(frame, TTSAudioRawFrame)]
    return sum(len(frame.audio) / 2 / frame.sample_rate for frame in audio)


async def main(url: str, key: str, text: str) -> None:
    print(json.dumps({voice: await seconds_of(url, key, text, voice) for voice in VOICES}))


asyncio.run(main(*sys.argv[1:4]))
