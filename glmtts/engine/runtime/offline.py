"""Text and a voice to a waveform, one segment at a time: the reference that the engine is tested against.

Read it from top to bottom. No threads, no streaming, no batching: each stage runs on its whole input. Randomness is a
function of (seed, segment, attempt, step) in the AR model, (seed, segment, frame) in the flow and (seed, segment,
sample) in the vocoder, so the same call gives the same waveform.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from glmtts.checkpoint.loader import Model
from glmtts.dsp.audio import EMPTY_WAVE, Wave, frames_for_tokens, with_silence
from glmtts.dsp.time_stretch import SpeedRange, TimeStretch
from glmtts.engine.api import MAX_SPEED, MIN_SPEED, FinishReason, Report, SegmentTiming
from glmtts.engine.scheduling.redraws import SegmentDraws, worse
from glmtts.errors import InputError, UnsupportedError
from glmtts.models.llm.decoder import Decoder, DecodeRequest, generate_tokens
from glmtts.models.llm.history import History
from glmtts.models.llm.kv_cache import KVCache
from glmtts.models.llm.prompt import prompt_layout
from glmtts.models.rng import frame_noise, stream_keys
from glmtts.text.frontend.frontend import Segment
from glmtts.text.language import Language
from glmtts.voice.voice import Voice


@dataclass(frozen=True, eq=False)
class SynthesisResult:
    """The waveform (samples,) float32 in [-1, 1], its rate in Hz, and how it was made.

    `segments` are the text after the front end, `tokens` the speech tokens of each. The report's finish reason is
    that of the worst segment, see `FinishReason`.
    """

    wave: Wave
    sample_rate: int
    report: Report
    segments: tuple[Segment, ...]
    tokens: tuple[tuple[int, ...], ...]


@torch.inference_mode()
def synthesize(
    model: Model,
    text: str,
    voice: Voice,
    *,
    sample_rate: int | None = None,
    seed: int = 0,
    speed: float = 1.0,
    use_history: bool = True,
    phoneme: bool | None = None,
    language: Language | None = None,
    speaker: str = "",
) -> SynthesisResult:
    """Synthesises `text` in `voice`.

    Args:
        sample_rate: one of the model's output rates in Hz; None is the lowest.
        seed: 0 … 2⁶³ − 1.
        speed: MIN_SPEED (a quarter as fast) to MAX_SPEED; beyond the checkpoint's range by a time stretch.
        use_history: whether earlier segments prompt later ones.
        phoneme: phoneme mode; None is the checkpoint's default.
        language: says how numbers and signs are read; None leaves it to the text's characters.
        speaker: by whose name a fine-tuned model may know the voice.

    Raises TextError if the text cannot be spoken, UnsupportedError for a rate that the model or the voice does not
    have, InputError for a speed or seed out of range.
    """
    rate = model.sample_rates[0] if sample_rate is None else sample_rate
    validate_request(model, voice, rate, seed, speed)
    result = _Result(Report())

    with _timed(result.report, "text"):
        segments = model.frontend.segments(text, phoneme=phoneme, language=language)
    prompt_tokens = voice.prompt_tokens.tolist()
    history = History(
        voice.prompt_text,
        prompt_tokens,
        model.generation,
        enabled=use_history,
        max_positions=model.max_positions,
        speaker=model.speaker_ids(speaker),
    )
    flow_speed, stretch_factor = SpeedRange(model.generation.min_speed, model.generation.max_speed).split(speed)
    cache = KVCache(model.llm.config, 1, model.max_positions, dtype=model.dtype, device=model.device)
    decoder = Decoder(model.llm, model.special, model.generation, cache)

    for segment in segments:
        # Text ids to speech tokens, prompted by the voice and the earlier segments.
        with _timed(result.report, "ar"):
            prompt = history.prompt(segment.ids, segment.weight)
            ids = prompt_layout(prompt.text, segment.ids, prompt.speech, model.special)
            draws = SegmentDraws(model.generation, len(segment.ids), prompt.bounds)
            tokens = _draw_tokens(decoder, DecodeRequest(ids, prompt.bounds, seed, segment.index), draws)
        history.add(segment.ids, tokens)

        # Speech tokens to mel to waveform, prompted by the voice alone. No tokens, no audio.
        if tokens:
            key = stream_keys(torch.tensor([seed]), torch.tensor([segment.index])).to(model.device)
            with _timed(result.report, "flow"):
                mel = tokens_to_mel(model, tokens, voice, rate, key, frames_for_tokens(len(tokens), flow_speed))
            with _timed(result.report, "vocoder"):
                wave = model.vocoders[rate](mel, key)[0].cpu().numpy()
                stretch = TimeStretch(stretch_factor, rate)
                result.add_speech(segment, [stretch.feed(wave), stretch.finish()], rate)
        result.waves.append(with_silence(EMPTY_WAVE, segment.pause_seconds, rate))
        result.add(segment, draws)

    return result.finish(segments, rate)


def tokens_to_mel(model: Model, tokens: tuple[int, ...], voice: Voice, rate: int, key_b: Tensor, frames: int) -> Tensor:
    """Mel (1, 80, frames) of speech tokens after the voice's own; `key_b` int64 (1,) is the key of the noise.

    New frames are numbered from 0 and the prompt's down from −1, so a frame's noise does not depend on the voice.
    """
    prompt_mel = voice.prompt_mels[rate][None].to(model.device)
    prompt_frames, bins = prompt_mel.shape[1:]
    mel: Tensor = model.flow.sample(
        torch.tensor([tokens], device=model.device),
        voice.prompt_tokens[None].to(model.device),
        prompt_mel,
        voice.speaker[None].to(model.device),
        frame_noise(key_b, -prompt_frames, prompt_frames + frames, bins),
        frames=frames,
    )
    return mel


def validate_request(model: Model, voice: Voice, rate: int, seed: int, speed: float) -> None:
    """Raises UnsupportedError for a rate that model or voice does not have, InputError for a wrong speed or seed."""
    if rate not in model.vocoders or rate not in voice.prompt_mels:
        rates = sorted(set(model.vocoders) & set(voice.prompt_mels))
        raise UnsupportedError(f"sample_rate: expected one of {rates}, got {rate}", field="sample_rate")
    if not MIN_SPEED <= speed <= MAX_SPEED:
        raise InputError(f"speed: expected {MIN_SPEED} to {MAX_SPEED}, got {speed}", field="speed")
    if not 0 <= seed < 2**63:
        raise InputError(f"seed: expected 0 to 2^63 - 1, got {seed}", field="seed")


def _draw_tokens(decoder: Decoder, request: DecodeRequest, draws: SegmentDraws) -> tuple[int, ...]:
    """The speech tokens of the request's segment, drawn again while they are implausible."""
    while not draws.done:
        for token in [*generate_tokens(decoder, replace(request, attempt=draws.attempt)), None]:
            if draws.add(token) is not None or draws.done:  # a draw that was cut has no end token
                break
    return tuple(draws.tokens)


@dataclass
class _Result:
    """The result so far."""

    report: Report
    waves: list[Wave] = field(default_factory=list)
    tokens: list[tuple[int, ...]] = field(default_factory=list)
    outcome: FinishReason = "stop"

    def add_speech(self, segment: Segment, waves: list[Wave], rate: int) -> None:
        start, end = sum(map(len, self.waves)), sum(map(len, [*self.waves, *waves]))
        self.waves += waves
        self.report.timings.append(SegmentTiming(segment.index, segment.text, start / rate, end / rate))

    def add(self, segment: Segment, draws: SegmentDraws) -> None:
        report = self.report
        self.tokens.append(tuple(draws.tokens))
        self.outcome = worse(self.outcome, draws.finish_reason)
        report.text_ids += len(segment.ids)
        report.speech_tokens += len(draws.tokens)
        report.redraws += draws.attempt
        report.segments_done += 1

    def finish(self, segments: list[Segment], rate: int) -> SynthesisResult:
        wave = np.concatenate([EMPTY_WAVE, *self.waves])
        self.report.audio_seconds = len(wave) / rate
        self.report.finish_reason = self.outcome
        return SynthesisResult(wave, rate, self.report, tuple(segments), tuple(self.tokens))


@contextmanager
def _timed(report: Report, stage: str) -> Iterator[None]:
    """Adds the time of a `with` block to the stage's. On a GPU, part of a stage may count as the next one's time."""
    start = time.perf_counter()
    yield
    report.stage_seconds[stage] = report.stage_seconds.get(stage, 0.0) + time.perf_counter() - start
