"""Blocks of tokens to sound, for several jobs at once: the flow, then the vocoder, each in batches.

A block continues what was said: the voice's prompt and the last mel before the block stand before it as one prompt,
and some tokens that follow it as look-ahead behind. So a block costs the same wherever it stands. The vocoder makes a
window of finished mel at a time and stays its own reach behind the end of it, with the phase of its source carried
over: joined windows are the samples of the whole. What fails in a batch is tried again row by row, once.
Knows nothing about slots, readers or deadlines: it works on the first of the blocks that it is given.
Dimension names: t time in mel frames, m mel bins, n tokens, d speaker channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from glmtts.audio import FRAMES_PER_TOKEN, Wave, cross_fade, frames_for_tokens
from glmtts.checkpoint import Model
from glmtts.engine.chunker import Block
from glmtts.engine.faults import Retries, as_ours
from glmtts.engine.options import SoundLimits
from glmtts.engine.scheduler import Stream, Utterance
from glmtts.engine.windows import Window, render
from glmtts.models.counter import frame_noise, stream_keys
from glmtts.models.dit import stretch
from glmtts.models.flow_rows import FlowRow, FlowRows
from glmtts.models.vocoder import Vocoder

Item = tuple[Stream, Utterance, Block]


class Made(NamedTuple):
    """What came of a step for one block: sound, the last of it or not; or why there is none."""

    item: Item
    wave: Wave
    whole: bool
    error: Exception | None = None


_NOTHING: Wave = np.zeros(0, np.float32)


@dataclass(eq=False)
class _Conditioning:
    """A job's voice on the device: (n,), (2n, m), (d,)."""

    tokens_n: Tensor
    mel_tm: Tensor
    speaker_d: Tensor


@dataclass(eq=False)
class _Speech:
    """What is kept of a segment between its blocks. `mel_tm` are its frames from `first` on, all finished."""

    key: Tensor
    mel_tm: Tensor
    phase: Tensor
    first: int = 0
    voiced: int = 0
    """Frames that have become sound."""
    tail: Wave | None = None
    """Samples after these, for a vocoder whose windows don't join by themselves."""
    row: FlowRow | None = None
    finished: Block | None = None
    """The block whose mel is there and not yet all sound."""

    @property
    def made(self) -> int:
        return self.first + len(self.mel_tm)


class Sound:
    """One model's flow and vocoders."""

    def __init__(self, model: Model, limits: SoundLimits) -> None:
        self._model, self._limits = model, limits
        self._rows = FlowRows(model.flow, model.device)
        self._voices: WeakKeyDictionary[Stream, _Conditioning] = WeakKeyDictionary()
        self._speeches: WeakKeyDictionary[Utterance, _Speech] = WeakKeyDictionary()
        self.retries = Retries("A batch of blocks")

    @torch.inference_mode()
    def step(self, items: Sequence[Item]) -> tuple[str, list[Item], list[Made]]:
        """One step of the flow or of the vocoder, for the first block and for those that it can take along.

        Returns which of the two it was, for which blocks, and what has come of it.
        """
        failed = [made for item in items for made in self._attempt(self._prepare, item)]
        wanted = [item for item in items if all(item is not made.item for made in failed)]
        if not wanted:
            return "flow", [], failed
        if self._speeches[wanted[0][1]].finished is None:
            batch = self._together([item for item in wanted if self._speeches[item[1]].finished is None])
            return "flow", batch, failed + self._retried(self._flow, batch)
        rate = wanted[0][0].job.sample_rate
        same = [i for i in wanted if self._speeches[i[1]].finished is not None and i[0].job.sample_rate == rate]
        batch = same[: max(1, self._limits.frames // self._limits.piece)]
        return "vocoder", batch, failed + self._retried(self._vocode, batch)

    def _retried(self, work: Callable[[list[Item]], list[Made]], batch: list[Item]) -> list[Made]:
        try:
            return work(batch)
        except Exception as error:
            self.retries.note(len(batch), error)
        return [made for item in batch for made in self._attempt(lambda one: work([one]), item)]

    @staticmethod
    def _attempt(work: Callable[[Item], list[Made]], item: Item) -> list[Made]:
        try:
            return work(item)
        except Exception as error:
            return [Made(item, _NOTHING, True, as_ours(error))]

    def _together(self, items: list[Item]) -> list[Item]:
        """The first, and of the next those that fit into a padded batch with it."""
        batch, longest = items[:1], self._frames(items[0])
        for item in items[1:]:
            padded = max(longest, self._frames(item))
            if padded * (len(batch) + 1) > self._limits.frames:
                break
            batch, longest = [*batch, item], padded
        return batch

    def _frames(self, item: Item) -> int:
        row = self._speeches[item[1]].row
        assert row is not None
        return row.frames

    # Flow

    def _prepare(self, item: Item) -> list[Made]:
        """Sees to it that the block is on its way."""
        stream, utterance, block = item
        speech = self._speeches.get(utterance)
        if speech is None:
            speech = self._speeches[utterance] = self._open(stream, utterance)
        if speech.row is None and speech.finished is None:
            speech.row = self._begin(stream, utterance, block, speech)
        return []

    def _open(self, stream: Stream, utterance: Utterance) -> _Speech:
        job, device = stream.job, self._model.device
        key = stream_keys(torch.tensor([job.seed]), torch.tensor([utterance.segment.index])).to(device)[0]
        bins = job.voice.prompt_mels[job.sample_rate].shape[1]
        zeros = torch.zeros(0, bins, device=device)
        return _Speech(key, zeros, torch.zeros((), dtype=torch.float64, device=device))

    def _voice(self, stream: Stream) -> _Conditioning:
        voice = self._voices.get(stream)
        if voice is None:
            job, device = stream.job, self._model.device
            most = len(job.voice.prompt_tokens)
            kept = min(self._limits.prompt or most, most) if job.stream else most
            mel_tm = job.voice.prompt_mels[job.sample_rate]
            voice = self._voices[stream] = _Conditioning(
                job.voice.prompt_tokens[most - kept :].to(device),
                mel_tm[len(mel_tm) - kept * FRAMES_PER_TOKEN :].to(device),
                job.voice.speaker.to(device),
            )
        return voice

    def _begin(self, stream: Stream, utterance: Utterance, block: Block, speech: _Speech) -> FlowRow:
        voice, device, speed = self._voice(stream), self._model.device, stream.job.speed
        prompt = len(voice.mel_tm)
        begin, start, end = (frames_for_tokens(n, speed) for n in (block.window, block.start, block.ahead))
        said_tm = speech.mel_tm[begin - speech.first : start - speech.first]
        tokens_n = torch.tensor(utterance.tokens[: block.ahead], device=device)
        tokens_t = torch.cat([stretch(voice.tokens_n[None], prompt)[0] if prompt else voice.tokens_n,
                              tokens_n[frame_tokens(block, begin, end, speed, device)]])  # fmt: skip
        bins = voice.mel_tm.shape[1]
        noise_tm = torch.cat([frame_noise(speech.key[None], -prompt, prompt, bins)[0],
                              frame_noise(speech.key[None], begin, end - begin, bins)[0]])  # fmt: skip
        cond_tm = F.pad(torch.cat([voice.mel_tm, said_tm]), (0, 0, 0, end - start))
        return self._rows.begin(tokens_t, cond_tm, voice.speaker_d, noise_tm)

    def _flow(self, batch: list[Item]) -> list[Made]:
        rows = [row for _, utterance, _ in batch if (row := self._speeches[utterance].row) is not None]
        self._rows.advance(rows)
        for (stream, utterance, block), row in zip(batch, rows, strict=True):
            if self._rows.done(row):
                speech, speed = self._speeches[utterance], stream.job.speed
                end = frames_for_tokens(block.end, speed)
                cut = row.frames - (frames_for_tokens(block.ahead, speed) - end)
                speech.mel_tm = torch.cat([speech.mel_tm, row.x_tm[cut - (end - speech.made) : cut]])
                speech.row, speech.finished = None, block
        return []

    # Vocoder

    def _vocode(self, batch: list[Item]) -> list[Made]:
        vocoder = self._model.vocoders[batch[0][0].job.sample_rate]
        speeches = [self._speeches[utterance] for _, utterance, _ in batch]
        ends = [self._end(speech, vocoder) for speech in speeches]
        audible = [i for i, (speech, end) in enumerate(zip(speeches, ends, strict=True)) if end > speech.voiced]
        windows = [self._window(speeches[i], ends[i], vocoder) for i in audible]
        waves = dict.fromkeys(range(len(batch)), _NOTHING)
        for i, window, (wave, phase) in zip(audible, windows, render(vocoder, windows), strict=True):
            waves[i] = self._kept(speeches[i], ends[i], window, wave.cpu().numpy(), phase, vocoder)
        found = []
        for i, (item, speech) in enumerate(zip(batch, speeches, strict=True)):
            assert speech.finished is not None
            whole = speech.voiced >= self._final(speech, vocoder)
            if whole:
                self._forget(item[0], speech, vocoder)
            found.append(Made(item, waves[i], whole))
        return found

    def _final(self, speech: _Speech, vocoder: Vocoder) -> int:
        """The frame up to which finished mel can be made sound of."""
        assert speech.finished is not None
        return speech.made if speech.finished.last else max(speech.voiced, speech.made - vocoder.context_frames)

    def _end(self, speech: _Speech, vocoder: Vocoder) -> int:
        return min(self._final(speech, vocoder), speech.voiced + self._limits.piece)

    def _window(self, speech: _Speech, end: int, vocoder: Vocoder) -> Window:
        first = max(0, speech.voiced - vocoder.context_frames)
        last = min(end + vocoder.context_frames, speech.made)
        assert speech.finished is not None
        ends = speech.finished.last and last == speech.made
        mel_tm = speech.mel_tm[first - speech.first : last - speech.first]
        return Window(mel_tm, speech.key, first, speech.voiced - first, speech.phase, ends)

    def _kept(self, speech: _Speech, end: int, window: Window, wave: Wave, phase: Tensor, vocoder: Vocoder) -> Wave:
        """The new samples; remembers how they go on."""
        hop, begin = vocoder.hop, window.history
        stop = end - window.first
        new = wave[begin * hop : stop * hop].copy()
        if speech.tail is not None:
            n = min(len(speech.tail), len(new))
            new[:n] = cross_fade(speech.tail[:n], new[:n])
        speech.tail = None if vocoder.exact_windows else wave[stop * hop : (stop + 1) * hop].copy()
        speech.voiced, speech.phase = end, phase[stop - 1]
        return new

    def _forget(self, stream: Stream, speech: _Speech, vocoder: Vocoder) -> None:
        """The block is done: keeps the mel that the next one and its sound go on from."""
        assert speech.finished is not None
        window = frames_for_tokens(max(0, speech.finished.end - stream.ladder.window), stream.job.speed)
        first = max(speech.first, min(window, speech.voiced - vocoder.context_frames))
        speech.mel_tm, speech.first = speech.mel_tm[first - speech.first :].clone(), first
        speech.finished = None


def frame_tokens(block: Block, begin: int, end: int, speed: float, device: torch.device) -> Tensor:
    """Which token of the segment each of its frames [begin, end) speaks: int64 (end − begin,).

    A segment that is one block is stretched as a whole, so that it is what `glmtts.offline` makes of it.
    """
    if block.start == 0 and block.last:
        return stretch(torch.arange(block.end, device=device)[None], end)[0]
    frames = torch.arange(begin, end, device=device, dtype=torch.float64)
    return (frames * speed / FRAMES_PER_TOKEN).long().clamp(max=block.ahead - 1)
