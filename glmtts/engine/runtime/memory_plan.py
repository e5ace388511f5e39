"""The memory that an engine takes, planned before anything is loaded: how many listeners it lets in at once.

What is planned for suffices whatever they ask for, so that no request fails for want of memory. Each listener needs a
slot of the KV cache, and the flow's cache of their own stream; and their voice, which those of one voice share, so that
fewer voices than listeners may be planned for: the others wait.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from glmtts.checkpoint.loader import Model
from glmtts.config import FlowConfig
from glmtts.dsp.audio import frames_for_tokens
from glmtts.engine.config import AudioLimits, EngineOptions
from glmtts.errors import DeviceMemoryError
from glmtts.models.flow.flow_cache import cache_bytes
from glmtts.models.llm.kv_cache import KVCache, slot_positions

if TYPE_CHECKING:
    from transformers import LlamaConfig

log = logging.getLogger(__name__)

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_MIB = 2**20

TEMPORARY_BYTES = {"cuda": 2 * 2**30, "cpu": 512 * _MIB}
"""For the results within a step, CUDA's kernels, and what the allocator can't use: an estimate."""

LISTENERS_PER_VOICE = 4
"""Of these as many are let in, where memory is short, as there can be voices at once."""

LONGEST_PROMPT = 750
"""Tokens of the longest recording: 30 s."""

CPU_SHARE = 0.9
"""Of the free memory of a machine that others use, too."""

CACHED_VOICES = 4
"""Voices kept for later requests, where memory allows; at least one is."""


@dataclass(frozen=True)
class MemoryPlan:
    """`parts`: bytes by what takes them; `listeners` at once, in `voices` different voices."""

    device: str
    parts: dict[str, int]
    listeners: int
    voices: int
    voice_cache_bytes: int
    budget_bytes: int | None
    graph_bytes: int = 0
    """Of the parts, for CUDA graphs."""
    missing_graph_bytes: int = 0
    """What CUDA graphs should have had, where there is no room for any."""

    @property
    def total_bytes(self) -> int:
        return sum(self.parts.values())

    def log(self, wanted: int) -> None:
        """One line with all parts; a warning if fewer than `wanted` listeners fit."""
        log.info("Memory on %s: %s", self.device, _text(self.parts))
        if self.listeners < wanted:
            has = f"{(self.budget_bytes or 0) / 2**30:.1f} GiB of {self.device}"
            log.warning("max_num_seqs: expected what fits into %s, %d, got %d", has, self.listeners, wanted)
        if self.missing_graph_bytes:
            size = self.missing_graph_bytes / _MIB
            log.warning("graph_memory: expected room for CUDA graphs, got none for %.0f MiB: steps run plainly", size)

    def describe(self) -> dict[str, Any]:
        """As /info shows it."""
        return {
            "budget_bytes": self.budget_bytes,
            "planned_bytes": self.total_bytes,
            "parts": self.parts,
            "listeners": self.listeners,
            "voices_at_once": self.voices,
        }


@dataclass(frozen=True)
class MemoryNeeds:
    """Bytes: `weights`; of each listener `slot` in the KV cache, of so many positions, and `stream` in the flow; of
    each `voice`; and `temporary`, whoever listens. `graphs`: for CUDA graphs, which get `graph_share` of the budget."""

    weights: int
    slot: int
    positions: int
    stream: int
    voice: int
    temporary: int
    graph_share: float = 0.0
    graphs: int = 0

    @staticmethod
    def of(
        weights: int,
        llm_config: LlamaConfig,
        flow_config: FlowConfig,
        options: EngineOptions,
        limits: AudioLimits,
        device: torch.device,
        llm_dtype: torch.dtype,
        flow_dtype: torch.dtype = torch.float32,
    ) -> MemoryNeeds:
        """Those of a model with the KV cache in `llm_dtype`, and the flow's in `flow_dtype`."""
        positions = slot_positions(llm_config)
        prompt = frames_for_tokens(LONGEST_PROMPT if limits.max_prompt_tokens is None else limits.max_prompt_tokens)
        context = frames_for_tokens(options.chunk_schedule.left_context)
        # The context exists twice while the next chunk's is added, and a batch has one step's copy of all of it.
        copy = cache_bytes(flow_config, prompt + context, flow_dtype) // flow_config.n_timesteps
        return MemoryNeeds(
            weights=weights,
            slot=KVCache.bytes_for(llm_config, 1, positions, llm_dtype),
            positions=positions,
            stream=2 * cache_bytes(flow_config, context, flow_dtype) + copy,
            voice=cache_bytes(flow_config, prompt, flow_dtype),
            temporary=TEMPORARY_BYTES.get(device.type, TEMPORARY_BYTES["cuda"]),
            graph_share=options.graph_memory if device.type == "cuda" and options.graph_seconds else 0.0,
        )

    def plan(self, device: torch.device, wanted: int, voice_cache_bytes: int, budget_bytes: int | None) -> MemoryPlan:
        """For at most `wanted` listeners. Raises DeviceMemoryError, with the numbers, if not even one fits."""
        cached = max(voice_cache_bytes, CACHED_VOICES * self.voice)
        if budget_bytes is None:
            return self._plan(device, wanted, wanted, cached, None)
        if self.graph_share:
            graphs = int(self.graph_share * budget_bytes)
            needs = replace(self, graph_share=0.0, graphs=graphs)
            if needs._least(1) <= budget_bytes:
                return needs.plan(device, wanted, voice_cache_bytes, budget_bytes)
            # Rather slow than not at all.
            plain = replace(needs, graphs=0).plan(device, wanted, voice_cache_bytes, budget_bytes)
            return replace(plain, missing_graph_bytes=graphs)
        listeners = next((count for count in range(wanted, 0, -1) if self._least(count) <= budget_bytes), 0)
        if not listeners:
            parts = _text(self._parts(1, 1, self.voice))
            raise DeviceMemoryError(
                f"{parts}: {self._least(1) / _MIB:.0f} MiB, but {device} has {budget_bytes / _MIB:.0f} MiB"
            )
        rest = budget_bytes - self._fixed(listeners)
        voices = min(listeners, rest // self.voice - 1)
        return self._plan(device, listeners, voices, min(cached, rest - voices * self.voice), budget_bytes)

    def _least(self, listeners: int) -> int:
        """What so many listeners need at least."""
        return self._fixed(listeners) + (-(-listeners // LISTENERS_PER_VOICE) + 1) * self.voice

    def _fixed(self, listeners: int) -> int:
        """Without voices."""
        return self.weights + self.temporary + self.graphs + listeners * (self.slot + self.stream)

    def _plan(
        self, device: torch.device, listeners: int, voices: int, cached: int, budget_bytes: int | None
    ) -> MemoryPlan:
        parts = self._parts(listeners, voices, cached)
        return MemoryPlan(str(device), parts, listeners, voices, cached, budget_bytes, self.graphs)

    def _parts(self, listeners: int, voices: int, cached: int) -> dict[str, int]:
        return {
            "weights": self.weights,
            f"KV cache of {listeners} slots × {self.positions} positions": listeners * self.slot,
            f"flow cache of {listeners} jobs": listeners * self.stream,
            f"{voices} voices at once": voices * self.voice,
            "voice prompt cache": cached,
            "temporary results": self.temporary,
            **({"CUDA graphs": self.graphs} if self.graphs else {}),
        }


def _text(parts: dict[str, int]) -> str:
    return ", ".join(f"{name} {size / _MIB:.0f} MiB" for name, size in parts.items())


def budget(device: torch.device, options: EngineOptions, loaded_bytes: int = 0) -> int | None:
    """Bytes that the engine may take: what is free, and what is loaded already, at most `options.max_memory_bytes`;
    None if neither is known."""
    free = free_bytes(device)
    if free is not None and device.type == "cpu":
        free = int(CPU_SHARE * free)
    sizes = (None if free is None else free + loaded_bytes, options.max_memory_bytes)
    return min((size for size in sizes if size is not None), default=None)


def free_bytes(device: torch.device) -> int | None:
    """Free memory of the device, or on a CPU of this machine or container; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min((size for size in (_meminfo_free(), _cgroup_free()) if size is not None), default=None)


def weight_bytes(model: Model) -> int:
    """Device memory that the model's weights take; shared tensors count once."""
    modules: list[torch.nn.Module] = [model.llm, model.flow, model.speech_tokenizer, model.speaker_encoder]
    modules += [vocoder for vocoder in model.vocoders.values() if isinstance(vocoder, torch.nn.Module)]
    tensors = {t.data_ptr(): t for module in modules for t in (*module.parameters(), *module.buffers())}
    return sum(tensor.nbytes for tensor in tensors.values())


def _meminfo_free() -> int | None:
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB", _MEMINFO.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


def _cgroup_free() -> int | None:
    """Of this container, where it has a limit (cgroup v2)."""
    try:
        limit, used = ((_CGROUP / f"memory.{name}").read_text(encoding="ascii").strip() for name in ("max", "current"))
    except OSError:
        return None
    return int(limit) - int(used) if limit != "max" else None
