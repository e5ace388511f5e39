"""The text front end: text to segments of ids, normalised, split and, in phoneme mode, converted to phonemes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from glmtts.errors import LanguageError, TextError
from glmtts.text import markup
from glmtts.text.characters import SPECIAL_SPAN
from glmtts.text.foreign import leave_out, writing_systems
from glmtts.text.frontend import g2p, normalize
from glmtts.text.language import LANGUAGES, NAMES, Language
from glmtts.text.segment import segment, units
from glmtts.text.tokenizer import Tokenizer

MAX_IDS = 400


@dataclass(frozen=True)
class Segment:
    """A part of a request that is synthesised as a whole. `index` counts from 0; `ids` are text ids (n,), n ≥ 1."""

    index: int
    text: str
    ids: tuple[int, ...]


class Frontend:
    """Text to segments. Immutable, so one instance serves all threads.

    replace, single_char_ok and lexicon: see `g2p.G2P`. phoneme_default: whether text is read in phoneme mode if the
    caller does not say. max_ids: limit of the ids per segment. cut: splits a normalised text into segments.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        replace: Mapping[str, str] | None = None,
        single_char_ok: AbstractSet[str] | None = None,
        lexicon: Mapping[str, str] | None = None,
        phoneme_default: bool = False,
        *,
        max_ids: int = MAX_IDS,
        cut: Callable[[str], list[str]] = segment,
    ) -> None:
        self._tokenizer = tokenizer
        self._replace = replace or {}
        self._single_char_ok, self._lexicon = single_char_ok, lexicon
        self._g2p = g2p.G2P(self._replace, single_char_ok, lexicon, known=tokenizer.phonemes)
        self._replaced = _any_of(self._replace)
        self._phoneme_default = phoneme_default
        self._max_ids = max_ids
        self._cut = cut

    def with_replacements(self, words: Mapping[str, str]) -> Frontend:
        """A new front end in which `words` come before the replacements of this one.

        TextError (field "g2p_replace") for a word that contains a token, or a pronunciation this model does not have.
        """
        for word, spoken in words.items():
            unknown = [span[0] for span in SPECIAL_SPAN.finditer(spoken) if span[0] not in self._tokenizer.phonemes]
            if not word or unknown or SPECIAL_SPAN.search(word) or "\0" in word + spoken:
                message = "g2p_replace: expected text mapped to phonemes <|…|> of this model or to other text, got "
                raise TextError(f"{message}{word!r} mapped to {spoken!r}", field="g2p_replace")
        return Frontend(
            self._tokenizer,
            {**self._replace, **words},
            self._single_char_ok,
            self._lexicon,
            self._phoneme_default,
            max_ids=self._max_ids,
            cut=self._cut,
        )

    def warm(self) -> None:
        """Loads the grammars and dictionaries, which takes about three seconds, before the first request needs them."""
        markup.warm()
        normalize.warm()
        g2p.warm()

    def segments(
        self,
        text: str,
        *,
        phoneme: bool | None = None,
        segmented: bool = False,
        language: Language | None = None,
        strip_markup: bool = True,
    ) -> list[Segment]:
        """The segments of `text`, at least one.

        `segmented`: `text` is one segment of an earlier call and is used as it is, because normalising or splitting it
        again could change it. `language` says how numbers and signs are read; None leaves it to the text's characters.
        `strip_markup`: whether Markdown and HTML are left out, see `glmtts.text.markup`. Characters of other languages
        are left out, see `foreign_characters`.

        TextError (field "text") if nothing speakable is left, or the text has a special token that is not a phoneme of
        this model, a NUL, or half a surrogate pair; LanguageError if all there is to speak is in another language.
        """
        cleaned, foreign = self._prepare(text, language, strip_markup=strip_markup and not segmented)
        phoneme = self._phoneme_default if phoneme is None else phoneme
        if segmented:
            return [self._segment(cleaned if foreign else text, phoneme, foreign)]
        result: list[Segment] = []
        for part in self._cut(normalize.normalize(cleaned, language)):
            for spoken, ids in self._fit(part, phoneme, language):
                result.append(Segment(len(result), spoken, ids))
        if not result:
            raise _nothing_to_speak(foreign)
        return result

    def foreign_characters(self, text: str, *, language: Language | None = None, strip_markup: bool = True) -> str:
        """The characters of `text` that `segments` leaves out, because they belong to another language."""
        return self._prepare(text, language, strip_markup=strip_markup)[1]

    def pronunciation(self, text: str) -> list[tuple[str, str]]:
        """What will be said of a segment's text, see `G2P.pronunciation`."""
        return self._g2p.pronunciation(text)

    def _segment(self, text: str, phoneme: bool, foreign: str) -> Segment:
        if not normalize.speakable(text):
            raise _nothing_to_speak(foreign)
        ids = self._ids(text, phoneme)
        if len(ids) > self._max_ids:
            raise TextError(f"text: expected a segment of at most {self._max_ids} ids, got {len(ids)}", field="text")
        return Segment(0, text, ids)

    def prompt_ids(
        self, reference_text: str, *, phoneme: bool | None = None, language: Language | None = None
    ) -> tuple[int, ...]:
        """Ids (n,) of a reference text, normalised, plus one space; () if there is nothing to speak.

        `language` as in `segments`. TextError (field "reference_text") for the same characters and tokens as there.
        """
        text, _ = leave_out(self._clean(reference_text, "reference_text"), language, self._replaced)
        text = normalize.normalize(text, language)
        if not normalize.speakable(text):
            return ()
        return self._ids(text + " ", self._phoneme_default if phoneme is None else phoneme)

    def _prepare(self, text: str, language: Language | None, *, strip_markup: bool) -> tuple[str, str]:
        """A text as it is normalised, and the foreign characters that are left out."""
        text = self._clean(text, "text")
        if strip_markup:
            text = self._clean(markup.strip_markup(text), "text")
        return leave_out(text, language, self._replaced)

    def _clean(self, text: str, field: str) -> str:
        """`normalize.clean` of `text`; TextError for what no text may have."""
        if "\0" in text:
            raise TextError(f"{field}: expected plain text, got a NUL at character {text.index(chr(0))}", field=field)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            message = f"{field}: expected valid Unicode, got half a surrogate pair at character {error.start}"
            raise TextError(message, field=field) from error
        text = normalize.clean(text)
        for span in SPECIAL_SPAN.finditer(text):
            if span[0] not in self._tokenizer.phonemes:
                message = f"{field}: expected no tokens <|…|> but this model's phonemes, got {span[0]!r}"
                raise TextError(message, field=field)
        return text

    def _ids(self, text: str, phoneme: bool) -> tuple[int, ...]:
        converted = self._g2p(text) if phoneme else text
        return tuple(self._tokenizer.encode(converted, allow_special=self._tokenizer.phonemes))

    def _fit(self, part: str, phoneme: bool, language: Language | None) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Text and ids of a part, normalised again because its end is now a segment's; halved until its ids fit."""
        text = normalize.normalize(part, language)
        if not normalize.speakable(text):
            return
        ids = self._ids(text, phoneme)
        halves = _halves(part)
        if len(ids) <= self._max_ids or halves is None:
            yield text, ids
            return
        for half in halves:
            yield from self._fit(half, phoneme, language)


def _nothing_to_speak(foreign: str) -> TextError:
    """The error for a text of which nothing is left but, perhaps, what is `foreign`."""
    if foreign:
        spoken = " or ".join(f"{NAMES[language]} ({language})" for language in LANGUAGES)
        return LanguageError(f"text: expected {spoken}, got only {writing_systems(foreign)}", field="text")
    return TextError("text: expected letters, digits or Chinese characters, got nothing to speak", field="text")


def _any_of(words: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern of these words, the longest first."""
    words = sorted(filter(None, words), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words))) if words else None


def _halves(part: str) -> tuple[str, str] | None:
    """A part split between two units near its middle, or inside its only unit; None if it cannot be split."""
    parts = units(part)
    if len(parts) == 1 and not SPECIAL_SPAN.search(part):
        parts = list(part.strip())
    if len(parts) < 2:
        return None
    middle = len(parts) // 2
    return "".join(parts[:middle]), "".join(parts[middle:])
