from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from glmtts.config import MEL_BY_RATE, GenerationConfig
from glmtts.dsp.features import log_mel
from glmtts.errors import AudioError
from glmtts.models.encoders.speaker_encoder import CampPlus
from glmtts.models.encoders.speech_tokenizer import WhisperVQ, WhisperVQConfig
from glmtts.models.llm.prompt_score import PromptScore
from glmtts.voice.digest import voice_digest
from glmtts.voice.prompt_check import PromptCheck
from glmtts.voice.voice import VoiceMaker

TOKENIZER = WhisperVQConfig(
    d_model=8,
    encoder_attention_heads=2,
    encoder_ffn_dim=16,
    num_mel_bins=5,
    max_source_positions=1500,
    quantize_vocab_size=11,
    quantize_position=1,
    pooling_position=1,
    pooling_kernel_size=2,
    pooling_type="avg",
)


def unscored(text: tuple[int, ...], speech: Sequence[int]) -> PromptScore:
    """A checkpoint without limits scores nothing."""
    raise AssertionError("scored")


def code_points(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


@pytest.fixture(scope="module")
def maker() -> VoiceMaker:
    torch.manual_seed(0)
    return VoiceMaker(
        CampPlus().eval(),
        WhisperVQ(TOKENIZER).eval(),
        MEL_BY_RATE,
        PromptCheck(GenerationConfig(), unscored, code_points),
    )


def recording(samples: int, rate: int, seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).standard_normal(samples) * 0.1
    buffer = io.BytesIO()
    soundfile.write(buffer, noise, rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def test_a_voice_has_every_part(maker: VoiceMaker) -> None:
    """A second of audio gives 192 numbers, 25 tokens, 50 frames at each output rate and the text's ids."""
    voice = maker.make_voice(recording(16000, 16000), " 你好 ")
    assert voice.speaker.shape == (192,)
    assert voice.speaker.dtype == torch.float32
    assert voice.prompt_tokens.shape == (25,)
    assert voice.prompt_tokens.dtype == torch.int64
    assert {rate: tuple(mel.shape) for rate, mel in voice.prompt_mels.items()} == {24000: (50, 80), 32000: (50, 80)}
    assert voice.prompt_text == code_points("你好")
    assert voice.reference_text == "你好"


def test_the_text_is_read_in_the_given_language(maker: VoiceMaker) -> None:
    """And such a voice is another one than that of the same text in no given language."""

    def prompt_ids(text: str, language: str = "its own") -> tuple[int, ...]:
        return code_points(f"{text} in {language}")

    maker = replace(maker, check=replace(maker.check, prompt_ids=prompt_ids))
    plain, chinese = (maker.make_voice(recording(16000, 16000), "1, 2", language) for language in (None, "zh"))
    assert plain.prompt_text == code_points("1, 2 in its own")
    assert (chinese.prompt_text, chinese.language) == (code_points("1, 2 in zh"), "zh")
    assert chinese.digest != plain.digest


@pytest.mark.parametrize("rate", [8000, 11025, 24000, 44100, 48000])
@pytest.mark.parametrize("seconds", [1.0, 1.019, 1.021, 1.0399, 1.25])
def test_tokens_and_frames_cover_the_same_stretch(maker: VoiceMaker, rate: int, seconds: float) -> None:
    """For any rate and length there are exactly two frames per token, and less than 60 ms are dropped."""
    samples = round(seconds * rate)
    voice = maker.make_voice(recording(samples, rate))
    tokens = len(voice.prompt_tokens)
    assert {len(mel) for mel in voice.prompt_mels.values()} == {2 * tokens}
    assert -0.001 < samples / rate - tokens / 25 < 0.06


def test_a_voice_keeps_no_more_than_it_has(maker: VoiceMaker) -> None:
    """Nothing of what was cut off stays in memory: caches count what they see."""
    voice = maker.make_voice(recording(20000, 16000))
    parts = [voice.speaker, voice.prompt_tokens, *voice.prompt_mels.values()]
    assert [part.untyped_storage().nbytes() for part in parts] == [part.nbytes for part in parts]


def test_the_mel_is_that_of_the_audio(maker: VoiceMaker) -> None:
    """At its own rate the prompt mel is the audio's log-mel, frames first."""
    data = recording(24000, 24000)
    wave, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    expected = log_mel(torch.from_numpy(wave).unsqueeze(0), MEL_BY_RATE[24000])[0].T
    torch.testing.assert_close(maker.make_voice(data).prompt_mels[24000], expected)


def test_without_a_text_there_is_no_prompt_text(maker: VoiceMaker) -> None:
    """An empty or blank reference text gives no ids."""
    assert maker.make_voice(recording(16000, 16000), " \n").prompt_text == ()


def test_a_recording_that_does_not_fit_gives_timbre_only(maker: VoiceMaker) -> None:
    """The model scores the transcript's ids and the tokens; after a no the rest of the voice is as it was."""
    scored: list[tuple[tuple[int, ...], Sequence[int]]] = []

    def score(text: tuple[int, ...], speech: Sequence[int]) -> PromptScore:
        scored.append((text, speech))
        return PromptScore(0.5 if text == code_points("你好") else 3.0, 0.0)

    check = PromptCheck(GenerationConfig(max_prompt_nll=2.5), score, code_points)
    choosy = replace(maker, check=check)
    data = recording(16000, 16000)
    followed, strange = choosy.make_voice(data, "你好"), choosy.make_voice(data, "再见")
    assert scored[0] == (code_points("你好"), followed.prompt_tokens.tolist())
    assert (followed.prompt_text, followed.prompted) == (code_points("你好"), True)
    assert (strange.prompt_text, strange.prompted, strange.reference_text) == ((), False, "再见")
    assert torch.equal(strange.prompt_tokens, followed.prompt_tokens)
    assert strange.digest == voice_digest(data, "再见")
    assert not choosy.make_voice(data).prompted
    assert len(scored) == 2


def test_a_recording_beyond_the_longest_prompt_is_cut(maker: VoiceMaker) -> None:
    """Tokens and mels are cut alike; without a transcript to match there is timbre only."""
    short = replace(maker, check=PromptCheck(GenerationConfig(max_prompt_seconds=1.2), unscored, code_points))
    voice = short.make_voice(recording(48000, 16000))
    assert len(voice.prompt_tokens) == 30
    assert {len(mel) for mel in voice.prompt_mels.values()} == {60}


def test_the_digest_depends_on_audio_and_text(maker: VoiceMaker) -> None:
    """Equal bytes and texts give equal digests, without decoding; a change in either gives another."""
    data = recording(16000, 16000)
    digest = maker.make_voice(data, "hello").digest
    assert digest == voice_digest(data, "hello") == maker.make_voice(data, " hello\n").digest
    others = {
        voice_digest(data, "hallo"),
        voice_digest(recording(16000, 16000, seed=1), "hello"),
        voice_digest(data, ""),
    }
    assert digest not in others
    assert len(others) == 3


def test_a_voice_can_be_used_outside_inference_mode(maker: VoiceMaker) -> None:
    """A voice's tensors can take part in a training step."""
    voice = maker.make_voice(recording(16000, 16000))
    assert not any(t.is_inference() for t in (voice.speaker, voice.prompt_tokens, *voice.prompt_mels.values()))


def test_unusable_audio_makes_no_voice(maker: VoiceMaker) -> None:
    """The audio is checked before anything is computed from it."""
    with pytest.raises(AudioError, match=r"got 0\.5 s"):
        maker.make_voice(recording(8000, 16000))
