"""The text front end: text to segments of ids, normalised, split and, in phoneme mode, converted to phonemes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import NamedTuple

from glmtts.errors import LanguageError, TextError
from glmtts.text import markup
from glmtts.text.characters import SPECIAL_SPAN
from glmtts.text.foreign import leave_out, writing_systems
from glmtts.text.frontend import g2p, normalize, ssml
from glmtts.text.frontend.words import WordSpan, word_spans
from glmtts.text.language import LANGUAGES, NAMES, Language
from glmtts.text.pause import MAX_PAUSE_SECONDS, split_pause, with_pause
from glmtts.text.segment import segment, spoken_weight, units
from glmtts.text.tokenizer import Tokenizer

MAX_IDS = 400


@dataclass(frozen=True)
class Segment:
    """A part of a request that is synthesised as a whole. `index` counts from 0; `ids` are text ids (n,), n ≥ 1.

    `pause_seconds`: silence after it, 0 to 10. `words`: those whose timing is wanted, see `Frontend.words`.
    """

    index: int
    text: str
    ids: tuple[int, ...]
    pause_seconds: float = 0.0
    words: tuple[WordSpan, ...] = ()

    @property
    def weight(self) -> float:
        """What is heard of it weighs: see `glmtts.text.segment.spoken_weight`."""
        return spoken_weight(self.text)

    @property
    def written(self) -> str:
        """The text with the pause, as `Frontend.segments` takes it back with `segmented`."""
        return with_pause(self.text, self.pause_seconds)


class Reading(NamedTuple):
    """The segments of a text, at least one, and the characters that they leave out as those of another language."""

    segments: list[Segment]
    foreign: str


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
        """The segments of `text`, see `read`."""
        return self.read(
            text, phoneme=phoneme, segmented=segmented, language=language, strip_markup=strip_markup
        ).segments

    def read(
        self,
        text: str,
        *,
        phoneme: bool | None = None,
        segmented: bool = False,
        language: Language | None = None,
        strip_markup: bool = True,
    ) -> Reading:
        """The segments of `text`, and what is left out of them: characters of other languages.

        `segmented`: `text` is one segment of an earlier call and is used as it is, because normalising or splitting it
        again could change it. `language` says how numbers and signs are read; None leaves it to the text's characters.
        `strip_markup`: whether Markdown and HTML are left out, see `glmtts.text.markup`. A text in a `<speak>` element
        is SSML, see `glmtts.text.frontend.ssml`.

        TextError (field "text") if nothing speakable is left, or the text has a special token that is not a phoneme of
        this model, a NUL, half a surrogate pair, or SSML that is not understood; LanguageError if all there is to speak
        is in another language.
        """
        phoneme = self._phoneme_default if phoneme is None else phoneme
        if segmented:
            return self._read_segment(text, phoneme, language)
        blocks, foreign = self._blocks(text, language, strip_markup=strip_markup)
        result: list[Segment] = []
        for block in blocks:
            for part in self._cut(normalize.normalize(block.text, block.language)):
                for spoken, ids in self._fit(part, phoneme, block.language):
                    result.append(Segment(len(result), spoken, ids))
            if block.pause_seconds and result:
                pause = min(MAX_PAUSE_SECONDS, result[-1].pause_seconds + block.pause_seconds)
                result[-1] = replace(result[-1], pause_seconds=pause)
        if not result:
            raise _nothing_to_speak(foreign)
        return Reading(result, foreign)

    def pronunciation(self, text: str) -> list[tuple[str, str]]:
        """What will be said of a segment's text, see `G2P.pronunciation`."""
        return self._g2p.pronunciation(text)

    def words(self, segment: Segment) -> tuple[WordSpan, ...]:
        """The words and Chinese characters of a segment, see `word_spans`."""
        units = list(self._g2p.units(segment.text))
        return word_spans(units, segment.ids, lambda text: self._ids(text, phoneme=False))

    def _read_segment(self, text: str, phoneme: bool, language: Language | None) -> Reading:
        text, pause_seconds = split_pause(text)
        known, foreign = leave_out(self._clean(text, "text"), language, self._replaced)
        text = known if foreign else text
        if not normalize.speakable(text):
            raise _nothing_to_speak(foreign)
        ids = self._ids(text, phoneme)
        if len(ids) > self._max_ids:
            raise TextError(f"text: expected a segment of at most {self._max_ids} ids, got {len(ids)}", field="text")
        return Reading([Segment(0, text, ids, pause_seconds)], foreign)

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

    def _blocks(self, text: str, language: Language | None, *, strip_markup: bool) -> tuple[list[ssml.TextBlock], str]:
        """The blocks of a text as they are normalised, and the foreign characters that are left out of them."""
        cleaned = self._clean(text, "text")
        if ssml.is_ssml(text):
            blocks = ssml.parse(text, language)
        else:
            blocks = [ssml.TextBlock(markup.strip_markup(cleaned) if strip_markup else cleaned, language)]
        parts = [leave_out(self._clean(block.text, "text"), block.language, self._replaced) for block in blocks]
        known = [replace(block, text=part) for block, (part, _) in zip(blocks, parts, strict=True)]
        return known, "".join(foreign for _, foreign in parts)

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
