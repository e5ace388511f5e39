"""A voice: what the models are conditioned on, made from reference audio and its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from glmtts.config import MelConfig
from glmtts.dsp.audio import FRAMES_PER_TOKEN, VOICE_RATE, Wave
from glmtts.dsp.features import log_mel, resample
from glmtts.dsp.pauses import find_pauses
from glmtts.models.encoders.speaker_encoder import CampPlus
from glmtts.models.encoders.speech_tokenizer import WhisperVQ
from glmtts.voice.digest import voice_digest
from glmtts.voice.prompt_check import PromptCheck
from glmtts.voice.reference_audio import load_reference_audio


@dataclass(frozen=True, eq=False)
class Voice:
    """Reference audio as conditioning, on the CPU. Compare voices by `digest`, not by `==`.

    speaker: (192,) float32, the speaker encoder's output, not normalised.
    prompt_tokens: (n,) int64 speech tokens of the audio, 25 per second.
    prompt_mels: by output rate in Hz, log-mel (2·n, 80) float32 of the same stretch.
    prompt_text: ids of what is said in prompt_tokens. Empty without a text, and if the audio cannot prompt the AR model
        by it: then the voice gives timbre only. Both may be less than was given (`glmtts.voice.prompt_check`).
    digest: `voice_digest` of what the voice was made from.
    language: in which reference_text was read; None left that to its characters.
    """

    speaker: Tensor
    prompt_tokens: Tensor
    prompt_mels: Mapping[int, Tensor]
    prompt_text: tuple[int, ...]
    reference_text: str
    digest: str
    language: Literal["en", "zh"] | None = None

    @property
    def prompted(self) -> bool:
        """Whether the voice prompts the AR model; else it gives timbre only."""
        return bool(self.prompt_text)


@dataclass(frozen=True, eq=False)
class VoiceMaker:
    """Makes voices with one checkpoint's models. `mels` by output rate in Hz."""

    speaker_encoder: CampPlus
    speech_tokenizer: WhisperVQ
    mels: Mapping[int, MelConfig]
    check: PromptCheck

    def make_voice(
        self, reference_audio: bytes, reference_text: str = "", language: Literal["en", "zh"] | None = None
    ) -> Voice:
        """The voice of encoded audio of 1–30 s. Raises AudioError (see `load_reference_audio`) and TextError.

        `language`: says how numbers and signs of the text are read; None leaves it to the text's characters.
        """
        wave, rate = load_reference_audio(reference_audio)
        reference_text = reference_text.strip()
        wave_16k = torch.from_numpy(resample(wave, rate, VOICE_RATE))
        tokens = self.speech_tokenizer.tokenize(wave_16k)
        mels = {mel.sample_rate: self._prompt_mel(wave, rate, mel) for mel in self.mels.values()}
        # The tokenizer rounds up and the mel rounds down, so the last token may have no frames: the flow would then
        # repeat it at the start of the new speech. Keep what both have.
        n = min(len(tokens), *(len(mel) // FRAMES_PER_TOKEN for mel in mels.values()))
        form = self.check(reference_text, tokens[:n].tolist(), find_pauses(wave, rate), language)
        return Voice(
            speaker=self.speaker_encoder.embed(wave_16k),
            # Clones: a view keeps all that it was cut from.
            prompt_tokens=tokens[: form.tokens].clone(),
            prompt_mels={rate: mel[: form.tokens * FRAMES_PER_TOKEN].clone() for rate, mel in mels.items()},
            prompt_text=form.text,
            reference_text=reference_text,
            digest=voice_digest(reference_audio, reference_text, language),
            language=language,
        )

    @staticmethod
    def _prompt_mel(wave: Wave, rate: int, config: MelConfig) -> Tensor:
        """Log-mel (t, mels), contiguous."""
        resampled = torch.from_numpy(resample(wave, rate, config.sample_rate))
        return log_mel(resampled.unsqueeze(0), config)[0].T.contiguous()
