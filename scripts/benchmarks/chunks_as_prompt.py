"""The other way to speak in blocks, which the engine does not take: what was said is made part of the prompt.

The last tokens before a chunk, and their mel, stand behind the voice's prompt, and the chunk is decoded as if it were a
target after them: prompt and window are computed anew with every chunk. Kept so that `bench_blocks` can compare it with
what the engine does: there these frames are remembered as the solver went through them.
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
    """What is to be said of a text's segment: `key_b` int64 (1,) decides the noise."""

    tokens: tuple[int, ...]
    key_b: Tensor


def draw(model: Model, text: str, voice: Voice, seed: int) -> list[Segment]:
    """The tokens of a text, as `glmtts.synthesize` draws them."""
    speech = synthesize(model, text, voice, seed=seed)
    return [
        Segment(tokens, stream_keys(torch.tensor([seed]), torch.tensor([segment.index])))
        for segment, tokens in zip(speech.segments, speech.tokens, strict=True)
        if tokens
    ]


@torch.inference_mode()
def sound(model: Model, segment: Segment, voice: Voice, rate: int) -> Wave:
    """Chunk by chunk to mel; the vocoder, whose windows join exactly, takes all of it at once."""
    mel_tm = torch.zeros(0, voice.prompt_mels[rate].shape[1])
    for chunk in Chunker(ChunkSchedule()).remaining(len(segment.tokens)):
        mel_tm = torch.cat([mel_tm, _chunk(model, chunk, segment, voice, mel_tm, rate)])
    wave: Wave = model.vocoders[rate](mel_tm.T[None], segment.key_b)[0].cpu().numpy()
    return wave


def _chunk(model: Model, chunk: Chunk, segment: Segment, voice: Voice, mel_tm: Tensor, rate: int) -> Tensor:
    """The mel of one chunk, after that of all before it."""
    kept = min(AudioLimits().max_prompt_tokens or 0, len(voice.prompt_tokens))
    tokens_at = (chunk.context_start, chunk.start, chunk.end, chunk.lookahead_end)
    begin, start, end, ahead = (FRAMES_PER_TOKEN * n for n in tokens_at)
    tokens = torch.tensor(segment.tokens)
    prompt_tm = voice.prompt_mels[rate][len(voice.prompt_mels[rate]) - FRAMES_PER_TOKEN * kept :]
    voiced, bins = prompt_tm.shape
    noises = [frame_noise(segment.key_b, *span, bins) for span in ((-voiced, voiced), (begin, ahead - begin))]
    made_bmt: Tensor = model.flow.sample(
        tokens[None, chunk.start : chunk.lookahead_end],
        torch.cat([voice.prompt_tokens[len(voice.prompt_tokens) - kept :], tokens[chunk.context_start : chunk.start]])[
            None
        ],
        torch.cat([prompt_tm, mel_tm[begin:start]])[None],
        voice.speaker[None],
        torch.cat(noises, dim=1),
        frames=ahead - start,
    )
    return made_bmt[0].T[: end - start]
