"""Voice prompts for the flow, and a cache of their keys and values.

Prefilling a prompt takes all solver steps of the flow. The result depends on the voice alone, so it is cached for the
voices used last, and jobs of one voice that arrive together share one prefill.
Dimension names: n tokens, t mel frames, m mel bins, d channels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from glmtts.dsp.audio import FRAMES_PER_TOKEN
from glmtts.models.flow.flow_batch import FlowBatcher, FlowSequence
from glmtts.models.flow.flow_cache import FlowKVCache
from glmtts.models.flow.text_embedding import repeat_to_frames
from glmtts.models.rng import frame_noise
from glmtts.voice.voice import Voice

Key = tuple[str, int, int]
"""A voice's digest, the sample rate in Hz, and the number of prompt tokens."""


class VoicePrefill:
    """A voice prompt in the flow, shared by the jobs that wait for it. Hold `lock` to step it."""

    def __init__(self, sequence: FlowSequence) -> None:
        self.sequence = sequence
        self.lock = Lock()


@dataclass(eq=False)
class VoicePrompt:
    """A job's voice prompt on the device: one token per frame (t,), mel (t, m), speaker vector (d,)."""

    tokens_t: Tensor
    mel_tm: Tensor
    speaker_d: Tensor
    key: Key
    kv: FlowKVCache | None = None
    """Its keys and values once it has been prefilled; a streamed chunk follows them."""
    prefill: VoicePrefill | None = None
    """Its prefill until then."""

    @property
    def frames(self) -> int:
        return len(self.mel_tm)


def make_voice_prompt(voice: Voice, rate: int, max_tokens: int | None, device: torch.device) -> VoicePrompt:
    """The last `max_tokens` tokens of a voice's prompt, or all, and their mel at `rate` Hz."""
    tokens = len(voice.prompt_tokens)
    kept = tokens if max_tokens is None else min(max_tokens, tokens)
    tokens_n, mel_tm = voice.prompt_tokens[tokens - kept :], voice.prompt_mels[rate]
    mel_tm = mel_tm[len(mel_tm) - kept * FRAMES_PER_TOKEN :]
    tokens_t = repeat_to_frames(tokens_n[None], len(mel_tm))[0] if kept else tokens_n
    key = (voice.digest, rate, kept)
    return VoicePrompt(tokens_t.to(device), mel_tm.to(device), voice.speaker.to(device), key)


def prefill_sequence(prompt: VoicePrompt, batcher: FlowBatcher) -> FlowSequence:
    """The sequence that prefills the prompt. Its noise has a fixed seed, so the result serves every job."""
    seed = torch.zeros(1, dtype=torch.int64, device=prompt.mel_tm.device)
    noise_tm = frame_noise(seed, -prompt.frames, prompt.frames, prompt.mel_tm.shape[1])[0]
    cached = range(prompt.frames)
    return batcher.new_sequence(prompt.tokens_t, prompt.mel_tm, prompt.speaker_d, noise_tm, cache_frames=cached)


class VoicePromptCache:
    """Keys and values of the voice prompts used last, at most `max_bytes` of them. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._lock = max_bytes, Lock()
        self._entries: OrderedDict[Key, FlowKVCache] = OrderedDict()
        # An unfinished prefill lives as long as a job waits for it.
        self._prefills: WeakValueDictionary[Key, VoicePrefill] = WeakValueDictionary()
        self.bytes = self.hits = self.misses = 0

    def get(self, key: Key) -> FlowKVCache | None:
        with self._lock:
            kv = self._entries.get(key)
            if kv is None:
                self.misses += 1
                return None
            self.hits += 1
            self._entries.move_to_end(key)
            return kv

    def put(self, key: Key, kv: FlowKVCache) -> None:
        """Adds an entry and evicts the least recently used ones to make room; drops what is larger than the cache."""
        with self._lock:
            if key in self._entries or kv.nbytes > self._max_bytes:
                return
            while self.bytes + kv.nbytes > self._max_bytes:
                self.bytes -= self._entries.popitem(last=False)[1].nbytes
            self._entries[key] = kv
            self.bytes += kv.nbytes

    def shared_prefill(self, key: Key, make: Callable[[], FlowSequence]) -> VoicePrefill:
        """The prefill of this voice that is under way, or a new one."""
        with self._lock:
            prefill = self._prefills.get(key)
            if prefill is None:
                prefill = self._prefills[key] = VoicePrefill(make())
            return prefill
