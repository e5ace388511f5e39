"""Chunks of speech tokens to mel: what the flow is given for a chunk, and what is kept of it for the next one.

A streamed chunk attends to the cached keys and values of the voice's prompt and of the last frames before it. So it
costs the same wherever it stands, and little more than its own frames. A job that is not streamed is made segment by
segment together with the prompt, as in `glmtts.engine.runtime.offline`.
Dimension names: t time in mel frames, m mel bins, n tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import torch
import torch.nn.functional as F
from torch import Tensor

from glmtts.dsp.audio import FRAMES_PER_TOKEN, frames_for_tokens
from glmtts.dsp.time_stretch import TimeStretch
from glmtts.engine.config import AudioLimits
from glmtts.engine.scheduling.active_job import ActiveJob, ChunkTask
from glmtts.engine.scheduling.chunking import Chunk
from glmtts.engine.synthesis.audio_recordings import AudioRecordings
from glmtts.engine.synthesis.segment_audio import SegmentAudio
from glmtts.engine.synthesis.voice_prompt_cache import (
    VoicePrompt,
    VoicePromptCache,
    make_voice_prompt,
    prefill_sequence,
)
from glmtts.models.flow.flow import Flow
from glmtts.models.flow.flow_batch import FlowBatcher, FlowSequence
from glmtts.models.flow.flow_cache import LeftContext
from glmtts.models.flow.text_embedding import repeat_to_frames
from glmtts.models.rng import frame_noise, stream_keys
from glmtts.models.vocoder.interface import Vocoder


class FlowChunks:
    """Makes mel with one flow. Several threads may use it, each for the jobs that it has claimed."""

    def __init__(
        self,
        flow: Flow,
        vocoders: Mapping[int, Vocoder],
        limits: AudioLimits,
        device: torch.device,
        recordings: AudioRecordings | None = None,
    ) -> None:
        self._vocoders, self._limits, self._device, self._recordings = vocoders, limits, device, recordings
        self._batcher = FlowBatcher(flow, device)
        self.voice_prompts = VoicePromptCache(limits.voice_cache_bytes)

    def prepare(self, task: ChunkTask) -> None:
        """Gives the task a sequence in the flow, unless its mel is ready: its voice's prefill, then the chunk."""
        prompt, audio = self._prepare_prompt(task.job), self._prepare_audio(task)
        if prompt.prefill is None and audio.sequence is None and audio.ready_chunk is None:
            make = self._chunk_sequence if task.job.spec.stream else self._segment_sequence
            audio.sequence = make(task, prompt, audio)

    def sequence(self, task: ChunkTask) -> FlowSequence:
        """The sequence of a prepared task whose mel is not ready."""
        prefill, sequence = voice_prompt(task.job).prefill, segment_audio(task).sequence
        if prefill is not None:
            return prefill.sequence
        assert sequence is not None
        return sequence

    def can_share_step(self, tasks: Sequence[ChunkTask]) -> bool:
        """Whether a step may take prepared tasks together: a recorded block, or solver steps of a padded batch."""
        sequences = list(map(self.sequence, tasks))
        if self._recordings is not None:
            blocks = self._recordings.blocks
            if blocks.shape_for(sequences) is not None:
                return True
            if any(blocks.shape_for([sequence]) is not None for sequence in sequences):
                return False
        return max(sequence.frames for sequence in sequences) * len(tasks) <= self._limits.max_batch_frames

    def step(self, tasks: Sequence[ChunkTask]) -> None:
        """A step for prepared tasks, then collects what is done: all their solver steps if a recorded block holds them,
        else one. If it raises, nothing has changed."""
        sequences = {id(sequence): sequence for sequence in map(self.sequence, tasks)}  # one voice, one prefill
        prefills = {id(p): p for p in (voice_prompt(task.job).prefill for task in tasks) if p is not None}
        with ExitStack() as locks:
            for _, prefill in sorted(prefills.items()):  # always in the same order, so that threads can't deadlock
                locks.enter_context(prefill.lock)
            self._advance(list(sequences.values()))
        for task in tasks:
            self._collect(task)

    def needs_prefill(self, job: ActiveJob) -> bool:
        """Whether `prefill_voice` may have something to do for the job."""
        return job.spec.stream and (job.voice_prompt is None or voice_prompt(job).prefill is not None)

    def prefill_voice(self, job: ActiveJob) -> bool:
        """A step for the voice of a streamed job; False when it needs none, or another thread takes it."""
        prompt = self._prepare_prompt(job)
        if prompt.prefill is None or not prompt.prefill.lock.acquire(blocking=False):
            return False
        try:
            self._advance([prompt.prefill.sequence])
        finally:
            prompt.prefill.lock.release()
        self._collect_prefill(prompt)
        return True

    def _advance(self, sequences: Sequence[FlowSequence]) -> None:
        if self._recordings is not None:
            blocks = self._recordings.blocks
            shape = blocks.shape_for(sequences)
            if shape is not None:
                with self._recordings.lock:
                    blocks.solve(sequences, shape)
                return
            if not all(sequence.step for sequence in sequences):
                blocks.steps.count_plain()
        self._batcher.step(sequences)

    def _collect(self, task: ChunkTask) -> None:
        """Takes over what the task's step has finished, if anything."""
        job, _, chunk = task
        prompt, audio = voice_prompt(job), segment_audio(task)
        if prompt.prefill is not None:
            self._collect_prefill(prompt)
            return
        sequence = self.sequence(task)
        if not self._batcher.is_done(sequence):
            return
        start, end, lookahead_end = (frames_for_tokens(n, job.flow_speed) for n in _token_bounds(chunk)[1:])
        cut = sequence.frames - (lookahead_end - end)
        if sequence.cache is not None:
            audio.left_context = sequence.context.extended(sequence.cache, end - start, _context_frames(job))
        audio.add_mel(sequence.x_tm[cut - (end - audio.mel_frames) : cut], chunk)

    # Voice prompts

    def _prepare_prompt(self, job: ActiveJob) -> VoicePrompt:
        if job.voice_prompt is None:
            job.voice_prompt = self._new_prompt(job)
        prompt = voice_prompt(job)
        self._collect_prefill(prompt)  # another job of the voice may have finished it
        return prompt

    def _new_prompt(self, job: ActiveJob) -> VoicePrompt:
        spec = job.spec
        max_tokens = self._limits.max_prompt_tokens if spec.stream else None
        prompt = make_voice_prompt(spec.voice, spec.sample_rate, max_tokens, self._device)
        if spec.stream and prompt.frames:
            prompt.kv = self.voice_prompts.get(prompt.key)
            if prompt.kv is None:
                prompt.prefill = self.voice_prompts.shared_prefill(
                    prompt.key, lambda: prefill_sequence(prompt, self._batcher)
                )
        return prompt

    def _collect_prefill(self, prompt: VoicePrompt) -> None:
        if prompt.prefill is None or not self._batcher.is_done(prompt.prefill.sequence):
            return
        prompt.kv, prompt.prefill = prompt.prefill.sequence.cache, None
        assert prompt.kv is not None
        self.voice_prompts.put(prompt.key, prompt.kv)

    # Sequences

    def _prepare_audio(self, task: ChunkTask) -> SegmentAudio:
        job, segment, _ = task
        if segment.audio is None:
            seed, index = torch.tensor([job.spec.seed]), torch.tensor([segment.segment.index])
            key = stream_keys(seed, index).to(self._device)[0]
            bins = voice_prompt(job).mel_tm.shape[1]
            stretch = TimeStretch(job.stretch_factor, job.spec.sample_rate)
            segment.audio = SegmentAudio(key, bins, self._vocoders[job.spec.sample_rate], stretch)
        return segment_audio(task)

    def _chunk_sequence(self, task: ChunkTask, prompt: VoicePrompt, audio: SegmentAudio) -> FlowSequence:
        """A chunk after the voice's prompt and the chunks before it."""
        job, segment, chunk = task
        speed, device = job.flow_speed, self._device
        context_start, start, end, lookahead_end = (frames_for_tokens(n, speed) for n in _token_bounds(chunk))
        tokens_n = torch.tensor(segment.tokens[: chunk.lookahead_end], device=device)
        tokens_t = tokens_n[token_indices(chunk, context_start, lookahead_end, speed, device)]
        frames, bins = prompt.mel_tm.shape
        positions = [
            torch.arange(frames, device=device),
            torch.arange(frames + context_start, frames + lookahead_end, device=device),
        ]
        cached = range(0) if chunk.last else range(max(0, end - start - _context_frames(job)), end - start)
        return self._batcher.new_sequence(
            torch.cat([prompt.tokens_t, tokens_t]),
            torch.zeros(lookahead_end - start, bins, device=device),
            prompt.speaker_d,
            frame_noise(audio.key[None], start, lookahead_end - start, bins)[0],
            context=audio.left_context if audio.left_context.frames else LeftContext(prompt.kv, None, frames),
            positions_t=torch.cat(positions),
            cache_frames=cached,
        )

    def _segment_sequence(self, task: ChunkTask, prompt: VoicePrompt, audio: SegmentAudio) -> FlowSequence:
        """A whole segment with the prompt before it: see `glmtts.engine.runtime.offline.tokens_to_mel`."""
        tokens = task.segment.tokens
        frames = frames_for_tokens(len(tokens), task.job.flow_speed)
        tokens_n: Tensor = torch.tensor(tokens, device=self._device)
        bins = prompt.mel_tm.shape[1]
        noise_tm = frame_noise(audio.key[None], -prompt.frames, prompt.frames + frames, bins)[0]
        tokens_t = torch.cat([prompt.tokens_t, repeat_to_frames(tokens_n[None], frames)[0]])
        return self._batcher.new_sequence(tokens_t, F.pad(prompt.mel_tm, (0, 0, 0, frames)), prompt.speaker_d, noise_tm)


def voice_prompt(job: ActiveJob) -> VoicePrompt:
    """The voice prompt of a job that has been prepared."""
    prompt: VoicePrompt = job.voice_prompt
    return prompt


def segment_audio(task: ChunkTask) -> SegmentAudio:
    """The audio state of a segment that has been prepared."""
    audio: SegmentAudio = task.segment.audio
    return audio


def token_indices(chunk: Chunk, begin: int, end: int, speed: float, device: torch.device) -> Tensor:
    """For each of the segment's frames [begin, end) the index of its token: int64 (end − begin,)."""
    frames = torch.arange(begin, end, device=device, dtype=torch.float64)
    return (frames * speed / FRAMES_PER_TOKEN).long().clamp(max=chunk.lookahead_end - 1)


def _token_bounds(chunk: Chunk) -> tuple[int, int, int, int]:
    return chunk.context_start, chunk.start, chunk.end, chunk.lookahead_end


def _context_frames(job: ActiveJob) -> int:
    """Frames before a chunk that it attends to."""
    return frames_for_tokens(job.chunk_schedule.left_context, job.flow_speed)
