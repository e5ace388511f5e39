"""What the AR model is given before it speaks: the order of ids, and how much it may then say (model.md §1).

Pure Python on ids. Knows nothing about text, tensors or sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from glmtts.config import GenerationConfig
from glmtts.errors import CheckpointError


@dataclass(frozen=True)
class SpecialIds:
    """Ids in the text tokenizer that carry a meaning for speech; CheckpointError when they cannot be right.

    `ats` and `ate` are the ids of the first and the last speech token (`<|audio_0|>`, `<|audio_32767|>`), `boa`
    (`<|begin_of_audio|>`) opens the speech, `eoa` (`<|user|>`) ends it, `pad` is `<|endoftext|>`.
    """

    ats: int
    ate: int
    boa: int
    eoa: int
    pad: int

    def __post_init__(self) -> None:
        if not self.ats <= self.ate:
            raise CheckpointError(f"speech ids run from {self.ats} to {self.ate}: the first must not be the greater")
        for name in ("boa", "eoa", "pad"):
            if self.ats <= getattr(self, name) <= self.ate:
                raise CheckpointError(
                    f"special id {name} is {getattr(self, name)}, among the speech ids {self.ats}–{self.ate}"
                )

    @property
    def speech_tokens(self) -> int:
        """How many speech tokens there are; a token t has the id t + ats."""
        return self.ate - self.ats + 1

    @property
    def largest(self) -> int:
        """The largest special id: the embedding must reach beyond it."""
        return max(self.ate, self.boa, self.eoa, self.pad)


@dataclass(frozen=True)
class LengthBounds:
    """A segment draws at least `minimum` and at most `maximum` speech tokens.

    One that drew `maximum` did not come to its end: finish reason `length`.
    """

    minimum: int
    maximum: int


def prompt_layout(
    prompt_text: Sequence[int], text: Sequence[int], prompt_speech: Sequence[int], special: SpecialIds
) -> tuple[int, ...]:
    """The input ids `[prompt_text, text, boa, prompt_speech + ats]`.

    Args:
        prompt_text: ids of the reference's transcript (and of earlier segments, when history is on).
        text: ids of the segment to speak. A speaker's fixed list (SFT checkpoints) goes in front of the result.
        prompt_speech: speech tokens (0 … speech_tokens − 1) of the reference, and of earlier segments.

    The reference shifts the speech tokens only if both prompts are there, and so do we. Without a transcript give no
    speech prompt either: the model would read its tokens as text.
    """
    shift = special.ats if prompt_text and prompt_speech else 0
    return (*prompt_text, *text, special.boa, *(token + shift for token in prompt_speech))


def length_bounds(text_ids: int, generation: GenerationConfig) -> LengthBounds:
    """Bounds for a segment of `text_ids` ids, the prompt's not counted: see `GenerationConfig`. maximum ≥ 1."""
    minimum = max(int(text_ids * generation.min_ratio), generation.min_tokens)
    return LengthBounds(minimum, max(int(text_ids * generation.max_ratio) + generation.extra_tokens, minimum, 1))
