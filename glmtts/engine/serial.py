"""One job after another on one thread: the engine before there is batching. Chunks leave segment by segment.

The waiting line and the callers' ends are those of `glmtts.engine.fake`, which has the same one-at-a-time life;
only `_speak` differs. Every segment's audio equals `glmtts.offline`'s. Knows nothing about HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import torch

from glmtts.audio import frames_for_tokens
from glmtts.checkpoint import Model, load
from glmtts.engine.fake import FakeEngine, FakeHandle, FakeOptions
from glmtts.engine.job import EngineInfo, Job
from glmtts.errors import DeviceMemoryError, EngineError, GlmTtsError
from glmtts.history import History
from glmtts.models.counter import stream_keys
from glmtts.models.decode import Decoder, Row, speak
from glmtts.models.kv_cache import KVCache
from glmtts.models.prompt import prompt_layout
from glmtts.offline import tokens_to_mel
from glmtts.text.frontend import Segment
from glmtts.text.replacements import read_replacements
from glmtts.voice.voice import Voice

WAITING = 8


class SerialEngine(FakeEngine):
    """See the module. `model` is what `glmtts.checkpoint.load` gives."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._frontend = model.frontend
        cache = KVCache(model.llm.config, 1, model.slot, dtype=model.dtype, device=model.device)
        self._decoder = Decoder(model.llm, model.special, model.generation, cache)
        super().__init__(FakeOptions(waiting=WAITING))
        self._vocabulary, self._speech_tokens = model.llm.config.vocab_size, model.special.speech_tokens
        features = ("emotion", "phoneme_control", "kv_cache", "streaming")
        info = model.info
        self.info = EngineInfo(
            info.name, info.version, info.languages, model.sample_rates, features, str(model.device), 1
        )

    def set_replacements(self, words: Mapping[str, str]) -> None:
        self._frontend = self._model.frontend.replacing(words)

    def segments(self, text: str, *, phoneme: bool | None = None, segmented: bool = False) -> list[Segment]:
        return self._frontend.segments(text, phoneme=phoneme, segmented=segmented)

    def make_voice(self, recording: bytes, transcript: str) -> Voice:
        return self._model.voice_maker.make_voice(recording, transcript)

    @torch.inference_mode()
    def _speak(self, handle: FakeHandle) -> None:
        try:
            self._speak_all(handle)
            handle.end()
        except GlmTtsError as error:
            handle.end(error)
        except torch.OutOfMemoryError:
            handle.end(DeviceMemoryError("the request did not fit into the device's memory"))
        except Exception as error:  # a fault of one request must not end the thread that serves all
            handle.end(EngineError(f"{type(error).__name__}: {error}"))

    def _speak_all(self, handle: FakeHandle) -> None:
        job, model = handle.job, self._model
        prompt = job.voice.prompt_tokens.tolist()
        chain = History(job.voice.prompt_text, prompt, model.generation, enabled=job.history, slot=model.slot)
        for text, speech in job.earlier:
            chain.add(text, speech)
        for segment in job.segments:
            begun = time.monotonic()
            tokens = self._draw(handle, chain, segment)
            if handle.ended:
                return
            chain.add(segment.ids, tokens)
            handle.report.spoken = chain.spoken
            self._spend(handle, "ar", begun)
            if tokens:
                self._sound(handle, job, segment, tokens)
            handle.report.text_ids += len(segment.ids)
            handle.report.speech_tokens += len(tokens)
            handle.report.segments_done += 1

    def _draw(self, handle: FakeHandle, chain: History, segment: Segment) -> tuple[int, ...]:
        prompt = chain.prompt(segment.ids)
        ids = prompt_layout(prompt.text, segment.ids, prompt.speech, self._model.special)
        tokens: list[int] = []
        for token in speak(self._decoder, Row(ids, prompt.bounds, handle.job.seed, segment.index)):
            self._progress = time.monotonic()
            if handle.ended:
                break
            tokens.append(token)
        if len(tokens) == prompt.bounds.maximum:
            handle.length = True
        return tuple(tokens)

    def _sound(self, handle: FakeHandle, job: Job, segment: Segment, tokens: tuple[int, ...]) -> None:
        model, rate = self._model, job.sample_rate
        key = stream_keys(torch.tensor([job.seed]), torch.tensor([segment.index])).to(model.device)
        begun = time.monotonic()
        mel = tokens_to_mel(model, tokens, job.voice, rate, key, frames_for_tokens(len(tokens), job.speed))
        begun = self._spend(handle, "flow", begun)
        if not handle.ended:
            handle.put(model.vocoders[rate](mel, key)[0].cpu().numpy())
        self._spend(handle, "vocoder", begun)

    def _spend(self, handle: FakeHandle, stage: str, begun: float) -> float:
        self._progress = time.monotonic()
        handle.report.spend(stage, begun, self._progress)
        return self._progress


def load_engine(
    path: str | Path, *, device: str = "auto", replacements: Path | None = None, vocos_sha256: str | None = None
) -> SerialEngine:
    """Loads the checkpoint in `path` and its dictionaries.

    Args:
        replacements: file of pronunciation overrides, see `glmtts.text.replacements.read_replacements`.
        vocos_sha256: hash that the 32 kHz vocoder's file must have; without it that vocoder is left out.

    CheckpointError as `glmtts.checkpoint.load`, or when `replacements` cannot be read.
    """
    replace = read_replacements(replacements) if replacements is not None else {}
    model = load(path, device=device, replace=replace, vocos_sha256=vocos_sha256)
    model.frontend.warm()
    return SerialEngine(model)
