"""Metrics of speech: error rate of a recogniser, speaker similarity (SIM), and predicted quality (DNSMOS).

The recogniser is Whisper base, for both languages (RTF about 0.3 on one core). It is not independent of the nano
checkpoint, whose speech tokenizer is built on the first layers of the same encoder: say so beside the figures.
Resemblyzer and DNSMOS (extra `metrics`) are independent of everything in this repository.
"""

from __future__ import annotations

import re
from pathlib import Path

import jiwer
import numpy as np
from faster_whisper import WhisperModel
from numpy.typing import NDArray

from glmtts.dsp.features import resample
from glmtts.text.frontend import normalize
from scripts.nano import pretrained

Wave = NDArray[np.float32]
WHISPER_RATE = 16000


def words(text: str, lang: str) -> str:
    """The units of an error rate, separated by spaces: words in English, toneless syllables in Mandarin.

    Numbers are written out, because a recogniser may write "6" for "six".
    """
    spoken = normalize.normalize(text)
    if lang == "en":
        return re.sub(r"[^a-z ]", " ", spoken.replace("'", ""))
    from pypinyin import lazy_pinyin

    return " ".join(s for s in lazy_pinyin(spoken, errors=lambda rest: re.findall("[a-z]+", rest)) if s)


def error_rate(references: list[str], hypotheses: list[str], lang: str) -> float:
    """Word (en) or toneless-syllable (zh) error rate over all texts: edits / length of the references.

    A hypothesis is cut at twice the length of its reference: after a bad ending the recogniser may loop for a hundred
    words, and one text would outweigh all others.
    """
    expected = [words(text, lang).split() for text in references]
    actual = [words(text, lang).split()[: 2 * len(ref)] for text, ref in zip(hypotheses, expected, strict=True)]
    # jiwer takes no empty hypothesis.
    return float(jiwer.wer([" ".join(ref) for ref in expected], [" ".join(hyp) or "∅" for hyp in actual]))


def is_exact(reference: str, hypothesis: str, lang: str) -> bool:
    """Whether both have the same words (en) or syllables (zh)."""
    return words(reference, lang).split() == words(hypothesis, lang).split()


def has_extra_words(reference: str, hypothesis: str, lang: str) -> bool:
    """Whether the hypothesis has more words (en) or syllables (zh) than the reference."""
    return len(words(hypothesis, lang).split()) > len(words(reference, lang).split())


class Recogniser:
    """Whisper base on the CPU. `work` is the folder of its weights, which are downloaded if missing."""

    def __init__(self, work: Path, threads: int = 1) -> None:
        folder = pretrained.whisper_base(work)
        self._model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)

    def transcribe(self, wave: Wave, sample_rate: int, lang: str) -> str:
        """The text of a waveform (samples,) in the language `lang`; "" of an empty one."""
        if not len(wave):
            return ""
        prompt = "以下是普通话的句子。" if lang == "zh" else None  # asks for simplified characters and punctuation
        segments, _ = self._model.transcribe(
            resample(wave, sample_rate, WHISPER_RATE),
            language=lang,
            beam_size=5,
            temperature=0.0,
            condition_on_previous_text=False,
            initial_prompt=prompt,
        )
        return " ".join(segment.text.strip() for segment in segments)


class SpeakerSimilarity:
    """Resemblyzer's speaker embeddings: their cosine is about 0.90 for one person, and 0.58 for two."""

    def __init__(self) -> None:
        from resemblyzer import VoiceEncoder

        self._encoder = VoiceEncoder("cpu", verbose=False)

    def embed(self, wave: Wave, sample_rate: int) -> NDArray[np.float32]:
        """The speaker embedding of a waveform (samples,): a unit vector (256,)."""
        from resemblyzer import preprocess_wav

        embedding: NDArray[np.float32] = self._encoder.embed_utterance(preprocess_wav(wave, source_sr=sample_rate))
        return embedding


def dnsmos_overall(wave: Wave, sample_rate: int) -> float:
    """DNSMOS P.835, overall quality from 1 (bad) to 5, of a waveform (samples,)."""
    from speechmos import dnsmos

    wave_16k = np.clip(resample(wave, sample_rate, WHISPER_RATE), -1, 1)
    return float(dnsmos.run(wave_16k, sr=WHISPER_RATE)["ovrl_mos"])
