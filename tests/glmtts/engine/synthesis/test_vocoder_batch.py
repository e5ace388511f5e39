"""Vocoder windows of several utterances in one batch."""

from __future__ import annotations

import torch
from torch import Tensor

from glmtts.engine.synthesis.vocoder_batch import Window, render_windows
from glmtts.models.vocoder.hift import HiFT


def window(vocoder: HiFT, mel_tm: Tensor, seed: int, begin: int, end: int, phases_t: Tensor) -> tuple[Window, slice]:
    """The window that makes frames [begin, end), and where these lie in it."""
    context = vocoder.context_frames
    first, last = max(0, begin - context), min(end + context, len(mel_tm))
    phase = phases_t[begin - 1] if begin else phases_t.new_zeros(())
    part = Window(mel_tm[first:last], torch.tensor(seed), first, begin - first, end - begin, phase, last == len(mel_tm))
    return part, slice((begin - first) * vocoder.hop, (end - first) * vocoder.hop)


@torch.inference_mode()
def test_windows_in_a_batch_are_parts_of_their_wholes(vocoder: HiFT) -> None:
    """First, middle, last and single windows, in one batch: each gives the samples of its whole utterance."""
    frames = [150, 90, 120, 20, 60]
    mels = [torch.randn(n, 8) for n in frames]
    wholes = [vocoder.render_window(mel.T[None], torch.tensor([seed])) for seed, mel in enumerate(mels)]
    spans = [(0, 30), (40, 60), (100, 120), (0, 20), (30, 60)]
    parts = [window(vocoder, mels[i], i, begin, end, wholes[i][1][0]) for i, (begin, end) in enumerate(spans)]
    assert len({len(part.mel_tm) for part, _ in parts}) > 3
    for i, (wave, phase) in enumerate(render_windows(vocoder, [part for part, _ in parts])):
        begin, end = spans[i]
        expected = wholes[i][0][0, begin * vocoder.hop : end * vocoder.hop]
        torch.testing.assert_close(wave[parts[i][1]], expected, rtol=0, atol=1e-5)
        at_end = phase[end - 1 - parts[i][0].start] - wholes[i][1][0, end - 1]
        assert abs((at_end + 0.5) % 1.0 - 0.5) < 1e-6
