"""Finished mel to sound, window by window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from glmtts.dsp.audio import FRAMES_PER_TOKEN, Wave
from glmtts.engine.scheduling.chunking import Chunk
from glmtts.engine.synthesis.segment_audio import Speech
from glmtts.engine.synthesis.vocoder_batch import LENGTH_STEP
from glmtts.engine.synthesis.vocoding import forget, sound_of, speakable
from glmtts.models.vocoder.hift import HiFT

PIECE = 60


def spoken(vocoder: HiFT, mel_tm: Tensor, *ends: int) -> Wave:
    """The sound of one segment whose mel comes in blocks that end at these tokens."""
    speech = Speech(torch.tensor(5), mel_tm[:0], torch.zeros((), dtype=torch.float64))
    block, waves = Chunk(0, 0, 0, 0, False), []
    for end in ends:
        block = replace(block, start=block.end, end=end, lookahead_end=end, last=end == ends[-1])
        new_tm = mel_tm[block.start * FRAMES_PER_TOKEN : end * FRAMES_PER_TOKEN]
        speech.mel_tm, speech.finished = torch.cat([speech.mel_tm, new_tm]), block
        while speech.voiced < speakable(speech, vocoder):
            waves += sound_of(vocoder, [speech], PIECE)
        forget(speech, vocoder)
    return np.concatenate(waves)


@pytest.mark.parametrize("tokens", range(22, 52, 3))
@torch.inference_mode()
def test_a_segment_of_nearly_any_length_is_made_in_few_lengths(
    vocoder: HiFT, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one block or in several: windows have multiples of LENGTH_STEP frames, and join to the whole.

    Only a segment that is shorter than two reaches of the vocoder cannot be padded. Each length is compiled and kept by
    CPU libraries: of every length there may be, that is memory that grows for long.
    """
    mel_tm, make, lengths = torch.randn(tokens * FRAMES_PER_TOKEN, 8), vocoder.render_window, []

    def noted(mel_bct: Tensor, seeds_b: Tensor, **where: Tensor) -> tuple[Tensor, Tensor]:
        lengths.append(mel_bct.shape[2])
        return make(mel_bct, seeds_b, **where)

    monkeypatch.setattr(vocoder, "render_window", noted)
    whole = vocoder(mel_tm.T[None], torch.tensor([5]))[0].numpy()
    lengths.clear()
    for ends in ((tokens,), (8, tokens), (8, (8 + tokens) // 2, tokens)):
        np.testing.assert_allclose(spoken(vocoder, mel_tm, *ends), whole, rtol=0, atol=1e-5)
    assert {length % LENGTH_STEP for length in lengths} == {0}
