"""Mel to audio, window by window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from glmtts.dsp.audio import FRAMES_PER_TOKEN, Wave
from glmtts.dsp.time_stretch import TimeStretch
from glmtts.engine.scheduling.chunking import Chunk
from glmtts.engine.synthesis.segment_audio import SegmentAudio, render_next
from glmtts.engine.synthesis.vocoder_batch import LENGTH_BUCKET
from glmtts.models.vocoder.hift import HiFT

MAX_FRAMES = 60


def rendered(vocoder: HiFT, mel_tm: Tensor, *ends: int) -> Wave:
    """The audio of one segment whose mel arrives in chunks that end at these tokens."""
    audio = SegmentAudio(torch.tensor(5), mel_tm.shape[1], vocoder, TimeStretch(1.0, 24000))
    chunk, waves = Chunk(0, 0, 0, 0, False), []
    for end in ends:
        chunk = replace(chunk, start=chunk.end, end=end, lookahead_end=end, last=end == ends[-1])
        audio.add_mel(mel_tm[chunk.start * FRAMES_PER_TOKEN : end * FRAMES_PER_TOKEN], chunk)
        while not audio.finish_chunk_if_rendered():
            waves += [wave for wave in render_next(vocoder, [audio], MAX_FRAMES) if wave is not None]
    return np.concatenate(waves)


@pytest.mark.parametrize("tokens", range(22, 52, 3))
@torch.inference_mode()
def test_a_segment_of_nearly_any_length_is_made_in_few_lengths(
    vocoder: HiFT, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one chunk or in several: windows have multiples of LENGTH_BUCKET frames, and join to the whole.

    Only a segment shorter than twice the vocoder's context can't be padded. CPU libraries compile and keep each length,
    so arbitrary lengths would make memory grow for long.
    """
    mel_tm, make, lengths = torch.randn(tokens * FRAMES_PER_TOKEN, 8), vocoder.render_window, []

    def noted(mel_bct: Tensor, seeds_b: Tensor, **where: Tensor) -> tuple[Tensor, Tensor]:
        lengths.append(mel_bct.shape[2])
        return make(mel_bct, seeds_b, **where)

    monkeypatch.setattr(vocoder, "render_window", noted)
    whole = vocoder(mel_tm.T[None], torch.tensor([5]))[0].numpy()
    lengths.clear()
    for ends in ((tokens,), (8, tokens), (8, (8 + tokens) // 2, tokens)):
        np.testing.assert_allclose(rendered(vocoder, mel_tm, *ends), whole, rtol=0, atol=1e-5)
    assert {length % LENGTH_BUCKET for length in lengths} == {0}
