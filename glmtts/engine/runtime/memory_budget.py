"""The memory that an engine may come to hold: known before the first job, and refused when it is not there.

Beyond this there are only the passing intermediate results of a step. Knows nothing about jobs.
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


def free_bytes(device: torch.device) -> int | None:
    """What can still be taken; None where that cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    known = [value for value in (_available(), _group_left()) if value is not None]
    return min(known, default=None)


def reserve(model: Model, options: EngineOptions, sound: AudioLimits) -> int:
    """Bytes that the engine may hold, weights included. DeviceMemoryError, with the numbers, when they don't fit."""
    window = frames_for_tokens(options.chunk_schedule.left_context) * frame_bytes(model.flow)
    wanted = {
        f"KV cache of {options.max_num_seqs} slots × {model.max_positions} positions": KVCache.bytes_for(
            model.llm.config, options.max_num_seqs, model.max_positions, model.dtype
        ),
        # What was said is kept once, and a second time while the next block's is added.
        f"flow memory of {options.max_num_seqs} streams": 2 * window * options.max_num_seqs,
        "flow memory of voices": sound.voice_cache_bytes,
    }
    total, weights = sum(wanted.values()), weight_bytes(model)
    parts = ", ".join(f"{what} {size / _MIB:.0f} MiB" for what, size in wanted.items())
    free = free_bytes(model.device)
    if free is not None and total > free:
        raise DeviceMemoryError(f"{parts}: {total / _MIB:.0f} MiB, but {model.device} has {free / _MIB:.0f} MiB left")
    log.info("Memory on %s: weights %.0f MiB, %s", model.device, weights / _MIB, parts)
    return total + weights


def weight_bytes(model: Model) -> int:
    """Memory of the device that the model's weights take."""
    modules: list[torch.nn.Module] = [model.llm, model.flow, model.speech_tokenizer, model.speaker_encoder]
    modules += [vocoder for vocoder in model.vocoders.values() if isinstance(vocoder, torch.nn.Module)]
    tensors = {t.data_ptr(): t for module in modules for t in (*module.parameters(), *module.buffers())}
    return sum(tensor.nbytes for tensor in tensors.values())


def _available() -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", _MEMINFO.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _group_left() -> int | None:
    """Of this container, where it has a limit (cgroup v2)."""
    try:
        limit, used = ((_CGROUP / f"memory.{name}").read_text(encoding="ascii").strip() for name in ("max", "current"))
    except OSError:
        return None
    return int(limit) - int(used) if limit != "max" else None
