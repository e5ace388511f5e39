"""The pinyin of each Chinese character of a text, in context.

jieba cuts the text into tagged words, pypinyin's dictionaries give their readings, and the rules of
`glmtts.text.zh.polyphones` decide where the dictionaries can't. Traditional characters are looked up as simplified
ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache, partial
from itertools import groupby
from typing import Any

from glmtts.text.characters import is_hanzi, simplified
from glmtts.text.zh import polyphones, unknown_words

# pypinyin gives these two interjections a syllable without a vowel; they sound like those on the right.
_VOWELLESS = str.maketrans({"嗯": "恩", "呣": "母"})
_TAGS = {"ad": "a", "an": "a", "vn": "v", "vd": "v", "nr": "h"}
_MANY = 4
_LONGEST_RUN = 100
"""Most characters without punctuation that jieba gets at once."""


def readings(text: str) -> list[str]:
    """The pinyin of each character of `text` with a tone digit, 5 for neutral: `["zhang3", "de5"]`.

    "" stands for a character that isn't Chinese or that the dictionaries lack. Tones are those of the dictionaries:
    sandhi is left to the model.
    """
    plain = simplified(text)
    words = list(_words(plain.translate(_VOWELLESS)))
    tags = "".join(tag * len(word) for word, tag in words)
    starts: list[int] = []
    for word, _ in words:
        starts.extend([len(starts)] * len(word))
    windows = polyphones.Windows(plain, tags, starts)
    result: list[str] = []
    for word, _ in words:
        for phrase in _phrases(word):
            for default in _dictionary(phrase):
                at = len(result)
                result.append(_reading(text[at], plain[at], windows, at, default, len(phrase) > 1))
    return result


def _reading(char: str, plain: str, windows: polyphones.Windows, index: int, default: str, in_phrase: bool) -> str:
    """The reading of `char`, `plain` in simplified form, at `index`. `default` is the dictionary's, "" for none."""
    ruled = char if polyphones.has_rules(char) else plain
    spoken = (default and polyphones.reading(ruled, windows, index, in_phrase=in_phrase)) or default
    if char == plain:
        return spoken
    # Of a traditional character only its own readings count: 髮 is fa4, though 发 has two, and 乾 never gan4.
    own = _own_readings(char)
    fits = any(spoken == one or (spoken[-1:] == "5" and spoken[:-1] == one[:-1]) for one in own)
    return spoken if fits or not own else own[0]


def _words(text: str) -> Iterator[tuple[str, str]]:
    """Words and their tags: jieba's for Chinese, single characters with `.`, `m`, `e` or `x` for all else."""
    for segmentable, group in groupby(_repeats(text), key=lambda pair: pair[1] and is_hanzi(pair[0])):
        run = "".join(char for char, _ in group)
        if segmentable:
            # jieba's time grows faster than the text.
            for start in range(0, len(run), _LONGEST_RUN):
                for word, tag in _segmented(run[start : start + _LONGEST_RUN]):
                    yield word, _TAGS.get(tag[:2], tag[:1])
        else:
            yield from ((char, _character_tag(char)) for char in run)


def _segmented(run: str) -> Iterator[tuple[str, str]]:
    """jieba's words of a run of Chinese characters, with its tags: the dictionary's, and between them unknown ones."""
    cut, frequencies = _segmenter()
    for several, group in groupby(cut(run), key=lambda pair: len(pair.word) > 1):
        pairs = [(pair.word, pair.flag) for pair in group]
        singles = "".join(word for word, _ in pairs)
        if several or len(pairs) == 1 or frequencies.get(singles):
            yield from pairs
        else:
            yield from unknown_words.words(singles)


def _repeats(text: str) -> Iterator[tuple[str, bool]]:
    """The characters of a text, each with whether jieba may look at it.

    One that jieba's model lacks, or that is repeated, makes no words, so these stand alone.
    """
    known = _known_characters()
    for char, group in groupby(text):
        repeated = len(list(group))
        yield from ((char, char in known and repeated < _MANY) for _ in range(repeated))


def _character_tag(char: str) -> str:
    if is_hanzi(char):
        return "x"
    return "m" if char.isdecimal() else "e" if char.isalpha() else "."


@cache
def _known_characters() -> frozenset[str]:
    """The characters in jieba's model of unknown words."""
    _segmenter()
    from jieba.posseg import char_state_tab

    return frozenset(char_state_tab.P)


def _phrases(word: str) -> list[str]:
    """A word cut into the phrases that pypinyin's dictionary has, and single characters."""
    from pypinyin.seg.mmseg import seg

    if len(word) == 1:
        return [word]
    pieces: list[str] = []
    for piece in seg.cut(word):
        pieces.extend([piece] if piece in _phrase_dictionary() else piece)
    return pieces


def _dictionary(phrase: str) -> list[str]:
    """The dictionary's pinyin of each character of a phrase or of a single character; "" where it has none."""
    from pypinyin import Style, pinyin

    if not is_hanzi(phrase[0]):
        return [""]

    def unknown(run: str) -> Any:  # pypinyin takes a list here, one entry a character, but types it as a string
        return [[""] for _ in run]

    found = pinyin(phrase, Style.TONE3, errors=unknown, neutral_tone_with_five=True)
    return [options[0] for options in found]


@cache
def _phrase_dictionary() -> Any:
    from pypinyin.phrases_dict import phrases_dict

    return phrases_dict


@lru_cache(maxsize=1 << 14)
def _own_readings(char: str) -> list[str]:
    """All readings that the dictionary has for a character, the most common one first."""
    from pypinyin import Style, pinyin

    found = pinyin(char, Style.TONE3, heteronym=True, errors="ignore", neutral_tone_with_five=True)
    return found[0] if found else []


@cache
def _segmenter() -> tuple[Callable[[str], list[Any]], Mapping[str, int]]:
    """jieba's part-of-speech segmenter by its dictionary alone, text to pairs with `.word` and `.flag`, and how often
    each word of the dictionary occurs. Loads once, in about two seconds."""
    with warnings.catch_warnings():
        # jieba 0.42.1 has invalid escapes in its regular expressions, which Python reports whenever it compiles
        # the package afresh, and older setuptools call the pkg_resources that it tries for deprecated.
        for category in (SyntaxWarning, DeprecationWarning, UserWarning):
            warnings.simplefilter("ignore", category)
        import jieba
        import jieba.posseg
    words = jieba.Tokenizer()
    # What `initialize` does, without its cache in the shared temporary folder (it is read with marshal, so whoever
    # writes it first controls this process) and without its messages on stderr.
    words.FREQ, words.total = words.gen_pfdict(words.get_dict_file())
    words.initialized = True
    tagger = jieba.posseg.POSTokenizer(words)
    return partial(tagger.lcut, HMM=False), words.FREQ


def warm() -> None:
    """Loads jieba's and pypinyin's dictionaries, so that no request waits for them."""
    polyphones.warm()
    readings("汉字")
