"""The memory that an engine may take: computed before the first job, and refused if the device does not have it.

Not counted are the temporary results of a step.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import torch

from glmtts.checkpoint.loader import Model
from glmtts.dsp.audio import frames_for_tokens
from glmtts.engine.config import AudioLimits, EngineOptions
from glmtts.errors import DeviceMemoryError
from glmtts.models.flow.flow_cache import frame_bytes
from glmtts.models.llm.kv_cache import KVCache

log = logging.getLogger(__name__)

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_MIB = 2**20


def check_memory(model: Model, options: EngineOptions, audio_limits: AudioLimits) -> int:
    """Bytes that the engine may take, weights included. Raises DeviceMemoryError, with the numbers, if they don't fit.

    Call it before any of this is allocated.
    """
    context = frames_for_tokens(options.chunk_schedule.left_context) * frame_bytes(model.flow)
    sizes = {
        f"KV cache of {options.max_num_seqs} slots × {model.max_positions} positions": KVCache.bytes_for(
            model.llm.config, options.max_num_seqs, model.max_positions, model.dtype
        ),
        # The context exists twice while the next chunk's is added.
        f"flow cache of {options.max_num_seqs} jobs": 2 * context * options.max_num_seqs,
        "voice prompt cache": audio_limits.voice_cache_bytes,
    }
    total, weights = sum(sizes.values()), weight_bytes(model)
    parts = ", ".join(f"{name} {size / _MIB:.0f} MiB" for name, size in sizes.items())
    free = free_bytes(model.device)
    if free is not None and total > free:
        raise DeviceMemoryError(f"{parts}: {total / _MIB:.0f} MiB, but {model.device} has {free / _MIB:.0f} MiB free")
    log.info("Memory on %s: weights %.0f MiB, %s", model.device, weights / _MIB, parts)
    return total + weights


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
