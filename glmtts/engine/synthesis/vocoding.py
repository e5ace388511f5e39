"""Finished mel to sound, window by window, several segments in one batch.

Each window stays the vocoder's reach behind the end of the mel, and the phase of its source is carried over: joined
windows are the samples of the whole. A vocoder of which that is not known gets its joins faded.
Knows nothing about where the mel comes from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from glmtts.dsp.audio import Wave, cross_fade
from glmtts.engine.synthesis.segment_audio import Speech
from glmtts.engine.synthesis.vocoder_batch import Window, render
from glmtts.models.vocoder.interface import Vocoder

NOTHING: Wave = np.zeros(0, np.float32)


def sound_of(vocoder: Vocoder, speeches: Sequence[Speech], piece: int) -> list[Wave]:
    """The next samples of each segment, of at most `piece` frames; none where the mel is yet too short for any."""
    spans = [(speech, _end(speech, vocoder, piece)) for speech in speeches]
    audible = [(speech, end) for speech, end in spans if end > speech.voiced]
    windows = [_window(speech, end, vocoder) for speech, end in audible]
    results = render(vocoder, windows)
    waves = {
        speech: _taken(speech, end, window, wave.cpu().numpy(), phase, vocoder)
        for (speech, end), window, (wave, phase) in zip(audible, windows, results, strict=True)
    }
    return [waves.get(speech, NOTHING) for speech in speeches]


def speakable(speech: Speech, vocoder: Vocoder) -> int:
    """The frame up to which the mel that is there can become sound."""
    over = speech.finished is not None and speech.finished.last
    return speech.made if over else max(speech.voiced, speech.made - vocoder.context_frames)


def _end(speech: Speech, vocoder: Vocoder, piece: int) -> int:
    """The frame up to which the next window makes sound.

    No window has both ends of a segment in it, if that is long enough for two: such a one could not be padded.
    """
    context, end = vocoder.context_frames, min(speakable(speech, vocoder), speech.voiced + piece)
    if not vocoder.is_windowable or not _ends(speech, end, vocoder) or speech.voiced > context:
        return end
    cut = speech.made - context - 1
    return cut if cut > context else end


def _ends(speech: Speech, end: int, vocoder: Vocoder) -> bool:
    """Whether a window that makes sound up to `end` has the segment's last frame in it."""
    last = speech.finished is not None and speech.finished.last
    return last and end + vocoder.context_frames >= speech.made


def forget(speech: Speech, vocoder: Vocoder) -> None:
    """Keeps no more of the mel than later sound depends on."""
    first = max(speech.first, speech.voiced - vocoder.context_frames)
    speech.mel_tm, speech.first = speech.mel_tm[first - speech.first :].clone(), first


def _window(speech: Speech, end: int, vocoder: Vocoder) -> Window:
    first = max(0, speech.voiced - vocoder.context_frames)
    last = min(end + vocoder.context_frames, speech.made)
    mel_tm = speech.mel_tm[first - speech.first : last - speech.first]
    return Window(mel_tm, speech.key, first, speech.voiced - first, speech.phase, _ends(speech, end, vocoder))


def _taken(speech: Speech, end: int, window: Window, wave: Wave, phase: Tensor, vocoder: Vocoder) -> Wave:
    """The new samples; remembers how they go on."""
    hop, stop = vocoder.hop, end - window.first
    new = wave[window.history * hop : stop * hop].copy()
    if speech.tail is not None:
        faded = min(len(speech.tail), len(new))
        new[:faded] = cross_fade(speech.tail[:faded], new[:faded])
    speech.tail = None if vocoder.is_windowable else wave[stop * hop : (stop + 1) * hop].copy()
    speech.voiced, speech.phase = end, phase[stop - 1]
    return new
