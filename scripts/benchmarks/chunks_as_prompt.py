"""Another design for streaming in chunks, which the engine does not use: earlier speech becomes part of the prompt.

The last tokens before a chunk, and their mel, are appended to the voice's prompt, and the chunk is decoded as the
target after them, so prompt and left context are computed again for every chunk. The engine instead caches the keys and
values of these frames at every solver step. `scripts/benchmarks/chunks.py` compares the two.
Dimension names: b batch, t time in mel frames, m mel bins, n tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from glmtts.checkpoint.loader import Model
from glmtts.dsp.audio import FRAMES_PER_TOKEN, Wave
from glmtts.engine.config import AudioLimits, ChunkSchedule
from glmtts.engine.runtime.offline import synthesize
from glmtts.engine.scheduling.chunking import Chunk, Chunker
from glmtts.models.rng import frame_noise, stream_keys
from glmtts.voice.voice import Voice


@dataclass(frozen=True)
class Segment:
    """The speech tokens of a text's segment; `key_b` int64 (1,) seeds its noise."""

    tokens: tuple[int, ...]
    key_b: Tensor


def generate_segments(model: Model, text: str, voice: Voice, seed: int) -> list[Segment]:
    """The segments of a text, with the tokens that `glmtts.synthesize` samples."""
    speech = synthesize(model, text, voice, seed=seed)
    return [
        Segment(tokens, stream_keys(torch.tensor([seed]), torch.tensor([segment.index])))
        for segment, tokens in zip(speech.segments, speech.tokens, strict=True)
        if tokens
    ]


@torch.inference_mode()
def render(model: Model, segment: Segment, voice: Voice, rate: int) -> Wave:
    """The waveform: mel in chunks, then one pass of the vocoder, whose windows would join exactly anyway."""
    mel_tm = torch.zeros(0, voice.prompt_mels[rate].shape[1])
    for chunk in Chunker(ChunkSchedule()).remaining(len(segment.tokens)):
        mel_tm = torch.cat([mel_tm, _chunk_mel(model, chunk, segment, voice, mel_tm, rate)])
    wave: Wave = model.vocoders[rate](mel_tm.T[None], segment.key_b)[0].cpu().numpy()
    return wave


def _chunk_mel(model: Model, chunk: Chunk, segment: Segment, voice: Voice, mel_tm: Tensor, rate: int) -> Tensor:
    """The mel (t, m) of one chunk; `mel_tm` is that of all chunks before it."""
    kept = min(AudioLimits().max_prompt_tokens or 0, len(voice.prompt_tokens))
    tokens_at = (chunk.context_start, chunk.start, chunk.end, chunk.lookahead_end)
    begin, start, end, ahead = (FRAMES_PER_TOKEN * n for n in tokens_at)
    tokens = torch.tensor(segment.tokens)
    prompt_n = voice.prompt_tokens[len(voice.prompt_tokens) - kept :]
    prompt_tm = voice.prompt_mels[rate][len(voice.prompt_mels[rate]) - FRAMES_PER_TOKEN * kept :]
    frames, bins = prompt_tm.shape
    noises = [frame_noise(segment.key_b, *span, bins) for span in ((-frames, frames), (begin, ahead - begin))]
    mel_bmt: Tensor = model.flow.sample(
        tokens[None, chunk.start : chunk.lookahead_end],
        torch.cat([prompt_n, tokens[chunk.context_start : chunk.start]])[None],
        torch.cat([prompt_tm, mel_tm[begin:start]])[None],
        voice.speaker[None],
        torch.cat(noises, dim=1),
        frames=ahead - start,
    )
    return mel_bmt[0].T[: end - start]
