"""A voice: what a reference recording and its transcript become to condition the model.

Puts the parts of this package together. Knows nothing about how recordings are stored or sent, nor how voices are used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from glmtts.config import MelConfig
from glmtts.dsp.audio import FRAMES_PER_TOKEN, VOICE_RATE, Wave
from glmtts.dsp.features import log_mel, resample
from glmtts.dsp.pauses import find_pauses
from glmtts.models.encoders.speaker_encoder import CampPlus
from glmtts.models.encoders.speech_tokenizer import WhisperVQ
from glmtts.voice.prompt_check import PromptCheck
from glmtts.voice.reference_audio import load_recording


@dataclass(frozen=True, eq=False)
class Voice:
    """One recording as conditioning, on the CPU. Two voices are told apart by `digest`, not by `==`.

    speaker: (192,) float32, as the encoder gives it, not normalised.
    prompt_tokens: (n,) int64 speech tokens of the recording, 25 a second.
    prompt_mels: by output rate in Hz, log-mel (2·n, 80) float32 of the same stretch.
    prompt_text: ids of what is said in prompt_tokens; empty without a transcript, and where it does not fit: then the
        voice gives timbre only. Both may be less than was given (`glmtts.voice.prompt_check`).
    digest: `voice_digest` of what it was made from.
    """

    speaker: Tensor
    prompt_tokens: Tensor
    prompt_mels: Mapping[int, Tensor]
    prompt_text: tuple[int, ...]
    transcript: str
    digest: str

    @property
    def prompted(self) -> bool:
        """Whether the recording prompts the AR model; else it gives timbre only."""
        return bool(self.prompt_text)


def voice_digest(recording: bytes, transcript: str) -> str:
    """SHA-256, in hex, of a recording's bytes and its transcript (less space around it): known before decoding."""
    return hashlib.sha256(hashlib.sha256(recording).digest() + transcript.strip().encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class VoiceMaker:
    """Makes voices with one checkpoint's parts; `mels` by output rate in Hz."""

    speaker_encoder: CampPlus
    speech_tokenizer: WhisperVQ
    mels: Mapping[int, MelConfig]
    check: PromptCheck

    def make_voice(self, recording: bytes, transcript: str = "") -> Voice:
        """The voice in an encoded recording of 1–30 s. Raises AudioError (see `load_recording`) and TextError."""
        wave, rate = load_recording(recording)
        transcript = transcript.strip()
        speech = torch.from_numpy(resample(wave, rate, VOICE_RATE))
        tokens = self.speech_tokenizer.tokenize(speech)
        mels = {mel.sample_rate: self._prompt_mel(wave, rate, mel) for mel in self.mels.values()}
        # A started token counts and a started frame does not, so the last token may have no frames: the flow would
        # speak that one's end of the recording again at the start of the new speech. Keep what both have.
        n = min(len(tokens), *(len(mel) // FRAMES_PER_TOKEN for mel in mels.values()))
        form = self.check(transcript, tokens[:n].tolist(), find_pauses(wave, rate))
        return Voice(
            speaker=self.speaker_encoder.embed(speech),
            prompt_tokens=tokens[: form.tokens],
            prompt_mels={rate: mel[: form.tokens * FRAMES_PER_TOKEN] for rate, mel in mels.items()},
            prompt_text=form.text,
            transcript=transcript,
            digest=voice_digest(recording, transcript),
        )

    @staticmethod
    def _prompt_mel(wave: Wave, rate: int, config: MelConfig) -> Tensor:
        """Log-mel (t, mels), contiguous."""
        resampled = torch.from_numpy(resample(wave, rate, config.sample_rate))
        return log_mel(resampled.unsqueeze(0), config)[0].T.contiguous()
