"""The AR model's prompt: the order of its ids, and bounds on what may follow.

Pure Python on ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from glmtts.config import GenerationConfig
from glmtts.errors import CheckpointError


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the text tokenizer with a meaning for speech; CheckpointError if they contradict each other.

    `ats` and `ate` are the ids of the first and the last speech token (`<|audio_0|>`, `<|audio_32767|>`), `boa`
    (`<|begin_of_audio|>`) begins the speech, `eoa` (`<|user|>`) ends it, `pad` is `<|endoftext|>`.
    """

    ats: int
    ate: int
    boa: int
    eoa: int
    pad: int

    def __post_init__(self) -> None:
        if not self.ats <= self.ate:
            raise CheckpointError(f"speech ids: expected ats <= ate, got {self.ats} and {self.ate}")
        for name in ("boa", "eoa", "pad"):
            if self.ats <= getattr(self, name) <= self.ate:
                raise CheckpointError(
                    f"special ids: {name}: expected an id outside the speech ids {self.ats}–{self.ate}, "
                    f"got {getattr(self, name)}"
                )

    @property
    def speech_tokens(self) -> int:
        """Number of speech tokens; token t has the id t + ats."""
        return self.ate - self.ats + 1

    @property
    def largest(self) -> int:
        """The largest special id: the embedding must have more rows."""
        return max(self.ate, self.boa, self.eoa, self.pad)


@dataclass(frozen=True)
class LengthBounds:
    """A segment has at least `minimum` and at most `maximum` speech tokens.

    One with `maximum` was cut off: finish reason `length`.
    """

    minimum: int
    maximum: int


def prompt_layout(
    prompt_text: Sequence[int], text: Sequence[int], prompt_speech: Sequence[int], special: SpecialIds
) -> tuple[int, ...]:
    """The input ids `[prompt_text, text, boa, prompt_speech + ats]`.

    Args:
        prompt_text: ids of the reference text and, with history, of earlier segments.
        text: ids of the segment to speak.
        prompt_speech: speech tokens (0 … speech_tokens − 1) of the reference audio and of earlier segments.

    As in the published code, speech tokens are shifted only if both prompts are present. Without a reference text give
    no speech prompt either: the model would read its tokens as text.
    """
    shift = special.ats if prompt_text and prompt_speech else 0
    return (*prompt_text, *text, special.boa, *(token + shift for token in prompt_speech))


def length_bounds(text_ids: int, generation: GenerationConfig, weight: float = 0.0) -> LengthBounds:
    """Bounds for a segment of `text_ids` ids and a `weight`, the prompt's not counted: see `GenerationConfig`.

    0 ≤ minimum ≤ maximum, 1 ≤ maximum.
    """
    by_weight = int(weight * generation.min_tokens_per_weight)
    minimum = max(int(text_ids * generation.min_ratio), generation.min_tokens, by_weight)
    maximum = int(text_ids * generation.max_ratio) + generation.extra_tokens
    expected = generation.expected_tokens(text_ids)
    if expected is not None and expected * generation.max_length_ratio <= generation.max_redraw_tokens:
        maximum = min(maximum, int(expected * generation.max_length_ratio))
    return LengthBounds(minimum, max(maximum, minimum, 1))
