"""Speaks one text to a file, to the audio device, or both."""

from __future__ import annotations

import os
import wave
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from glmtts_client.cli import subtitles
from glmtts_client.cluster import Cluster
from glmtts_client.errors import ClientError
from glmtts_client.failover_stream import SegmentReport
from glmtts_client.speech import SpeechOptions, TimedText

FORMATS_BY_SUFFIX = {"ogg": "opus"}
"""Formats that have another name than the suffix of their files."""


class AudioSink(Protocol):
    """Takes samples: signed 16 bit, mono."""

    def write(self, samples: bytes, /) -> object: ...


def say(
    cluster: Cluster,
    text: str,
    options: SpeechOptions,
    *,
    output: Path | None,
    play: bool,
    subtitles_file: Path | None = None,
    traceparent: str | None,
) -> str:
    """Speaks `text` to `output`, aloud, or both; returns a one-line summary. `output` appears once it is complete.

    `subtitles_file`: written after it.

    Raises ClientError and OSError.
    """
    if play or output is None:
        return _play(cluster, text, options, output, subtitles_file, traceparent)
    suffix = output.suffix[1:].lower() or "wav"
    options = replace(options, format=FORMATS_BY_SUFFIX.get(suffix, suffix))
    speech = cluster.synthesize(text, options, traceparent=traceparent, timing=subtitles_file is not None)
    with _atomic_write(output) as part:
        part.write_bytes(speech.audio)
    if subtitles_file is not None:
        subtitles.write(subtitles_file, speech.timing)
    return (
        f"{speech.audio_seconds:.2f} s of speech in {speech.elapsed_seconds:.2f} s (RTF {speech.rtf:.2f}) "
        f"from {speech.node}, seed {speech.seed}, {speech.attempts} "
        f"{'attempt' if speech.attempts == 1 else 'attempts'}"
        + (f", {speech.skipped_characters} characters in another language skipped" if speech.skipped_characters else "")
    )


def follow(
    cluster: Cluster,
    pieces: Iterable[str],
    options: SpeechOptions,
    *,
    output: Path | None,
    play: bool,
    subtitles_file: Path | None = None,
) -> str:
    """Speaks `pieces` as they come, like `say`. Raises ClientError and OSError."""
    with cluster.follow(pieces, options) as speech:
        _write(speech, speech.sample_rate, output, play)
        cues = [TimedText(each["text"], each["start_s"], each["end_s"]) for each in speech.sentences]
        if subtitles_file is not None:
            subtitles.write(subtitles_file, cues)
        return f"{cues[-1].end_seconds if cues else 0.0:.2f} s of speech from {speech.node}"


def _play(
    cluster: Cluster,
    text: str,
    options: SpeechOptions,
    output: Path | None,
    subtitles_file: Path | None,
    traceparent: str | None,
) -> str:
    with cluster.stream(text, options, traceparent=traceparent) as stream:
        _write(stream, stream.sample_rate, output, play=True)
        if subtitles_file is not None:
            subtitles.write(subtitles_file, _cues(stream.segments))
        seconds = sum(segment.audio_seconds for segment in stream.segments)
        nodes = sorted({node for segment in stream.segments for node in segment.nodes})
        return f"{seconds:.2f} s of speech from {', '.join(nodes)}, seed {stream.seed}"


def _cues(segments: Sequence[SegmentReport]) -> Iterator[TimedText]:
    """One for each segment; its pause belongs to it."""
    start = 0.0
    for segment in segments:
        yield TimedText(segment.text, start, start + segment.audio_seconds)
        start += segment.audio_seconds


def _write(chunks: Iterable[bytes], sample_rate: int, output: Path | None, play: bool) -> None:
    """Writes samples while they come to a file, the audio device, or both."""
    with ExitStack() as resources:
        sinks = [resources.enter_context(_audio_device(sample_rate))] if play else []
        if output is not None:
            sinks.append(resources.enter_context(_audio_file(output, sample_rate)))
        for samples in chunks:
            for sink in sinks:
                sink.write(samples)


@contextmanager
def _audio_device(sample_rate: int) -> Iterator[AudioSink]:
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the package is installed, PortAudio is not
        raise ClientError(
            f"--play needs sounddevice and PortAudio: pip install 'glmtts-client[play]' ({error})"
        ) from None
    try:
        device = sounddevice.RawOutputStream(samplerate=sample_rate, channels=1, dtype="int16")
    except sounddevice.PortAudioError as error:
        raise ClientError(f"--play: no audio device ({error})") from None
    with device:
        yield device


@contextmanager
def _audio_file(path: Path, sample_rate: int) -> Iterator[AudioSink]:
    """A .pcm file, or a wav file."""
    with _atomic_write(path) as part, part.open("wb") as file:
        if path.suffix == ".pcm":
            yield file
            return
        with wave.open(file, "wb") as writer:
            writer.setnchannels(1)
            writer.setsampwidth(2)
            writer.setframerate(sample_rate)
            yield _WavSink(writer)


class _WavSink:
    def __init__(self, writer: wave.Wave_write) -> None:
        self.write = writer.writeframes


@contextmanager
def _atomic_write(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that replaces it unless the block raises."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
