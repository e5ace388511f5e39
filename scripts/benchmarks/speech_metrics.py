"""What listens to speech and says how good it is: a recogniser, a judge of who speaks, a judge of how it sounds.

Whisper base hears both languages (RTF about 0.3 a core). It is a relative of the nano checkpoint's speech tokenizer,
which stands on the same encoder's first layers: say so beside the figures. Resemblyzer and DNSMOS (extra `judges`) are
no relatives of anything here. Knows nothing about what made the speech.
"""

from __future__ import annotations

import re
from pathlib import Path

import jiwer
import numpy as np
from faster_whisper import WhisperModel
from numpy.typing import NDArray

from glmtts.dsp.features import resample
from glmtts.text import normalize
from scripts.nano import pretrained

Wave = NDArray[np.float32]
WHISPER_RATE = 16000


def words(text: str, lang: str) -> str:
    """What counts of a text, separated by spaces: words in English, toneless syllables in Mandarin.

    Numbers are written out on both sides: a recogniser that hears "six" may write "6".
    """
    spoken = normalize.normalize(text)
    if lang == "en":
        return re.sub(r"[^a-z ]", " ", spoken.replace("'", ""))
    from pypinyin import lazy_pinyin

    return " ".join(s for s in lazy_pinyin(spoken, errors=lambda rest: re.findall("[a-z]+", rest)) if s)


def error_rate(truth: list[str], heard: list[str], lang: str) -> float:
    """Word (en) or toneless-syllable (zh) error rate over all sentences: edits / length of the truth.

    What is heard counts up to twice the truth's length: over a bad ending the recogniser may fall into a loop of a
    hundred words, and one sentence would outweigh all others.
    """
    said = [words(t, lang).split() for t in truth]
    caught = [words(h, lang).split()[: 2 * len(s)] for h, s in zip(heard, said, strict=True)]
    return float(jiwer.wer([" ".join(s) for s in said], [" ".join(c) or "∅" for c in caught]))


class Recogniser:
    """Whisper base, on the CPU. `work` is where its files are kept; fetched when missing."""

    def __init__(self, work: Path, threads: int = 1) -> None:
        folder = pretrained.whisper_base(work)
        self._model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)

    def hear(self, wave: Wave, rate: int, lang: str) -> str:
        """What is said in a waveform (samples,) of `rate` Hz in the language `lang`."""
        prompt = "以下是普通话的句子。" if lang == "zh" else None  # simplified characters, with punctuation
        pieces, _ = self._model.transcribe(
            resample(wave, rate, WHISPER_RATE),
            language=lang,
            beam_size=5,
            temperature=0.0,
            condition_on_previous_text=False,
            initial_prompt=prompt,
        )
        return " ".join(piece.text.strip() for piece in pieces)


class Likeness:
    """Resemblyzer's speaker vectors: recordings of one person lie at about 0.90 of each other, of two at 0.58."""

    def __init__(self) -> None:
        from resemblyzer import VoiceEncoder

        self._encoder = VoiceEncoder("cpu", verbose=False)

    def vector(self, wave: Wave, rate: int) -> NDArray[np.float32]:
        """Unit vector (256,) of who speaks in a waveform (samples,) of `rate` Hz."""
        from resemblyzer import preprocess_wav

        vector: NDArray[np.float32] = self._encoder.embed_utterance(preprocess_wav(wave, source_sr=rate))
        return vector


def overall_quality(wave: Wave, rate: int) -> float:
    """DNSMOS P.835, overall: 1 (bad) to 5, for a waveform (samples,) of `rate` Hz."""
    from speechmos import dnsmos

    heard = np.clip(resample(wave, rate, WHISPER_RATE), -1, 1)
    return float(dnsmos.run(heard, sr=WHISPER_RATE)["ovrl_mos"])
