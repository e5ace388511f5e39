"""Stage: synthesises the corpus with the teachers, appending to one file per voice. Resumes where it stopped.

    python -m scripts.nano.corpus --work nano-work --voice zf_xiaoxiao --hours 1.2
    python -m scripts.nano.corpus --work nano-work --voice zf_xiaoxiao --lang en --hours 0.4
    python -m scripts.nano.corpus --work nano-work --voice hibari --hours 2
    python -m scripts.nano.corpus --work nano-work --voice hibari-calm --first 10000 --hours 0.3
    python -m scripts.nano.corpus --work nano-work --voice zm_yunxi --texts short --hours 0.2

A Kokoro voice speaks both languages, one of them with an accent. `--slice 0/2` and `--slice 1/2` share a voice between
two processes; `--first 3000` skips sentences, so that voices read different ones. `corpus/VOICE-SLICE.pcm` (s16le,
24 kHz, mono) gets the audio, `corpus/VOICE-SLICE.jsonl` a line per utterance: text, lang, ph (the teacher's phonemes),
start and samples. Audio after the manifest's last line, from an interrupted write, is removed at the next start.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scripts.nano import pretrained

RATE = 24000
SECONDS = {"sentences": (1.0, 8.0), "short": (0.15, 3.0)}
UNVOICED, PITCHES = 40.0, (70.0, 480.0)  # Hz
Wave = NDArray[np.float32]
Synthesize = Callable[[str, int], tuple[str, Wave]]
"""From a text and its index to phonemes and waveform (samples,)."""


class SpeakingStyle(NamedTuple):
    """Factors of hibari's tempo and pitch, and of the pitch range around its mean."""

    tempo: float = 1.0
    pitch: float = 1.0
    liveliness: float = 1.0

    def apply(self, f0: Wave) -> Wave:
        """Changes an F0 track (frames,) in Hz; values below UNVOICED mean no pitch and stay."""
        voiced = f0 > UNVOICED
        if not voiced.any():
            return f0
        height = np.log(np.where(voiced, f0, 1.0))
        middle = height[voiced].mean()
        moved = np.exp(middle + self.liveliness * (height - middle)) * self.pitch
        return np.where(voiced, moved.clip(*PITCHES), f0).astype(np.float32)


STYLES = {
    "hibari": SpeakingStyle(),
    "hibari-calm": SpeakingStyle(0.85, 0.93, 0.6),
    "hibari-happy": SpeakingStyle(1.1, 1.15, 1.5),
}


TEMPOS = {"zf_xiaoxiao-calm": 0.8}
"""Kokoro's voices at another tempo than its own."""


def hibari(style: SpeakingStyle) -> Synthesize:
    """One English voice, synthesised very fast."""
    from hibari import Hibari, dsp

    tts = Hibari(threads=1)

    def synthesize(text: str, index: int) -> tuple[str, Wave]:
        phonemes = " ".join(tts.phonemize(text))
        feed = {"ids": np.asarray([tts.ids(phonemes)], np.int64), "speed": np.full(1, style.tempo, np.float32)}
        *spectra, f0 = (out[0] for out in tts.sess.run(None, feed))
        return phonemes, dsp.synth(*spectra, style.apply(f0), np.random.default_rng(index))

    return synthesize


def phonemizer(lang: str) -> Callable[[str], str]:
    """Converts text to the phonemes that Kokoro was trained on."""
    if lang == "zh":
        from misaki import zh

        g2p = zh.ZHG2P(version=None)
        return lambda text: str(g2p(text)[0])
    from hibari import Hibari

    tts = Hibari(threads=1)
    return lambda text: " ".join(tts.phonemize(text))


def kokoro(work: Path, voice: str, lang: str) -> Synthesize:
    """A voice of Kokoro-82M, or a blend of voices, or one of TEMPOS."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(pretrained.kokoro_model(work)), options)
    styles = pretrained.kokoro_styles(work, voice.partition("-")[0])
    speed = np.full(1, TEMPOS.get(voice, 1.0), np.float32)
    vocabulary = json.loads(pretrained.kokoro_vocabulary(work))["vocab"]
    phonemize = phonemizer(lang)

    def synthesize(text: str, index: int) -> tuple[str, Wave]:
        phonemes = phonemize(text)
        ids = [vocabulary[p] for p in phonemes if p in vocabulary][:509]
        feed = {"tokens": [[0, *ids, 0]], "style": styles[min(len(ids), 509)], "speed": speed}
        feed["tokens"] = np.asarray(feed["tokens"], np.int64)
        return phonemes, np.asarray(session.run(None, feed)[0], np.float32).reshape(-1)

    return synthesize


def trim(wave: Wave, margin: float = 0.08, floor: float = 0.01) -> Wave:
    """Trims silence beyond `margin` seconds at both ends, and sets the peak to 0.8."""
    peak = float(np.abs(wave).max(initial=0.0))
    if peak < 1e-3:
        return wave[:0]
    loud = np.flatnonzero(np.abs(wave) > floor * peak)
    pad = int(margin * RATE)
    return wave[max(loud[0] - pad, 0) : loud[-1] + pad] * (0.8 / peak)


def resume(manifest: Path, sound: Path) -> tuple[int, int]:
    """The index of the next sentence and the number of samples; truncates an incomplete utterance."""
    following = samples = 0
    if manifest.exists():
        for line in manifest.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            following, samples = row["index"] + 1, row["start"] + row["samples"]
    sound.touch()
    with sound.open("r+b") as stream:
        stream.truncate(2 * samples)
    return following, samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("nano-work"))
    parser.add_argument(
        "--voice", required=True, help=f"{', '.join((*STYLES, *TEMPOS))}, a Kokoro voice, or a blend: a+b"
    )
    parser.add_argument("--lang", choices=("en", "zh"), help="(default: the voice's own; Kokoro's z… are Mandarin)")
    parser.add_argument(
        "--texts", choices=tuple(SECONDS), default="sentences", help="list of texts (default: %(default)s)"
    )
    parser.add_argument("--hours", type=float, required=True, help="total length of this slice")
    parser.add_argument("--slice", default="0/1", help="K/N: every N-th sentence, starting at the K-th")
    parser.add_argument("--first", type=int, default=0, help="index in the list at which a new slice begins")
    args = parser.parse_args()
    part, parts = map(int, args.slice.split("/"))
    own = "zh" if args.voice.startswith("z") else "en"
    lang = args.lang or own
    synthesize = hibari(STYLES[args.voice]) if args.voice in STYLES else kokoro(args.work, args.voice, lang)
    folder = args.work / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    kind = "" if args.texts == "sentences" else args.texts
    stem = f"{args.voice}-{kind}{'' if lang == own else lang}{part}"
    manifest, sound = folder / f"{stem}.jsonl", folder / f"{stem}.pcm"
    following, written = resume(manifest, sound)
    sentences = (args.work / f"{args.texts}_{lang}.txt").read_text(encoding="utf-8").splitlines()[part::parts]
    if lang != own and not kind:
        sentences.reverse()  # that language's own voices read them from the front
    shortest, longest = SECONDS[args.texts]
    goal = int(args.hours * 3600 * RATE)
    with manifest.open("a", encoding="utf-8") as rows, sound.open("ab") as stream, tqdm(total=goal / RATE) as bar:
        bar.update(written / RATE)
        for index in range(max(following, args.first), len(sentences)):
            if written >= goal:
                break
            phonemes, wave = synthesize(sentences[index], index)
            wave = trim(wave)
            if not shortest <= len(wave) / RATE <= longest:
                continue
            stream.write(np.round(wave * 32767).astype("<i2").tobytes())
            stream.flush()
            row = {"index": index, "lang": lang, "text": sentences[index], "ph": phonemes}
            rows.write(json.dumps({**row, "start": written, "samples": len(wave)}, ensure_ascii=False) + "\n")
            rows.flush()
            written += len(wave)
            bar.update(len(wave) / RATE)


if __name__ == "__main__":
    main()
