"""One text into a file, to the loudspeaker, or both."""

from __future__ import annotations

import os
import wave
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from glmtts_client.cluster import Cluster
from glmtts_client.errors import ClientError
from glmtts_client.speech import SpeechOptions


class AudioSink(Protocol):
    """Takes samples, signed 16 bit."""

    def write(self, samples: bytes, /) -> object: ...


def say(
    cluster: Cluster, text: str, options: SpeechOptions, *, output: Path | None, play: bool, traceparent: str | None
) -> str:
    """Speaks `text` into `output`, aloud, or both; gives one line about it. The file appears when it is whole."""
    kind = output.suffix[1:].lower() if output is not None else "wav"
    if not play and output is not None:
        options = replace(options, format=kind or "wav")
        speech = cluster.synthesize(text, options, traceparent=traceparent)
        with _replacing(output) as part:
            part.write_bytes(speech.audio)
        return (
            f"{speech.audio_seconds:.2f} s of speech in {speech.elapsed_seconds:.2f} s (RTF {speech.rtf:.2f}) "
            f"from {speech.node}, "
            f"seed {speech.seed}, {speech.attempts} {'try' if speech.attempts == 1 else 'tries'}"
        )
    return _aloud(cluster, text, options, output, traceparent)


def _aloud(cluster: Cluster, text: str, options: SpeechOptions, output: Path | None, traceparent: str | None) -> str:
    with ExitStack() as held:
        stream = held.enter_context(cluster.stream(text, options, traceparent=traceparent))
        sinks = [held.enter_context(_audio_device(stream.sample_rate))]
        if output is not None:
            sinks.append(held.enter_context(_file(output, stream.sample_rate)))
        for samples in stream:
            for sink in sinks:
                sink.write(samples)
        seconds = sum(segment.audio_seconds for segment in stream.segments)
        nodes = sorted({node for segment in stream.segments for node in segment.nodes})
        return f"{seconds:.2f} s of speech from {', '.join(nodes)}, seed {stream.seed}"


@contextmanager
def _audio_device(rate: int) -> Iterator[AudioSink]:
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: it is there, but PortAudio is not
        raise ClientError(
            f"--play needs sounddevice and PortAudio: pip install 'glmtts-client[play]' ({error})"
        ) from None
    try:
        device = sounddevice.RawOutputStream(samplerate=rate, channels=1, dtype="int16")
    except sounddevice.PortAudioError as error:
        raise ClientError(f"--play: no loudspeaker ({error})") from None
    with device:
        yield device


@contextmanager
def _file(path: Path, rate: int) -> Iterator[AudioSink]:
    with _replacing(path) as part, part.open("wb") as file:
        if path.suffix == ".pcm":
            yield file
            return
        with wave.open(file, "wb") as writer:
            writer.setnchannels(1)
            writer.setsampwidth(2)
            writer.setframerate(rate)
            yield _Wav(writer)


class _Wav:
    def __init__(self, writer: wave.Wave_write) -> None:
        self.write = writer.writeframes


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place at the end, if there was no error."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
