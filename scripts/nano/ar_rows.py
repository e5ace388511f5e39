"""Training rows of the AR model, in the layout of serving: a prompt, earlier segments, and a new segment.

All are of one voice. There are 1 to 12 seconds of prompt or none, and up to four earlier segments; the new segment is a
word, a phrase or one to three sentences. Some prompts are by another speaker, end within a word, or are degraded like
a recording of a room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scripts.nano import features
from scripts.nano.data import OTHER_LANGUAGE_SHARE, Pools, Utterance, Weights

MAX_POSITIONS = 1150  # of a row
NO_PROMPT_SHARE, OTHER_SPEAKER_SHARE, DEGRADED_SHARE, TRUNCATED_SHARE = 0.2, 0.1, 0.25, 0.25  # of prompts
PROMPT_SECONDS = (1.0, 12.0)
EARLIER_SHARES = (0.5, 0.25, 0.12, 0.08, 0.05)  # of rows with 0, 1, … earlier segments
SHORT_TARGET_SHARE, SHORT_EARLIER_SHARE = 0.38, 0.15  # of segments that are a word or a phrase
SENTENCE_SHARES = (0.75, 0.2, 0.05)  # of segments of 1, 2, 3 sentences
MAX_TRUNCATED_TOKENS = 6  # of a truncated prompt
SHORT_FILLER_SECONDS = 1.5  # remaining length of a prompt to be filled with a short text
TEMPO_RANGE, MAX_NOISE = (
    (0.75, 1.3),
    0.35,
)  # of a degraded prompt: its length relative to the original, and the largest share of random tokens


class Example(NamedTuple):
    """Text ids (n,), speech tokens (m,), and the position in the text of each speech token (m,), −1 if unknown.

    There is no loss on the first `num_given` speech tokens.
    """

    text: list[int]
    speech: NDArray[np.int64]
    position: NDArray[np.int64]
    num_given: int = 0

    @property
    def size(self) -> int:
        """Positions of text and speech."""
        return len(self.text) + len(self.speech)


def degrade(prompt: Example, rng: np.random.Generator) -> Example:
    """A prompt with another tempo and with random tokens, as the tokenizer makes of an unfamiliar recording."""
    count = max(int(len(prompt.speech) * rng.uniform(*TEMPO_RANGE)), 1)
    kept = np.linspace(0, len(prompt.speech) - 1, count).round().astype(int)
    noise = rng.integers(0, features.CODES, count)
    speech = np.where(rng.random(count) < rng.uniform(0, MAX_NOISE), noise, prompt.speech[kept])
    return Example(prompt.text, speech, prompt.position[kept], num_given=count)


def join(parts: list[Example], space: list[int]) -> Example:
    """Several utterances as one: all texts, then all speech. Only the first may have given tokens."""
    text: list[int] = []
    places: list[NDArray[np.int64]] = []
    for part in parts:
        places.append(np.where(part.position < 0, -1, part.position + len(text)))
        text += part.text + space
    text = text[: len(text) - len(space)]
    return Example(text, np.concatenate([p.speech for p in parts]), np.concatenate(places), parts[0].num_given)


class RowSampler:
    """Samples rows. `read` returns the Example of an utterance; `space` has the ids of a space."""

    def __init__(
        self,
        read: Callable[[Utterance], Example],
        space: list[int],
        sentences: Pools,
        short: Pools,
        weights: Weights,
    ) -> None:
        self._read, self._space = read, space
        self._sentences, self._short, self._weights = sentences, short, weights

    def sample(self, rng: np.random.Generator) -> Example:
        """A row of at most MAX_POSITIONS; earlier segments, then the prompt, are left out if they don't fit."""
        speaker = self._speaker(rng)
        parts = [self._segment(speaker, rng, SHORT_TARGET_SHARE)]
        room = MAX_POSITIONS - parts[0].size
        prompt = None
        if rng.random() >= NO_PROMPT_SHARE:
            prompt = self._prompt(self._speaker(rng) if rng.random() < OTHER_SPEAKER_SHARE else speaker, rng)
            room -= prompt.size
        for _ in range(int(rng.choice(len(EARLIER_SHARES), p=EARLIER_SHARES))):
            earlier = self._segment(speaker, rng, SHORT_EARLIER_SHARE)
            room -= earlier.size
            if room < 0:
                break
            parts.insert(0, earlier)
        total = sum(part.size for part in parts)
        fits = prompt is not None and total + prompt.size <= MAX_POSITIONS
        return join([prompt, *parts] if prompt is not None and fits else parts, [])

    def _speaker(self, rng: np.random.Generator) -> tuple[str, str]:
        return list(self._sentences)[int(rng.choice(len(self._weights), p=self._weights))]

    def _utterance(self, speaker: tuple[str, str], rng: np.random.Generator, *, short: bool = False) -> Utterance:
        """A sentence or a short text, sometimes in the voice's other language."""
        others = [key for key in self._sentences if key[0] == speaker[0] and key != speaker]
        key = others[0] if others and rng.random() < OTHER_LANGUAGE_SHARE else speaker
        pool = (self._short.get(key) if short else None) or self._sentences[key]
        return pool[int(rng.integers(len(pool)))]

    def _segment(self, speaker: tuple[str, str], rng: np.random.Generator, short: float) -> Example:
        if rng.random() < short:
            return self._read(self._utterance(speaker, rng, short=True))
        count = 1 + int(rng.choice(len(SENTENCE_SHARES), p=SENTENCE_SHARES))
        sentences = [self._utterance(speaker, rng) for _ in range(count)]
        return join([self._read(u) for u in sentences], self._space if sentences[0].lang == "en" else [])

    def _prompt(self, speaker: tuple[str, str], rng: np.random.Generator) -> Example:
        missing = rng.uniform(*PROMPT_SECONDS)
        utterances: list[Utterance] = []
        while missing > 0:
            utterances.append(self._utterance(speaker, rng, short=missing < SHORT_FILLER_SECONDS))
            missing -= utterances[-1].seconds
        prompt = join([self._read(utterance) for utterance in utterances], self._space)
        prompt = prompt._replace(text=prompt.text + self._space)
        if rng.random() < TRUNCATED_SHARE:
            kept = max(len(prompt.speech) - int(rng.integers(1, MAX_TRUNCATED_TOKENS + 1)), 1)
            prompt = prompt._replace(speech=prompt.speech[:kept], position=prompt.position[:kept])
        return degrade(prompt, rng) if rng.random() < DEGRADED_SHARE else prompt
