"""What the stages of a model cost on a card, from their operations.

Launched by Python, an operation takes LAUNCH seconds of the host, and the device is done before the next one comes. In
a graph it takes the longer of `node_seconds` and of its arithmetic and traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import log2

import torch
from torch import Tensor
from transformers import LlamaConfig

from glmtts.config import FlowConfig, GenerationConfig, HiFTConfig
from glmtts.models.flow.flow import Flow
from glmtts.models.flow.flow_batch import FlowBatcher, FlowSequence
from glmtts.models.flow.flow_cache import NO_CONTEXT, LeftContext
from glmtts.models.llm.decoder import Decoder, DecodeRequest
from glmtts.models.llm.kv_cache import KVCache
from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import LengthBounds, SpecialIds
from glmtts.models.vocoder.hift import HiFT
from scripts.benchmarks.stages import flow_chunk
from scripts.prediction.cards import Card
from scripts.prediction.operations import Operation, operations_of

LAUNCH = 20e-6
"""Host seconds of an operation. docs/performance-notes.md, H100: nano's flow takes 11.6 ms (436 operations), its
vocoder 12 (578), its AR step 4.7 (264), the published AR step 14 to 20 (902): 15 to 27 µs."""
NODE, NODE_GROWTH = 1.7e-6, 0.24e-6
"""Seconds of an operation of a graph, and what doubling the rows of an AR step adds. docs/performance.md, H100: the
step with widths of a few channels (799 operations) takes 1.36 ms with 1 row, 2.5 with 64."""
READING = 0.87
"""Of the bandwidth: 2.9 of 3.35 TB/s were read there."""
ARITHMETIC = 0.42
"""Of the datasheet's rate: a 1024³ product in float32 ran at 28 of 67 TFLOP/s, as nano's chunks, of 1.4 to 5.2 GFLOP,
would take 0.05 to 0.18 ms by it. **Assumed** for bfloat16, for TF32 and for the other cards: nothing was measured."""

PROMPT_FRAMES, CONTEXT_FRAMES, LOOKAHEAD_FRAMES = 500, 50, 10
"""Of a voice on a GPU, of the speech before a chunk, and of what a chunk is made with beyond its end."""
PROMPT_IDS, PREFILL_IDS, POSITIONS = 200, 128, 1024
"""Ids of a prompt, of what is fed at once, and positions of the cache, as in scripts/benchmarks/stages.py."""
PROMPT_CHUNKS = 2
"""Of a prompt."""
CHUNKS, MANY = (20, 100), 8
"""Tokens of the chunks that are counted, and rows of a batch besides one; between and beyond, costs are on a line."""


@dataclass(frozen=True)
class Sizes:
    """A checkpoint's configurations, and the flow's number format."""

    llama: LlamaConfig
    special: SpecialIds
    flow: FlowConfig
    hift: HiFTConfig
    flow_in_bfloat16: bool


@dataclass(frozen=True)
class Cost:
    """Of a step: operations, and seconds in a graph on one card."""

    launches: int
    graph_seconds: float

    @property
    def python_seconds(self) -> float:
        """Launched by Python; a graph's time is the device's at best."""
        return max(self.launches * LAUNCH, self.graph_seconds)


def cost(operations: list[Operation], card: Card, *, rows: int = 1, times: int = 1) -> Cost:
    """Of a step that runs `times` times."""
    node = NODE + NODE_GROWTH * log2(rows)
    seconds = sum(max(node, one.seconds(card, ARITHMETIC, READING)) for one in operations)
    return Cost(times * len(operations), times * seconds)


class Stages:
    """The operations of all stages, counted once; on `meta` tensors, so that nothing is computed."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes

    @cached_property
    def decode(self) -> Mapping[int, list[Operation]]:
        """A step by rows."""
        return {rows: self._count(partial(self._step, rows)) for rows in (1, 16, 64)}

    @cached_property
    def new_prompt(self) -> list[Operation]:
        """What each prompt needs besides its chunks."""

        def prepared() -> Callable[[], object]:
            decoder = self._decoder(1)

            def around() -> None:
                decoder.reserve(0, self._request)
                decoder.activate(0, self._request)

            return around

        return self._count(prepared)

    @cached_property
    def prefill(self) -> list[Operation]:
        """A chunk of a prompt, launched by Python."""

        def prepared() -> Callable[[], object]:
            decoder = self._decoder(1)
            return lambda: decoder.prefill(0, self._request, 0, PREFILL_IDS)

        return self._count(prepared)

    @cached_property
    @torch.inference_mode()
    def flow(self) -> Mapping[tuple[int, int], list[Operation]]:
        """A solver step by (tokens of a chunk, rows)."""
        with torch.device("meta"):
            before = _context(self._batcher, self._flow)
        return {
            (tokens, rows): self._count(partial(_flow_step, self._batcher, self._flow, before, tokens, rows))
            for tokens in CHUNKS
            for rows in (1, MANY)
        }

    @cached_property
    def vocoder(self) -> Mapping[tuple[int, int], list[Operation]]:
        """A window by (tokens of a chunk, rows)."""
        return {
            (tokens, rows): self._count(partial(_window, self.hift, tokens, rows))
            for tokens in CHUNKS
            for rows in (1, MANY)
        }

    @property
    def solver_steps(self) -> int:
        return self.sizes.flow.n_timesteps

    @cached_property
    def _flow(self) -> Flow:
        """With a single solver step: the others are like it."""
        return meta_flow(self.sizes, 1)

    @cached_property
    def hift(self) -> HiFT:
        with torch.device("meta"):
            return HiFT(self.sizes.hift).fold_weight_norm().eval().requires_grad_(False)

    @cached_property
    def _batcher(self) -> FlowBatcher:
        return FlowBatcher(self._flow, "meta")

    @cached_property
    def llama(self) -> Llama:
        with torch.device("meta"):
            llama = Llama(self.sizes.llama).to(torch.bfloat16).eval().requires_grad_(False)
            llama.fuse()
        return llama

    def _step(self, rows: int) -> Callable[[], object]:
        return self._decoder(rows).step

    def _decoder(self, rows: int) -> Decoder:
        """The first of its rows decodes; all are computed."""
        special, llama = self.sizes.special, self.llama
        cache = KVCache(llama.config, rows, POSITIONS, dtype=torch.bfloat16, device=torch.device("meta"))
        decoder = Decoder(llama, special, GenerationConfig(), cache)
        decoder.activate(0, self._request)
        return decoder

    @property
    def _request(self) -> DecodeRequest:
        return DecodeRequest((self.sizes.special.pad,) * PROMPT_IDS, LengthBounds(100, 100), seed=0)

    @staticmethod
    @torch.inference_mode()
    def _count(prepared: Callable[[], Callable[[], object]]) -> list[Operation]:
        """The operations of what `prepared` returns."""
        with torch.device("meta"):
            return operations_of(prepared())


def meta_flow(sizes: Sizes, steps: int) -> Flow:
    """One of so many solver steps."""
    with torch.device("meta"):
        flow = Flow(replace(sizes.flow, n_timesteps=steps)).eval().requires_grad_(False)
    if sizes.flow_in_bfloat16:
        flow.estimator.to_bfloat16()
    return flow


def _sequence(batcher: FlowBatcher, flow: Flow, frames: int, before: LeftContext) -> FlowSequence:
    context = before.frames
    return flow_chunk(batcher, flow.config.dit.mel_dim, frames, context, before, range(CONTEXT_FRAMES))


def _context(batcher: FlowBatcher, flow: Flow) -> LeftContext:
    """A voice and earlier speech."""
    mels = flow.config.dit.mel_dim
    voice = flow_chunk(batcher, mels, PROMPT_FRAMES, 0, NO_CONTEXT, range(PROMPT_FRAMES))
    batcher.step([voice])
    after_voice = LeftContext(voice.cache, None, PROMPT_FRAMES)
    speech = flow_chunk(batcher, mels, CONTEXT_FRAMES, PROMPT_FRAMES, after_voice, range(CONTEXT_FRAMES))
    batcher.step([speech])
    assert speech.cache is not None
    return after_voice.extended(speech.cache, CONTEXT_FRAMES, CONTEXT_FRAMES)


def _flow_step(batcher: FlowBatcher, flow: Flow, before: LeftContext, tokens: int, rows: int) -> Callable[[], object]:
    sequences = [_sequence(batcher, flow, 2 * tokens + LOOKAHEAD_FRAMES, before) for _ in range(rows)]
    return lambda: batcher.step(sequences)


def _window(hift: HiFT, tokens: int, rows: int) -> Callable[[], Tensor]:
    mel_bct = torch.randn(rows, hift.config.in_channels, 2 * tokens + 2 * hift.context_frames)
    keys = torch.zeros(rows, dtype=torch.int64)
    return lambda: hift.render_window(mel_bct, keys)[0]
