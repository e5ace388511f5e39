"""`synthesize` on a tiny random checkpoint."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from glmtts.checkpoint.loader import Model, load
from glmtts.dsp import time_stretch
from glmtts.dsp.time_stretch import TimeStretch
from glmtts.engine.runtime.offline import SynthesisResult, synthesize, tokens_to_mel
from glmtts.errors import InputError, TextError, UnsupportedError
from glmtts.voice.voice import Voice
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint

# Three segments: one ends at punctuation once it weighs 30.
LONG = "，".join("今天天气很好" for _ in range(11)) + "。"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    # A quarter of a token a byte: these random models never stop by themselves.
    ratios = {"min_ratio": 0.1, "max_ratio": 0.25}
    return load(write_tiny_checkpoint(tmp_path_factory.mktemp("c") / "tiny", generation=ratios), device="cpu")


@pytest.fixture(scope="module")
def voice(model: Model) -> Voice:
    """A voice of a second of coloured noise, with a text."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).standard_normal(24000).cumsum()
    soundfile.write(buffer, noise / np.abs(noise).max() / 2, 24000, format="WAV")
    return model.voice_maker.make_voice(buffer.getvalue(), "hello")


def say(model: Model, voice: Voice, text: str = "你好世界", **options: object) -> SynthesisResult:
    return synthesize(model, text, voice, **options)  # type: ignore[arg-type]  # tests give each its own type


def test_an_utterance_has_the_length_of_its_tokens(model: Model, voice: Voice) -> None:
    """Each speech token is 40 ms: 2 frames of 480 samples at 24 kHz, finite and within [-1, 1]."""
    speech = say(model, voice)
    report = speech.report
    assert speech.sample_rate == 24000
    assert speech.wave.dtype == np.float32
    assert len(speech.wave) == 960 * report.speech_tokens == 24000 * report.audio_seconds > 0
    assert np.isfinite(speech.wave).all()
    assert 0 < np.abs(speech.wave).max() <= 1
    assert report.speech_tokens == sum(map(len, speech.tokens))
    assert (report.segments_done, report.text_ids) == (1, len(speech.segments[0].ids))
    assert set(report.stage_seconds) == {"text", "ar", "flow", "vocoder"}


def test_the_same_seed_gives_the_same_waveform(model: Model, voice: Voice) -> None:
    """Equal calls give equal samples; another seed gives other tokens."""
    first, again, other = say(model, voice, seed=7), say(model, voice, seed=7), say(model, voice, seed=8)
    assert first.tokens == again.tokens != other.tokens
    assert np.array_equal(first.wave, again.wave)


def test_segments_have_their_own_randomness(model: Model, voice: Voice) -> None:
    """The waveform is the segments' own, joined; two segments of equal text and prompt have different audio."""
    speech = say(model, voice, LONG, use_history=False)
    assert len(speech.segments) > 1
    assert len(set(speech.tokens)) == len(speech.tokens)
    assert len(speech.wave) == 960 * sum(map(len, speech.tokens))


def test_history_prompts_later_segments(model: Model, voice: Voice) -> None:
    """With history the first segment is the same as without, and a later one differs."""
    chained, alone = say(model, voice, LONG), say(model, voice, LONG, use_history=False)
    assert chained.segments == alone.segments
    assert chained.tokens[0] == alone.tokens[0]
    assert chained.tokens[1:] != alone.tokens[1:]


def test_speed_changes_the_length_and_not_the_tokens(model: Model, voice: Voice) -> None:
    """Speed 2 fills half as many frames, speed 0.5 twice as many, with the same tokens."""
    plain, fast, slow = (say(model, voice, speed=speed) for speed in (1.0, 2.0, 0.5))
    assert plain.tokens == fast.tokens == slow.tokens
    assert (len(fast.wave), len(slow.wave)) == (len(plain.wave) // 2, len(plain.wave) * 2)


@pytest.mark.skipif(not time_stretch.AVAILABLE, reason="libsonic needs Python 3.11")
def test_each_segment_is_stretched_for_itself(model: Model, voice: Voice) -> None:
    """At a speed beyond the model's, the first segment sounds the same whatever follows, and so do its tokens."""
    limited = replace(model, generation=replace(model.generation, max_speed=1.0))
    plain, fast = say(model, voice, LONG), say(limited, voice, LONG, speed=2.0)
    assert plain.tokens == fast.tokens
    assert fast.report.audio_seconds == pytest.approx(plain.report.audio_seconds / 2, rel=0.01)
    first = TimeStretch(2.0, 24000)
    alone = np.concatenate([first.feed(plain.wave[: 960 * len(plain.tokens[0])]), first.finish()])
    np.testing.assert_array_equal(fast.wave[: len(alone)], alone)


def test_a_segment_cut_off_has_finish_reason_length(voice: Voice, tmp_path: Path) -> None:
    """A segment that reached its maximum without the end token has the finish reason `length`."""
    folder = write_tiny_checkpoint(tmp_path / "c", generation={"min_ratio": 1.0, "max_ratio": 1.0})
    assert say(load(folder, device="cpu"), voice, "好").report.finish_reason == "length"


def test_a_model_that_ends_at_once_is_silent(voice: Voice, tmp_path: Path) -> None:
    """No tokens give no samples, and the finish reason is `stop`."""
    generation = {"min_ratio": 0.0, "max_ratio": 2.0, "top_k": 1}
    mute = load(write_tiny_checkpoint(tmp_path / "c", generation=generation), device="cpu")
    timbre = replace(voice, prompt_text=())
    ids = (*mute.frontend.segments("好")[0].ids, mute.special.boa)
    hidden = mute.llm(torch.tensor([ids])).hidden[0, -1]
    mute.llm.lm_head.weight.zero_()
    mute.llm.lm_head.weight[mute.special.eoa] = hidden  # the only score above 0 is the end's
    speech = say(mute, timbre, "好")
    assert speech.tokens == ((),)
    assert speech.wave.shape == (0,)
    assert (speech.report.finish_reason, speech.report.segments_done) == ("stop", 1)


def test_the_prompt_shapes_the_mel(model: Model, voice: Voice) -> None:
    """Another speaker vector gives another mel of the same length."""
    key = torch.tensor([5])
    other = replace(voice, speaker=-voice.speaker)
    with torch.inference_mode():
        one, two = (tokens_to_mel(model, (1, 2, 3), v, 24000, key, 6) for v in (voice, other))
    assert one.shape == two.shape == (1, 80, 6)
    assert not torch.equal(one, two)


def test_a_voice_without_transcript_gives_timbre_only(model: Model, voice: Voice) -> None:
    """Without a reference text the AR model gets no speech prompt, and synthesis still works."""
    timbre = replace(voice, prompt_text=())
    assert len(say(model, timbre).wave) > 0


@pytest.mark.parametrize(
    ("options", "error", "field"),
    [
        ({"text": "😀"}, TextError, "text"),
        ({"text": "<|user|>"}, TextError, "text"),
        ({"sample_rate": 16000}, UnsupportedError, "sample_rate"),
        ({"speed": 4.1}, InputError, "speed"),
        ({"speed": float("nan")}, InputError, "speed"),
        ({"seed": -1}, InputError, "seed"),
        ({"seed": 2**63}, InputError, "seed"),
    ],
)
def test_invalid_requests_are_refused(
    options: dict[str, object], error: type[InputError], field: str, model: Model, voice: Voice
) -> None:
    """Unspeakable text, and rates, speeds and seeds out of range, are errors with the field."""
    with pytest.raises(error) as caught:
        say(model, voice, **options)  # type: ignore[arg-type]
    assert caught.value.field == field
