"""Graphemes to phonemes: which characters of a normalised text are spoken by name, and by which names.

Mandarin goes by pypinyin over jieba's words (initial + final with tone, neutral tone 5); English, where a
checkpoint brings a lexicon, by that. A phoneme is written as its token: `<|ZH|><|III1|>`.
Knows nothing about ids, and does not normalise.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from itertools import groupby
from typing import Any

from glmtts.text.characters import SPECIAL_SPAN, is_hanzi

Syllable = tuple[str, ...]
"""Phoneme names of one character, as `("ZH", "III1")`; empty when nothing is known of it."""

_RETROFLEX = frozenset({"zh", "ch", "sh", "r"})
_DENTAL = frozenset({"z", "c", "s"})
# pypinyin gives these two interjections a syllable without a vowel; they sound like those of the right side.
_VOWELLESS = str.maketrans({"嗯": "恩", "呣": "母"})
_PART = 3
_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*")


def phonemes_zh(text: str, able: AbstractSet[str] = frozenset()) -> str:
    """`text` with every Chinese character that is not in `able` written as its phoneme tokens.

    Runs of Chinese are read in context (words decide polyphones). All else, spans `<|…|>` included, stays.
    """
    parts: list[str] = []
    for hanzi, group in groupby(text, key=is_hanzi):
        run = "".join(group)
        parts.append("".join(_spoken(run, lambda char: char in able, None)) if hanzi else run)
    return "".join(parts)


def syllables(hanzi: str) -> list[Syllable]:
    """The phoneme names of each character of a run of Chinese, in context: one entry a character."""
    from pypinyin import Style, pinyin

    def unknown(run: str) -> Any:  # pypinyin takes a list here, one entry a character, but types it as a string
        return [[""] for _ in run]

    result: list[Syllable] = []
    for pair in _segmenter()(hanzi.translate(_VOWELLESS)):
        word: str = pair.word
        initials = pinyin(word, Style.INITIALS, strict=True, errors=unknown)
        finals = pinyin(word, Style.FINALS_TONE3, strict=True, errors=unknown, neutral_tone_with_five=True)
        assert len(initials) == len(finals) == len(word)
        result.extend(_names(i[0], f[0]) for i, f in zip(initials, finals, strict=True))
    return result


def _names(initial: str, final: str) -> Syllable:
    if not final:
        return ()
    if final.startswith("i") and initial in _RETROFLEX:
        final = "ii" + final
    elif final.startswith("i") and initial in _DENTAL:
        final = "i" + final
    return (initial.upper(), final.upper()) if initial else (final.upper(),)


def _spoken(run: str, stays: Callable[[str], bool], known: AbstractSet[str] | None) -> Iterator[str]:
    for char, names in zip(run, syllables(run), strict=True):
        tokens = [f"<|{name}|>" for name in names]
        nameless = not tokens or (known is not None and not known >= set(tokens))
        yield char if nameless or stays(char) else "".join(tokens)


class G2P:
    """Writes a normalised text for phoneme mode. Immutable after construction; cheap to make.

    replace: pronunciations by text, the longest key first; values are written as they are (`<|…|>` and text).
    able:    characters that the model reads well by themselves, so they stay; None takes those of which
             pypinyin's dictionaries leave no doubt (`plain`).
    lexicon: English words in lower case to their phone tokens, or None. A word that it lacks is taken for a plural, for
             two of its words in one, or spelled.
    known:   tokens of the model's vocabulary, or None for all; a character that needs others stays.
    """

    def __init__(
        self,
        replace: Mapping[str, str],
        able: AbstractSet[str] | None,
        lexicon: Mapping[str, str] | None = None,
        known: AbstractSet[str] | None = None,
    ) -> None:
        self._replace = {key: value for key, value in replace.items() if key}
        self._able = able
        self._lexicon = lexicon
        self._known = known
        keys = sorted(self._replace, key=len, reverse=True)
        # A span that stands in the text is never looked into: it comes first.
        self._cut = re.compile("|".join([f"({SPECIAL_SPAN.pattern})", *map(re.escape, keys)]))

    def __call__(self, text: str) -> str:
        """`text` with phoneme tokens in place of what is replaced, doubtful, or in the English lexicon."""
        parts: list[str] = []
        end = 0
        for match in self._cut.finditer(text):
            parts.append(self._plain(text[end : match.start()]))
            parts.append(match[0] if match[1] else self._replace[match[0]])
            end = match.end()
        parts.append(self._plain(text[end:]))
        return "".join(parts)

    def _plain(self, text: str) -> str:
        able = plain() if self._able is None else self._able
        parts: list[str] = []
        for hanzi, group in groupby(text, key=is_hanzi):
            run = "".join(group)
            parts.extend(_spoken(run, able.__contains__, self._known) if hanzi else [self._english(run)])
        return "".join(parts)

    def _english(self, text: str) -> str:
        if self._lexicon is None:
            return text

        def spoken(match: re.Match[str]) -> str:
            word = match[0].lower().replace("’", "'")
            return self._word(word) or self._compound(word) or self._spelled(word) or match[0]

        return _WORD.sub(spoken, text)

    def _word(self, word: str) -> str | None:
        """Phone tokens of a lower-case word: the lexicon's, else for a plural or possessive its stem's with an s."""
        assert self._lexicon is not None
        if word in self._lexicon:
            return self._lexicon[word]
        stem = word.removesuffix("'s") if word.endswith("'s") else word.removesuffix("s")
        if stem != word and stem in self._lexicon:
            ending = self._ending(stem)
            return None if ending is None else self._lexicon[stem] + ending
        return None

    def _compound(self, word: str) -> str | None:
        """A word that is two known ones, each of `_PART` letters or more, the first as long as can be: chat|bot."""
        assert self._lexicon is not None
        for cut in range(len(word) - _PART, _PART - 1, -1):
            first, second = self._lexicon.get(word[:cut]), self._word(word[cut:])
            if first is not None and second is not None:
                return first + second
        return None

    def _spelled(self, word: str) -> str | None:
        """An unknown word letter by letter: better than letters that the model has never read."""
        assert self._lexicon is not None
        letters = [self._lexicon.get(letter) for letter in word if letter != "'"]
        known = [letter for letter in letters if letter is not None]
        return " ".join(known) if len(known) == len(letters) else None

    def _ending(self, stem: str) -> str | None:
        """The tokens of a possessive s after `stem`, taken from a plural of the same sound in the lexicon."""
        assert self._lexicon is not None
        if re.search(r"(?:s|x|z|ch|sh|[csgz]e)$", stem):
            one, many = "horse", "horses"
        elif re.search(r"(?:[ptkfc]|th|ph|[ptkf]e)$", stem):
            one, many = "cat", "cats"
        else:
            one, many = "dog", "dogs"
        singular, plural = self._lexicon.get(one), self._lexicon.get(many)
        if singular is None or plural is None or not plural.startswith(singular):
            return None
        return plural.removeprefix(singular)


@cache
def plain() -> frozenset[str]:
    """Characters that need no phonemes: common in pypinyin's phrases, and there almost always read one way.

    Common: in at least 3 phrases. One way: no second reading in more than 5 % of them.
    """
    from pypinyin.phrases_dict import phrases_dict

    readings: dict[str, Counter[str]] = {}
    for phrase, pronunciation in phrases_dict.items():
        for char, options in zip(phrase, pronunciation, strict=False):
            readings.setdefault(char, Counter())[options[0]] += 1
    return frozenset(
        char
        for char, counts in readings.items()
        if counts.total() >= 3 and max(counts.values()) >= 0.95 * counts.total()
    )


@cache
def _segmenter() -> Callable[[str], list[Any]]:
    """jieba's part-of-speech segmenter: text to pairs with `.word`. Loads once, in about two seconds."""
    with warnings.catch_warnings():
        # jieba 0.42.1 has invalid escapes in its regular expressions, which Python reports whenever it compiles
        # the package afresh, and older setuptools call the pkg_resources that it tries for deprecated.
        for category in (SyntaxWarning, DeprecationWarning, UserWarning):
            warnings.simplefilter("ignore", category)
        import jieba
        import jieba.posseg
    words = jieba.Tokenizer()
    # What `initialize` does, without its cache in the shared temporary folder (read with marshal, so whoever
    # writes it first owns us) and without its chatter on stderr.
    words.FREQ, words.total = words.gen_pfdict(words.get_dict_file())
    words.initialized = True
    cut: Callable[[str], list[Any]] = jieba.posseg.POSTokenizer(words).lcut
    return cut


def warm() -> None:
    """Loads pypinyin's and jieba's dictionaries, so that no request waits for them."""
    syllables("汉字")
    plain()
