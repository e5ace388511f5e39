"""Frozen configurations, one per component, with the keys of a checkpoint's files.

Unknown keys are errors: a misspelt key that is silently ignored is a wrong model. Hugging Face configs (Llama, Whisper)
may have more keys than are used here; transformers parses those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from glmtts.errors import CheckpointError

T = TypeVar("T")


def from_mapping(cls: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Builds the frozen dataclass `cls` from `values`; lists become tuples.

    Raises CheckpointError with `where` and all unknown or missing keys.
    """
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]  # T is always a dataclass here
    unknown = sorted(set(values) - known)
    if unknown:
        raise CheckpointError(f"{where}: expected keys of {cls.__name__} ({sorted(known)}), got {unknown}")
    try:
        return cls(**{key: _freeze(value) for key, value in values.items()})
    except TypeError as error:
        raise CheckpointError(f"{where}: {error}") from error


def _freeze(value: Any) -> Any:
    return tuple(_freeze(item) for item in value) if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class DiTConfig:
    """The flow's estimator, with the names of the published config.

    `time_dim`: width of the time embedding; None means `trans_dim`, as published, which makes the modulation of the
    blocks mostly one of time. With few solver steps a small width suffices.
    """

    trans_dim: int
    depth: int
    heads: int
    dim_head: int
    ff_mult: int
    text_emb_dim: int
    conv_layers: int
    text_vocab_size: int
    mel_dim: int = 80
    condition_dim: int = 80
    spkr_emb_adaLN: bool = True  # noqa: N815 - the checkpoint's own spelling
    wav_lm_emb: bool = False
    time_dim: int | None = None


@dataclass(frozen=True)
class FlowConfig:
    """Tokens to mel. Rates in Hz; `inference_cfg_rate` is the guidance weight w in (1+w)·cond − w·uncond."""

    dit: DiTConfig
    spk_embed_dim: int = 192
    speech_token_cfg: bool = False
    remove_spkr_concat_condition: bool = True
    inference_cfg_rate: float = 0.7
    n_timesteps: int = 10
    t_scheduler: str = "cosine"
    input_frame_rate: int = 25
    mel_framerate: int = 50


@dataclass(frozen=True)
class HiFTConfig:
    """HiFT vocoder; the defaults are the official 24 kHz sizes (`hift.pt` has no config beside it).

    `mel_corrections`: how often the output is corrected towards its mel (`glmtts.models.vocoder.mel_correction`).
    """

    in_channels: int = 80
    base_channels: int = 512
    nb_harmonics: int = 8
    sampling_rate: int = 24000
    nsf_alpha: float = 0.1
    nsf_sigma: float = 0.003
    nsf_voiced_threshold: float = 10.0
    upsample_rates: tuple[int, ...] = (8, 5, 3)
    upsample_kernel_sizes: tuple[int, ...] = (16, 11, 7)
    istft_n_fft: int = 16
    istft_hop_len: int = 4
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    source_resblock_kernel_sizes: tuple[int, ...] = (7, 7, 11)
    source_resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    lrelu_slope: float = 0.1
    audio_limit: float = 0.99
    f0_cond_channels: int = 512
    mel_corrections: int = 0


@dataclass(frozen=True)
class GenerationConfig:
    """How the AR model generates (`llm/generation.json`), and within which limits it was trained.

    The defaults are the published constants; limits that the published checkpoint does not state are off.

    Length of a segment with n text ids, in speech tokens: at least max(`min_ratio` × n, `min_tokens`,
    `min_tokens_per_weight` × its `glmtts.text.segment.spoken_weight`), at most `max_ratio` × n + `extra_tokens`.
    `phoneme` is the default for phoneme mode.

    Segments: with `segment_by` "punctuation" one may end at any punctuation, with "sentence" only at the end of a
    sentence, once its weight is `min_segment_weight` (`glmtts.text.segment`); none weighs more than
    `max_segment_weight`. At most `history_segments` earlier segments prompt the next one; None: all that fit.

    Prompts: reference audio longer than `max_prompt_seconds` is cut at a pause. It gives timbre only, and does not
    prompt the AR model, if it has fewer than `min_prompt_ratio` speech tokens per text id, or if the negative
    log-likelihood of its tokens, given the text, exceeds `max_prompt_nll` nats per token, or that of an end after them
    `max_prompt_end_nll` nats (`glmtts.voice.prompt_check`).

    Speed: the flow makes speeds from `min_speed` to `max_speed`, and a time stretch what lies beyond
    (`glmtts.dsp.time_stretch`); None: the flow makes every speed.

    Redraws: a segment of n text ids is expected to have `tokens_per_id` × n + `base_tokens` speech tokens; None turns
    all of this off. It is implausible if it is cut at its maximum, ends as soon as it may, or has less than
    `min_length_ratio` or more than `max_length_ratio` times as many tokens. It is short if `max_length_ratio` times as
    many are at most `max_redraw_tokens`; then they are its maximum. A short segment that is implausible is drawn again,
    at most `max_redraws` times (`glmtts.engine.scheduling.redraws`).

    `alignment_heads`: (layer, head) pairs whose attention follows the text, from which the words' timing is read
    (`glmtts.models.llm.alignment`); none: it is estimated.
    """

    top_p: float = 0.8
    top_k: int = 25
    win_size: int = 10
    tau_r: float = 0.1
    temperature: float = 1.0
    min_ratio: float = 2.0
    max_ratio: float = 20.0
    phoneme: bool = False
    min_tokens: int = 0
    min_tokens_per_weight: float = 0.0
    extra_tokens: int = 0
    segment_by: Literal["punctuation", "sentence"] = "punctuation"
    min_segment_weight: float = 30.0
    max_segment_weight: float = 60.0
    history_segments: int | None = None
    max_prompt_seconds: float | None = None
    min_prompt_ratio: float | None = None
    max_prompt_nll: float | None = None
    max_prompt_end_nll: float | None = None
    min_speed: float | None = None
    max_speed: float | None = None
    tokens_per_id: float | None = None
    base_tokens: float = 0.0
    min_length_ratio: float = 0.5
    max_length_ratio: float = 2.0
    max_redraws: int = 0
    max_redraw_tokens: int = 24
    alignment_heads: tuple[tuple[int, int], ...] = ()

    def expected_tokens(self, text_ids: int) -> float | None:
        """Speech tokens that a segment of `text_ids` ids is expected to become; None if the checkpoint doesn't say."""
        return None if self.tokens_per_id is None else self.tokens_per_id * text_ids + self.base_tokens

    @property
    def calibrated(self) -> bool:
        """Whether the thresholds are stated that tell bad prompts and implausible lengths; else none are dropped."""
        thresholds = (self.min_prompt_ratio, self.max_prompt_nll, self.max_prompt_end_nll, self.tokens_per_id)
        return None not in thresholds

    @property
    def stated_limits(self) -> dict[str, Any]:
        """The limits for segments, history, prompts and speed, by name; without those that are off."""
        names = (
            "segment_by",
            "max_segment_weight",
            "history_segments",
            "max_prompt_seconds",
            "min_tokens",
            "min_tokens_per_weight",
            "extra_tokens",
            "max_redraws",
            "min_speed",
            "max_speed",
        )
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def __post_init__(self) -> None:
        if self.segment_by not in ("punctuation", "sentence"):
            raise CheckpointError(
                f'generation.segment_by: expected "punctuation" or "sentence", got {self.segment_by!r}'
            )
        for name, first, last in (("min_speed", 0.25, 1.0), ("max_speed", 1.0, 4.0)):
            value = getattr(self, name)
            if value is not None and not first <= value <= last:
                raise CheckpointError(f"generation.{name}: expected {first} to {last}, got {value!r}")
        if self.max_redraws and self.tokens_per_id is None:
            raise CheckpointError("generation.tokens_per_id: expected a number when max_redraws is above 0, got null")


NumberFormat = Literal["auto", "float32", "bfloat16"]
LlmFormat = Literal[NumberFormat, "int8"]
"""`auto`: what suits the device, see `glmtts.checkpoint.precision`."""


@dataclass(frozen=True)
class StageFormats:
    """The number format of each stage's weights and of most of its arithmetic; that of int8 is in floating point."""

    llm: LlmFormat = "auto"
    flow: NumberFormat = "auto"
    vocoder: NumberFormat = "auto"


EXACT_FORMATS = StageFormats("float32", "float32", "float32")


@dataclass(frozen=True)
class MelConfig:
    """Log-mel features at one output rate: `hop` and `n_fft` in samples, `fmin` and `fmax` in Hz."""

    sample_rate: int
    n_fft: int
    hop: int
    n_mels: int = 80
    fmin: float = 0.0
    fmax: float = 8000.0


MEL_24K = MelConfig(sample_rate=24000, n_fft=1920, hop=480)
MEL_32K = MelConfig(sample_rate=32000, n_fft=2560, hop=640)
MEL_BY_RATE = {mel.sample_rate: mel for mel in (MEL_24K, MEL_32K)}
