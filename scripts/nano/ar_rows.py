"""The rows that the AR model is trained on, as serving makes them: a prompt, earlier segments, and a new one.

All are of one voice. Prompts last 1 to 12 seconds, or there is none; earlier segments are none to four; the new
segment is a word, a phrase or one to three sentences. Some prompts are by a stranger, break off within a word, or are
as rough as a recording from a room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scripts.nano import features
from scripts.nano.data import OTHER_LANGUAGE, Pools, Utterance, Weights

LONGEST = 1150  # positions of a row
UNPROMPTED, STRANGER, ROUGH, BROKEN_OFF = 0.2, 0.1, 0.25, 0.25  # how often
PROMPT_SECONDS = (1.0, 12.0)
EARLIER = (0.5, 0.25, 0.12, 0.08, 0.05)  # how often 0, 1, … earlier segments stand before the new one
SHORT_TARGETS, SHORT_EARLIER = 0.38, 0.15  # how often a segment is a word or a phrase
SENTENCES = (0.75, 0.2, 0.05)  # how often a segment of sentences has 1, 2, 3
MOST_LOST = 6  # tokens of a prompt that breaks off
REST = 1.5  # seconds of a prompt that a short text fills
TEMPOS, NOISE = (0.75, 1.3), 0.35  # of a rough prompt: in tokens for one, and the share that is any token, at most


class Example(NamedTuple):
    """Text ids (n,), speech tokens (m,), and for each token the place in the text that it speaks (m,), −1 if unknown.

    The first `given` tokens are there to be followed, not to be learnt.
    """

    text: list[int]
    speech: NDArray[np.int64]
    place: NDArray[np.int64]
    given: int = 0

    @property
    def size(self) -> int:
        """Positions of text and speech."""
        return len(self.text) + len(self.speech)


def rough(prompt: Example, rng: np.random.Generator) -> Example:
    """As a recording might come whose speaker has another tempo, and of whom the tokens understand only a part."""
    count = max(int(len(prompt.speech) * rng.uniform(*TEMPOS)), 1)
    kept = np.linspace(0, len(prompt.speech) - 1, count).round().astype(int)
    noise = rng.integers(0, features.CODES, count)
    speech = np.where(rng.random(count) < rng.uniform(0, NOISE), noise, prompt.speech[kept])
    return Example(prompt.text, speech, prompt.place[kept], given=count)


def join(parts: list[Example], space: list[int]) -> Example:
    """Several utterances as one: all texts, then all speech. Only the first may be given."""
    text: list[int] = []
    places: list[NDArray[np.int64]] = []
    for part in parts:
        places.append(np.where(part.place < 0, -1, part.place + len(text)))
        text += part.text + space
    text = text[: len(text) - len(space)]
    return Example(text, np.concatenate([p.speech for p in parts]), np.concatenate(places), parts[0].given)


class Rows:
    """Makes rows. `read` gives an utterance's Example, `space` are the ids of a space."""

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

    def draw(self, rng: np.random.Generator) -> Example:
        """A row of at most LONGEST positions; earlier segments, then the prompt, are left out where they do not fit."""
        speaker = self._speaker(rng)
        parts = [self._segment(speaker, rng, SHORT_TARGETS)]
        room = LONGEST - parts[0].size
        prompt = None
        if rng.random() >= UNPROMPTED:
            prompt = self._prompt(self._speaker(rng) if rng.random() < STRANGER else speaker, rng)
            room -= prompt.size
        for _ in range(int(rng.choice(len(EARLIER), p=EARLIER))):
            earlier = self._segment(speaker, rng, SHORT_EARLIER)
            room -= earlier.size
            if room < 0:
                break
            parts.insert(0, earlier)
        total = sum(part.size for part in parts)
        fits = prompt is not None and total + prompt.size <= LONGEST
        return join([prompt, *parts] if prompt is not None and fits else parts, [])

    def _speaker(self, rng: np.random.Generator) -> tuple[str, str]:
        return list(self._sentences)[int(rng.choice(len(self._weights), p=self._weights))]

    def _utterance(self, speaker: tuple[str, str], rng: np.random.Generator, *, short: bool = False) -> Utterance:
        """A sentence or a short text, now and then in the voice's other language."""
        others = [key for key in self._sentences if key[0] == speaker[0] and key != speaker]
        key = others[0] if others and rng.random() < OTHER_LANGUAGE else speaker
        pool = (self._short.get(key) if short else None) or self._sentences[key]
        return pool[int(rng.integers(len(pool)))]

    def _segment(self, speaker: tuple[str, str], rng: np.random.Generator, short: float) -> Example:
        if rng.random() < short:
            return self._read(self._utterance(speaker, rng, short=True))
        count = 1 + int(rng.choice(len(SENTENCES), p=SENTENCES))
        said = [self._utterance(speaker, rng) for _ in range(count)]
        return join([self._read(utterance) for utterance in said], self._space if said[0].lang == "en" else [])

    def _prompt(self, speaker: tuple[str, str], rng: np.random.Generator) -> Example:
        missing = rng.uniform(*PROMPT_SECONDS)
        said: list[Utterance] = []
        while missing > 0:
            said.append(self._utterance(speaker, rng, short=missing < REST))
            missing -= said[-1].seconds
        prompt = join([self._read(utterance) for utterance in said], self._space)
        prompt = prompt._replace(text=prompt.text + self._space)
        if rng.random() < BROKEN_OFF:
            kept = max(len(prompt.speech) - int(rng.integers(1, MOST_LOST + 1)), 1)
            prompt = prompt._replace(speech=prompt.speech[:kept], place=prompt.place[:kept])
        return rough(prompt, rng) if rng.random() < ROUGH else prompt
