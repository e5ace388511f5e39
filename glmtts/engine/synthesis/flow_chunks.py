"""Blocks of tokens to mel: what the flow is given for a block, and what is kept of it for the next one.

A block follows what was said: the frames of the voice's prompt and the last ones before it are not made again but
remembered, as the solver went through them. So a block costs the same wherever it stands, and little more than its own
frames. A job that nobody listens to as it comes is made segment by segment, prompt and all, as
`glmtts.engine.runtime.offline` does.
Knows nothing about slots, deadlines, waveforms. Dimension names: t time in mel frames, m mel bins, n tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from threading import Lock, RLock
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from glmtts.dsp.audio import frames_for_tokens
from glmtts.engine.config import AudioLimits
from glmtts.engine.scheduling.active_job import Stream, Utterance
from glmtts.engine.synthesis.segment_audio import Item, Speech, frame_tokens, new_speech
from glmtts.engine.synthesis.voice_prompt_cache import Conditioning, Key, VoiceMemories, condition, rehearse
from glmtts.models.flow.flow import Flow
from glmtts.models.flow.flow_batch import FlowBatcher, FlowSequence
from glmtts.models.flow.flow_cache import LeftContext
from glmtts.models.flow.text_embedding import repeat_to_frames
from glmtts.models.rng import frame_noise


class FlowBlocks:
    """One flow at work on many segments. Several threads may be, each on segments of its own; voices they share."""

    def __init__(self, flow: Flow, limits: AudioLimits, device: torch.device) -> None:
        self._limits, self._device = limits, device
        self._rows = FlowBatcher(flow, device)
        self.memories = VoiceMemories(limits.voice_cache_bytes)
        self._voices: WeakKeyDictionary[Stream, Conditioning] = WeakKeyDictionary()
        self._speeches: WeakKeyDictionary[Utterance, Speech] = WeakKeyDictionary()
        self._rehearsed: WeakValueDictionary[Key, FlowSequence] = WeakValueDictionary()
        self._lock = RLock()
        self._taken: WeakKeyDictionary[FlowSequence, Lock] = WeakKeyDictionary()

    def speech(self, item: Item) -> Speech:
        """The state of the segment that the block is of."""
        stream, utterance, _ = item
        with self._lock:
            if utterance not in self._speeches:
                bins = self._voice(stream).mel_tm.shape[1]
                self._speeches[utterance] = new_speech(stream, utterance, bins, self._device)
            return self._speeches[utterance]

    def row(self, item: Item) -> FlowSequence:
        """What the flow takes a step with for this block: the voice's prompt while it is not known, then the block."""
        stream, speech = item[0], self.speech(item)
        if stream.job.stream and (prompt := self.rehearsal(stream)) is not None:
            return prompt
        if speech.row is None:
            speech.row = self._follow(item, speech) if stream.job.stream else self._whole(item, speech)
        return speech.row

    def rehearsal(self, stream: Stream) -> FlowSequence | None:
        """The row that speaks the prompt of a listener's voice; None when that is remembered, or there is nothing."""
        with self._lock:
            return self._rehearsal(self._voice(stream))

    def _rehearsal(self, voice: Conditioning) -> FlowSequence | None:
        if voice.memory is not None or voice.frames == 0:
            return None
        if voice.row is None:
            voice.memory = self.memories.get(voice.key)
            voice.row = self._rehearsed.get(voice.key)
        if voice.memory is None and voice.row is None:
            voice.row = self._rehearsed[voice.key] = rehearse(voice, self._rows)
        if voice.row is not None and self._rows.is_done(voice.row):
            voice.memory, voice.row = voice.row.cache, None
            if voice.memory is not None:
                self.memories.put(voice.key, voice.memory)
        return voice.row

    def advance(self, rows: Sequence[FlowSequence]) -> None:
        """One solver step for each row that is not done; when it raises, no row has moved.

        Who shares a row with another thread waits for it: jobs of one voice that is not yet known do.
        """
        with self._lock:
            taken = [self._taken.setdefault(row, Lock()) for row in sorted(rows, key=id)]
        with ExitStack() as locks:
            for lock in taken:  # always in the same order, so that nobody waits in a circle
                locks.enter_context(lock)
            self._rows.step(rows)

    def taken(self, row: FlowSequence) -> bool:
        """Whether another thread is taking a step with the row."""
        lock = self._taken.get(row)
        return lock is not None and lock.locked()

    def conclude(self, item: Item, row: FlowSequence) -> None:
        """Takes the mel and the memory of a block that is done; for one that is not, or a prompt, does nothing."""
        if not self._rows.is_done(row):
            return
        stream, _, block = item
        speech = self.speech(item)
        if row is not speech.row:
            return
        speed = stream.job.speed
        end, ahead = (frames_for_tokens(n, speed) for n in (block.end, block.lookahead_end))
        cut = row.frames - (ahead - end)
        speech.mel_tm = torch.cat([speech.mel_tm, row.x_tm[cut - (end - speech.made) : cut]])
        if row.cache is not None:
            start = frames_for_tokens(block.start, speed)
            speech.before = row.context.extended(row.cache, end - start, self._window(stream))
        speech.row, speech.finished = None, block

    def _voice(self, stream: Stream) -> Conditioning:
        with self._lock:
            if stream not in self._voices:
                job = stream.job
                most = self._limits.max_prompt_tokens if job.stream else None
                self._voices[stream] = condition(job.voice, job.sample_rate, most, self._device)
            return self._voices[stream]

    @staticmethod
    def _window(stream: Stream) -> int:
        return frames_for_tokens(stream.ladder.left_context, stream.job.speed)

    def _follow(self, item: Item, speech: Speech) -> FlowSequence:
        """A block after the voice's prompt and what was said."""
        stream, utterance, block = item
        voice, speed, device = self._voice(stream), stream.job.speed, self._device
        prompt = voice.frames
        begin, start, end, ahead = (
            frames_for_tokens(n, speed) for n in (block.context_start, block.start, block.end, block.lookahead_end)
        )
        tokens_n = torch.tensor(utterance.tokens[: block.lookahead_end], device=device)
        tokens_t = torch.cat([voice.tokens_t, tokens_n[frame_tokens(block, begin, ahead, speed, device)]])
        places = [torch.arange(prompt, device=device), torch.arange(prompt + begin, prompt + ahead, device=device)]
        bins = voice.mel_tm.shape[1]
        return self._rows.new_sequence(
            tokens_t,
            torch.zeros(ahead - start, bins, device=device),
            voice.speaker_d,
            frame_noise(speech.key[None], start, ahead - start, bins)[0],
            context=speech.before if speech.before.frames else LeftContext(voice.memory, None, prompt),
            positions_t=torch.cat(places),
            cache_frames=range(0) if block.last else range(max(0, end - start - self._window(stream)), end - start),
        )

    def _whole(self, item: Item, speech: Speech) -> FlowSequence:
        """A segment as one piece, with the prompt in it: see `glmtts.engine.runtime.offline.tokens_to_mel`."""
        stream, utterance, _ = item
        voice, frames = self._voice(stream), frames_for_tokens(len(utterance.tokens), stream.job.speed)
        tokens_n: Tensor = torch.tensor(utterance.tokens, device=self._device)
        noise_tm = frame_noise(speech.key[None], -voice.frames, voice.frames + frames, voice.mel_tm.shape[1])[0]
        tokens_t = torch.cat([voice.tokens_t, repeat_to_frames(tokens_n[None], frames)[0]])
        return self._rows.new_sequence(tokens_t, F.pad(voice.mel_tm, (0, 0, 0, frames)), voice.speaker_d, noise_tm)
