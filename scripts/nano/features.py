"""Stage: acoustic features of every utterance, one .npz each in `features/`.

    python -m scripts.nano.features --work nano-work

mel (frames, 80) at 50 Hz, f0 (frames,) in Hz, hidden (tokens, 512) at 25 Hz: Whisper's pooled features below the
speech tokenizer's trained layer. Existing files are skipped, so it can run while the corpus is still growing.

Whisper does not know a word that stands alone: its features lose what tells it from others. So a short text is heard
between two sentences of its voice. Of 72 Mandarin words, a recogniser heard 29 exactly from such tokens, 14 from those
of the word alone, and 44 in the recordings.
"""

from __future__ import annotations

import argparse
import zlib
from itertools import count
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from glmtts.config import MEL_24K
from glmtts.dsp.features import log_mel, resample
from glmtts.models.encoders.speech_tokenizer import WhisperVQ, WhisperVQConfig
from scripts.nano import pretrained, whisper
from scripts.nano.data import RATE, SENTENCE, SHORT, Corpus, Utterance, Wave, f0_track, pools_of
from scripts.nano.training import arguments, configure_torch

FROZEN_LAYERS = 4
CONTEXT_SECONDS = 2.5  # of a sentence on each side of a short text
TOKEN_SAMPLES = RATE // 25
CODES = 1024
TOKENIZER = {
    "d_model": 512,
    "encoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
    "quantize_vocab_size": CODES,
    "quantize_position": FROZEN_LAYERS + 1,
    "pooling_position": FROZEN_LAYERS,
    "pooling_kernel_size": 2,
    "pooling_type": "avg",
}


def below_quantiser(work: Path) -> WhisperVQ:
    """Whisper's convolutions and first layers, with pooling to 25 Hz."""
    config = {**TOKENIZER, "quantize_position": FROZEN_LAYERS}
    model = WhisperVQ(WhisperVQConfig.from_hf(config)).eval()
    state = whisper.encoder(pretrained.whisper_base(work) / "model.bin")
    own = model.state_dict()
    model.load_state_dict({name: state.get(name, own[name]) for name in own})  # Whisper has no codebook
    return model


def path_of(work: Path, utterance: Utterance) -> Path:
    """The file of an utterance's features."""
    return work / "features" / f"{utterance.key}.npz"


def load(work: Path, utterance: Utterance) -> dict[str, NDArray[np.float32]]:
    """An utterance's features as float32."""
    with np.load(path_of(work, utterance)) as arrays:
        return {name: arrays[name].astype(np.float32) for name in arrays.files}


class Neighbours:
    """The sentences that a short text is heard between."""

    def __init__(self, utterances: list[Utterance]) -> None:
        self._pools = pools_of(u for u in utterances if u.kind == SENTENCE)

    def of(self, utterance: Utterance) -> tuple[Wave, Wave]:
        """The end of a sentence and the beginning of another one, in whole tokens; both empty for a sentence."""
        if utterance.kind != SHORT:
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        pool = self._pools[utterance.voice, utterance.lang]
        place = zlib.crc32(utterance.key.encode())
        before, after = (pool[(place + i) % len(pool)].wave() for i in range(2))
        samples = int(CONTEXT_SECONDS * RATE)
        before = before[-samples:]
        return before[len(before) % TOKEN_SAMPLES :], after[:samples]


def hidden_of(model: WhisperVQ, wave: Wave, before: Wave, after: Wave) -> NDArray[np.float32]:
    """Whisper's features (tokens, 512) of a wave heard between two others; `before` is whole tokens long."""
    features, mask = model.features(torch.from_numpy(resample(np.concatenate([before, wave, after]), RATE, 16000)))
    return np.asarray(model.hidden(features, mask)[0].numpy()[len(before) // TOKEN_SAMPLES :])


@torch.inference_mode()
def compute(model: WhisperVQ, utterance: Utterance, neighbours: Neighbours) -> dict[str, NDArray[np.float16]]:
    """Features of one utterance, cut to whole tokens of 2 frames."""
    wave = utterance.wave()
    mel = log_mel(torch.from_numpy(wave)[None], MEL_24K)[0].T.numpy()
    hidden = hidden_of(model, wave, *neighbours.of(utterance))
    tokens = min(len(hidden), len(mel) // 2)
    arrays = {"mel": mel[: 2 * tokens], "f0": f0_track(wave)[: 2 * tokens], "hidden": hidden[:tokens]}
    return {name: array.astype(np.float16) for name, array in arrays.items()}


def main() -> None:
    args: argparse.Namespace = arguments(__doc__, steps=0).parse_args()
    configure_torch(args)
    (args.work / "features").mkdir(exist_ok=True)
    corpus = Corpus(args.work, args.extra).utterances
    turns = {lang: count() for lang in ("en", "zh")}
    ordered = sorted(corpus, key=lambda u: next(turns[u.lang]))  # alternates between the languages
    missing = [u for u in ordered if not path_of(args.work, u).exists()]
    model, neighbours = below_quantiser(args.work), Neighbours(corpus)
    for utterance in tqdm(missing, desc="features", mininterval=5):
        target = path_of(args.work, utterance)
        with target.with_suffix(".partial").open("wb") as stream:
            np.savez(stream, **compute(model, utterance, neighbours))
        target.with_suffix(".partial").rename(target)


if __name__ == "__main__":
    main()
