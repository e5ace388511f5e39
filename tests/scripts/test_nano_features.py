"""Features of a short text are those of its own stretch between two sentences of its voice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from glmtts.models.encoders.speech_tokenizer import WhisperVQ, WhisperVQConfig
from scripts.nano import features
from scripts.nano.data import RATE, Utterance, Wave

SENTENCE_SECONDS, WORD_SAMPLES = 3.1, 12_345


@pytest.fixture(scope="module")
def model() -> WhisperVQ:
    torch.manual_seed(0)
    sizes = {"d_model": 32, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
    return WhisperVQ(WhisperVQConfig.from_hf({**features.TOKENIZER, **sizes, "quantize_position": 4})).eval()


@pytest.fixture
def utterances(tmp_path: Path) -> dict[str, Utterance]:
    """Two sentences and a word of one voice, and a sentence of another; each has a level of its own."""
    samples = int(SENTENCE_SECONDS * RATE)
    kinds = {"a-0": samples, "a-1": samples, "a-short": WORD_SAMPLES, "b-0": samples}
    made = {}
    for level, (name, length) in enumerate(kinds.items(), 1):
        source = tmp_path / f"{name}.pcm"
        np.full(length, 1000 * level, "<i2").tofile(source)
        made[name] = Utterance(name, name[0], "zh", "", "", 0, length, source)
    return made


def levels(wave: Wave) -> set[int]:
    return {round(value * 32.768) for value in np.unique(wave).tolist()}


def test_a_short_text_has_sentences_of_its_voice_around(utterances: dict[str, Utterance]) -> None:
    neighbours = features.Neighbours(list(utterances.values()))
    before, after = neighbours.of(utterances["a-short"])
    assert levels(before) | levels(after) == {1, 2}
    assert len(before) % features.TOKEN_SAMPLES == 0
    assert 0 <= features.CONTEXT_SECONDS * RATE - len(before) < features.TOKEN_SAMPLES
    assert len(after) == features.CONTEXT_SECONDS * RATE


def test_a_sentence_stands_alone(utterances: dict[str, Utterance]) -> None:
    before, after = features.Neighbours(list(utterances.values())).of(utterances["a-0"])
    assert len(before) == len(after) == 0


@torch.inference_mode()
def test_the_features_cover_the_word_alone(model: WhisperVQ) -> None:
    """They begin where the word begins, and know what stands around it."""
    noise = np.random.default_rng(0).normal(size=(3, RATE)).astype(np.float32)
    alone = features.hidden_of(model, noise[0], noise[0][:0], noise[0][:0])
    within = features.hidden_of(model, noise[0], noise[1], noise[2])
    whole = features.hidden_of(model, np.concatenate([noise[1], noise[0], noise[2]]), noise[0][:0], noise[0][:0])
    assert len(within) >= len(alone)
    np.testing.assert_array_equal(within, whole[RATE // features.TOKEN_SAMPLES :])
    assert not np.allclose(within[: len(alone)], alone)
