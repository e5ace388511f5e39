"""A segment's mel on its way to audio: how much has been made and rendered, and what later chunks build on.

Each vocoder window stays `context_frames` behind the end of the mel, and the phase of the vocoder's source is carried
over, so that joined windows are the samples of the whole segment. Windows of a vocoder that can't do this are
cross-faded. Dimension names: t time in mel frames, m mel bins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from glmtts.dsp.audio import Wave, cross_fade
from glmtts.dsp.time_stretch import TimeStretch
from glmtts.engine.scheduling.chunking import Chunk
from glmtts.engine.synthesis.recorded_windows import RecordedWindows
from glmtts.engine.synthesis.vocoder_batch import Window, render_windows
from glmtts.models.flow.flow_batch import FlowSequence
from glmtts.models.flow.flow_cache import NO_CONTEXT, LeftContext
from glmtts.models.vocoder.interface import Vocoder


class SegmentAudio:
    """The audio state of one segment. Only one thread may use it at a time.

    Args:
        key: decides the noise; int64 ().
        mel_bins: of the mel.
        vocoder: renders the mel.
        stretch: changes the speed of what the vocoder returns.
    """

    def __init__(self, key: Tensor, mel_bins: int, vocoder: Vocoder, stretch: TimeStretch) -> None:
        self.key = key
        self.sequence: FlowSequence | None = None
        """The chunk in the flow."""
        self.left_context: LeftContext = NO_CONTEXT
        """What the next chunk follows; empty before the first."""
        self.ready_chunk: Chunk | None = None
        """The chunk whose mel exists and is not fully rendered."""
        self.rendered_frames = 0
        self._vocoder, self._stretch = vocoder, stretch
        self._mel_tm = torch.zeros(0, mel_bins, device=key.device)
        self._first_frame = 0  # of the segment, that the mel begins with
        self._phase = torch.zeros((), dtype=torch.float64, device=key.device)
        self._fade_tail: Wave | None = None

    @property
    def mel_frames(self) -> int:
        """Frames of the segment whose mel has been made."""
        return self._first_frame + len(self._mel_tm)

    @property
    def renderable_frames(self) -> int:
        """The frame up to which the mel can be rendered; before the segment's end that leaves out the context."""
        if self._has_last_frame:
            return self.mel_frames
        return max(self.rendered_frames, self.mel_frames - self._vocoder.context_frames)

    def add_mel(self, mel_tm: Tensor, chunk: Chunk) -> None:
        """Appends the mel (t, m) of a chunk."""
        self._mel_tm = torch.cat([self._mel_tm, mel_tm])
        self.sequence, self.ready_chunk = None, chunk

    def next_window(self, max_frames: int) -> Window | None:
        """The next window to render, of at most `max_frames` new frames; None if the mel is too short for any."""
        context, end = self._vocoder.context_frames, self._window_end(max_frames)
        if end <= self.rendered_frames:
            return None
        start = max(0, self.rendered_frames - context)
        stop = min(end + context, self.mel_frames)
        return Window(
            self._mel_tm[start - self._first_frame : stop - self._first_frame],
            self.key,
            start,
            history=self.rendered_frames - start,
            new=end - self.rendered_frames,
            phase=self._phase,
            includes_last=self._reaches_last_frame(end),
        )

    def accept(self, window: Window, wave: Wave, phase_t: Tensor) -> Wave:
        """Takes a rendered window: all its samples, and the phases at its frames.

        Returns the new samples, stretched.
        """
        hop, stop = self._vocoder.hop, window.history + window.new
        new = wave[window.history * hop : stop * hop].copy()
        if self._fade_tail is not None:
            faded = min(len(self._fade_tail), len(new))
            new[:faded] = cross_fade(self._fade_tail[:faded], new[:faded])
        self._fade_tail = None if self._vocoder.is_windowable else wave[stop * hop : (stop + 1) * hop].copy()
        self.rendered_frames, self._phase = window.end, phase_t[stop - 1]
        if not (self._has_last_frame and window.end == self.mel_frames):
            return self._stretch.feed(new)
        return np.concatenate([self._stretch.feed(new), self._stretch.finish()])

    def finish_chunk_if_rendered(self) -> bool:
        """Whether all is rendered that can be; if so, drops the mel that later windows don't need as context."""
        if self.rendered_frames < self.renderable_frames:
            return False
        self.ready_chunk = None
        first = max(self._first_frame, self.rendered_frames - self._vocoder.context_frames)
        self._mel_tm, self._first_frame = self._mel_tm[first - self._first_frame :].clone(), first
        return True

    @property
    def _has_last_frame(self) -> bool:
        return self.ready_chunk is not None and self.ready_chunk.last

    def _window_end(self, max_frames: int) -> int:
        """The frame up to which the next window renders.

        A window that has both ends of its segment can't be padded, so a segment that is long enough gets two.
        """
        context = self._vocoder.context_frames
        end = min(self.renderable_frames, self.rendered_frames + max_frames)
        if not self._vocoder.is_windowable or not self._reaches_last_frame(end) or self.rendered_frames > context:
            return end
        shorter = self.mel_frames - context - 1
        return shorter if shorter > context else end

    def _reaches_last_frame(self, end: int) -> bool:
        """Whether a window that renders up to `end` has the segment's last frame in it."""
        return self._has_last_frame and end + self._vocoder.context_frames >= self.mel_frames


def render_next(
    vocoder: Vocoder, audios: Sequence[SegmentAudio], max_frames: int, recorded: RecordedWindows | None = None
) -> list[Wave | None]:
    """Renders the next window of each segment, all in one batch; None where the mel is too short for any."""
    windows = [audio.next_window(max_frames) for audio in audios]
    rendered = render_windows(vocoder, [window for window in windows if window is not None], recorded)
    # All are read before the first is accepted: if that fails, every segment can be tried again.
    results = iter([(wave_s.cpu().numpy(), phase_t) for wave_s, phase_t in rendered])
    return [
        None if window is None else audio.accept(window, *next(results))
        for audio, window in zip(audios, windows, strict=True)
    ]
