"""Recorded batches of vocoder windows give each window what it gets alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from glmtts.engine.synthesis.ladder import WindowShape
from glmtts.engine.synthesis.recorded_windows import RecordedWindows
from glmtts.engine.synthesis.vocoder_batch import Window, render_windows
from glmtts.models.graphs import RecordedSteps
from glmtts.models.vocoder.hift import HiFT
from tests.helpers.tape import TapeRecorder

SMALL, LARGE = WindowShape(1, 64), WindowShape(4, 128)
BINS = 8


@pytest.fixture
def recorded(vocoder: HiFT) -> RecordedWindows:
    windows = RecordedWindows(vocoder, BINS, [LARGE, SMALL], torch.device("cpu"), RecordedSteps(TapeRecorder()))
    for shape in windows.shapes:
        windows.record(shape)
    return windows


def window(frames: int, seed: int, *, start: int = 40, history: int = 25, last: bool = False) -> Window:
    mel_tm = torch.randn(frames, BINS, generator=torch.Generator().manual_seed(seed))
    phase = torch.tensor(0.1 * seed, dtype=torch.float64)
    return Window(mel_tm, torch.tensor(seed), start, history, frames - history, phase, last)


def kept(vocoder: HiFT, part: Window, rendered: tuple[Tensor, Tensor]) -> list[Tensor]:
    """The samples and phases that do not depend on what lies beside the window."""
    context, frames = vocoder.context_frames, len(part.mel_tm)
    first = context if part.start else 0
    stop = frames if part.includes_last else frames - context
    wave, phase = rendered
    return [wave[first * vocoder.hop : stop * vocoder.hop], phase[first:stop]]


@torch.inference_mode()
def test_recorded_windows_equal_plain_ones(vocoder: HiFT, recorded: RecordedWindows) -> None:
    """Of several lengths, first, middle and last ones, again and again: the same samples, and none is overwritten."""
    batches = [
        [window(70, 1), window(128, 2), window(90, 3, last=True), window(50, 4, start=0, history=0)],
        [window(60, 5)],
        [window(100, 6, last=True), window(66, 7, last=True)],
    ]
    rendered = [render_windows(vocoder, batch, recorded) for batch in batches]
    for batch, results in zip(batches, rendered, strict=True):
        for part, result in zip(batch, results, strict=True):
            alone = render_windows(vocoder, [part])[0]
            for one, other in zip(kept(vocoder, part, result), kept(vocoder, part, alone), strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    assert recorded.steps.replays == 4
    assert recorded.steps.plain == 0


@torch.inference_mode()
def test_a_larger_shape_leaves_nothing_that_a_smaller_one_reads(vocoder: HiFT) -> None:
    """Rows without a window have an index in them that the larger shape alone could hold."""
    shapes = [WindowShape(4, 64), LARGE]
    windows = RecordedWindows(vocoder, BINS, shapes, torch.device("cpu"), RecordedSteps(TapeRecorder()))
    for shape in shapes:
        windows.record(shape)
    render_windows(vocoder, [window(128, 1, last=True), *(window(50, seed, last=True) for seed in (2, 3, 4))], windows)
    part = window(60, 5)
    alone = render_windows(vocoder, [part])[0]
    for one, other in zip(
        kept(vocoder, part, render_windows(vocoder, [part], windows)[0]), kept(vocoder, part, alone), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_what_no_shape_holds_is_rendered_plainly_and_counted(vocoder: HiFT, recorded: RecordedWindows) -> None:
    """A whole utterance, which can't be padded; too many frames; too many rows."""
    for batch in ([window(40, 1, start=0, history=0, last=True)], [window(129, 2)], [window(40, 3)] * 5):
        plain = render_windows(vocoder, batch)
        for one, other in zip(render_windows(vocoder, batch, recorded), plain, strict=True):
            assert torch.equal(one[0], other[0])
    assert (recorded.steps.replays, recorded.steps.plain) == (0, 3)


def test_the_smallest_recorded_shape_is_taken(vocoder: HiFT) -> None:
    """Of those that were recorded."""
    windows = RecordedWindows(vocoder, BINS, [LARGE, SMALL], torch.device("cpu"), RecordedSteps(TapeRecorder()))
    assert windows.shape_for(1, 64) is None
    windows.record(LARGE)
    assert windows.shape_for(1, 64) == LARGE
    windows.record(SMALL)
    assert windows.shape_for(1, 64) == SMALL
    assert windows.shape_for(2, 64) == LARGE
    assert windows.shape_for(4, 129) is None
