"""English words to phone tokens, by a checkpoint's lexicon and, for heteronyms, by context."""

from __future__ import annotations

import re
from collections.abc import Mapping

from glmtts.text.characters import latin_letters
from glmtts.text.en import arpabet, heteronyms
from glmtts.text.en.inflection import inflected

_LETTERS = "[A-Za-zÀ-ÖØ-öø-ɏḀ-ỿ]+"
WORD = re.compile(rf"{_LETTERS}(?:['’]{_LETTERS})*")
"""An English word, apostrophes and accents included; the lexicon has it without accents (café is cafe)."""

_PART = 3


class Lexicon:
    """Reads English words. `words` has phone tokens by word in lower case.

    A word that it lacks is read as a plural or another form, as two of its words in one, or letter by letter.
    """

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = words

    def read(self, text: str, word: re.Match[str]) -> tuple[str, str]:
        """Phone tokens and ARPAbet of the `WORD` matched in `text`; the word itself and "" if it can't be read."""
        lower = _plain(word[0]).lower().replace("’", "'")
        tokens = self._heteronym(text, word, lower) or self._word(lower)
        tokens = tokens or inflected(lower, self._words.get) or self._compound(lower) or self._spelled(lower)
        return (tokens, arpabet.from_tokens(tokens)) if tokens else (word[0], "")

    def _heteronym(self, text: str, word: re.Match[str], lower: str) -> str | None:
        """Tokens of a heteronym as its context wants it, or None if the lexicon's own reading will do."""
        own = self._words.get(lower)
        if own is None:
            return None
        phones = heteronyms.reading(text, word.start(), word.end())
        if phones is None or arpabet.same(phones, arpabet.from_tokens(own)):
            return own
        # Only a lexicon in the alphabet that `arpabet` knows can be given other phones than its own.
        return arpabet.to_tokens(phones) if arpabet.known(own) else own

    def _word(self, word: str) -> str | None:
        """Phone tokens of a lower-case word: the lexicon's, or for a plural or possessive its stem's with an s."""
        if word in self._words:
            return self._words[word]
        stem = word.removesuffix("'s") if word.endswith("'s") else word.removesuffix("s")
        if stem != word and stem in self._words:
            ending = self._ending(stem)
            return None if ending is None else self._words[stem] + ending
        return None

    def _compound(self, word: str) -> str | None:
        """A word that is two known ones, each of `_PART` letters or more, the first as long as possible: chat|bot."""
        for cut in range(len(word) - _PART, _PART - 1, -1):
            first, second = self._words.get(word[:cut]), self._word(word[cut:])
            if first is not None and second is not None:
                return first + second
        return None

    def _spelled(self, word: str) -> str | None:
        """An unknown word letter by letter, which is better than letters that the model has never read."""
        letters = [self._words.get(letter) for letter in word if letter != "'"]
        known = [letter for letter in letters if letter is not None]
        return " ".join(known) if len(known) == len(letters) else None

    def _ending(self, stem: str) -> str | None:
        """The tokens of a possessive s after `stem`, taken from a plural of the same sound in the lexicon."""
        if re.search(r"(?:s|x|z|ch|sh|[csgz]e)$", stem):
            one, many = "horse", "horses"
        elif re.search(r"(?:[ptkfc]|th|ph|[ptkf]e)$", stem):
            one, many = "cat", "cats"
        else:
            one, many = "dog", "dogs"
        singular, plural = self._words.get(one), self._words.get(many)
        if singular is None or plural is None or not plural.startswith(singular):
            return None
        return plural.removeprefix(singular)


def _plain(word: str) -> str:
    """`word` without accents."""
    return word if word.isascii() else "".join(latin_letters(char) or char for char in word)
