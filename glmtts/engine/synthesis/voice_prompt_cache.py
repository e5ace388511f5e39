"""What the flow knows of a voice: its prompt on the device, and the memory of having spoken it.

The memory depends on the voice alone, so it is kept for the voices that were used last, up to a number of bytes.
Knows nothing about recordings, jobs or blocks. Dimension names: n tokens, t mel frames, m mel bins, d channels.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import torch
from torch import Tensor

from glmtts.dsp.audio import FRAMES_PER_TOKEN
from glmtts.models.flow.flow_batch import FlowBatcher, FlowSequence
from glmtts.models.flow.flow_cache import FlowKVCache
from glmtts.models.flow.text_embedding import repeat_to_frames
from glmtts.models.rng import frame_noise
from glmtts.voice.voice import Voice

Key = tuple[str, int, int]


@dataclass(eq=False)
class Conditioning:
    """A voice's prompt for the flow: tokens, one a frame (t,), mel (t, m), speaker (d,)."""

    tokens_t: Tensor
    mel_tm: Tensor
    speaker_d: Tensor
    key: Key
    row: FlowSequence | None = None
    """The prompt while it is being spoken to be remembered; several jobs of one voice share it."""
    memory: FlowKVCache | None = None

    @property
    def frames(self) -> int:
        return len(self.mel_tm)


def condition(voice: Voice, rate: int, most: int | None, device: torch.device) -> Conditioning:
    """The last `most` tokens of a voice's prompt, by default all."""
    tokens = len(voice.prompt_tokens)
    kept = tokens if most is None else min(most, tokens)
    tokens_n, mel_tm = voice.prompt_tokens[tokens - kept :], voice.prompt_mels[rate]
    mel_tm = mel_tm[len(mel_tm) - kept * FRAMES_PER_TOKEN :]
    tokens_t = repeat_to_frames(tokens_n[None], len(mel_tm))[0] if kept else tokens_n
    key = (voice.digest, rate, kept)
    return Conditioning(tokens_t.to(device), mel_tm.to(device), voice.speaker.to(device), key)


def rehearse(voice: Conditioning, rows: FlowBatcher) -> FlowSequence:
    """The row that speaks the prompt itself. Its noise is always the same: what is remembered serves every seed."""
    key = torch.zeros(1, dtype=torch.int64, device=voice.mel_tm.device)
    noise_tm = frame_noise(key, -voice.frames, voice.frames, voice.mel_tm.shape[1])[0]
    return rows.new_sequence(voice.tokens_t, voice.mel_tm, voice.speaker_d, noise_tm, cache_frames=range(voice.frames))


class VoiceMemories:
    """Memories of the voices that were used last, at most `limit` bytes of them. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit, self._lock = limit, Lock()
        self._kept: OrderedDict[Key, FlowKVCache] = OrderedDict()
        self.bytes = self.hits = self.misses = 0

    def get(self, key: Key) -> FlowKVCache | None:
        with self._lock:
            memory = self._kept.get(key)
            if memory is None:
                self.misses += 1
                return None
            self.hits += 1
            self._kept.move_to_end(key)
            return memory

    def put(self, key: Key, memory: FlowKVCache) -> None:
        """Forgets the voices that were used longest ago, to make room; keeps none that is larger than all the room."""
        with self._lock:
            if key in self._kept or memory.nbytes > self._limit:
                return
            while self.bytes + memory.nbytes > self._limit:
                self.bytes -= self._kept.popitem(last=False)[1].nbytes
            self._kept[key] = memory
            self.bytes += memory.nbytes
