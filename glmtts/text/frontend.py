"""Text to what the AR model reads: normalised, cut into segments, in phonemes where wanted, as ids.

Knows nothing about speech: neither voices nor how a segment's ids become audio. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from glmtts.errors import TextError
from glmtts.text import g2p, normalize
from glmtts.text.characters import SPECIAL_SPAN
from glmtts.text.segment import segment, units
from glmtts.text.tokenizer import Tokenizer

MAX_IDS = 400


@dataclass(frozen=True)
class Segment:
    """A piece of a request that is spoken in one go. `index` counts from 0; `ids` are text ids (n,), n ≥ 1."""

    index: int
    text: str
    ids: tuple[int, ...]


class Frontend:
    """Text to segments. Immutable, so one instance serves all threads.

    replace, able and lexicon are those of `g2p.G2P`; phoneme_default says whether a text is read in phoneme mode
    when the caller does not. `cut` cuts a normalised text into segments; none has more than `max_ids` ids.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        replace: Mapping[str, str] | None = None,
        able: AbstractSet[str] | None = None,
        lexicon: Mapping[str, str] | None = None,
        phoneme_default: bool = False,
        *,
        max_ids: int = MAX_IDS,
        cut: Callable[[str], list[str]] = segment,
    ) -> None:
        self._tokenizer = tokenizer
        self._replace = replace or {}
        self._able, self._lexicon = able, lexicon
        self._g2p = g2p.G2P(self._replace, able, lexicon, known=tokenizer.phonemes)
        self._phoneme_default = phoneme_default
        self._max_ids = max_ids
        self._cut = cut

    def replacing(self, words: Mapping[str, str]) -> Frontend:
        """Another front end, in which `words` come before what is replaced here.

        TextError (field "g2p_replace") for a word with a token in it, or a pronunciation that this model has not.
        """
        for word, spoken in words.items():
            unknown = [span[0] for span in SPECIAL_SPAN.finditer(spoken) if span[0] not in self._tokenizer.phonemes]
            if not word or unknown or SPECIAL_SPAN.search(word) or "\0" in word + spoken:
                message = f"{word!r} to {spoken!r}: wanted text to phonemes <|…|> of this model, or to other text"
                raise TextError(message, field="g2p_replace")
        return Frontend(
            self._tokenizer,
            {**self._replace, **words},
            self._able,
            self._lexicon,
            self._phoneme_default,
            max_ids=self._max_ids,
            cut=self._cut,
        )

    def warm(self) -> None:
        """Loads the grammars and dictionaries (about three seconds) before the first request needs them."""
        normalize.warm()
        g2p.warm()

    def segments(self, text: str, *, phoneme: bool | None = None, segmented: bool = False) -> list[Segment]:
        """The pieces of `text` as they will be spoken, at least one.

        `segmented`: `text` is that of one piece from an earlier call, which is spoken as it is: to normalise or cut it
        again could change it. TextError (field "text") when nothing speakable is left, or the text has a special
        token that is no phoneme of this model, a NUL, or half a surrogate pair.
        """
        checked = self._checked(text, "text")
        if segmented:
            return [self._segment(text, self._phoneme_default if phoneme is None else phoneme)]
        whole = normalize.normalize(checked)
        result: list[Segment] = []
        for piece in self._cut(whole):
            for spoken, ids in self._fitted(piece, self._phoneme_default if phoneme is None else phoneme):
                result.append(Segment(len(result), spoken, ids))
        if not result:
            raise TextError(
                "the text has nothing to speak; letters, digits or Chinese characters are wanted", field="text"
            )
        return result

    def _segment(self, text: str, phoneme: bool) -> Segment:
        if not normalize.speakable(text):
            raise TextError("the segment has nothing to speak", field="text")
        ids = self._ids(text, phoneme)
        if len(ids) > self._max_ids:
            message = f"the segment has {len(ids)} ids; at most {self._max_ids} are wanted, as in those of this model"
            raise TextError(message, field="text")
        return Segment(0, text, ids)

    def prompt_ids(self, transcript: str, *, phoneme: bool | None = None) -> tuple[int, ...]:
        """Ids (n,) of a reference recording's transcript: normalised, plus one space; () for an empty transcript.

        TextError (field "reference_text") as for `segments`, but nothing speakable counts as empty.
        """
        text = normalize.normalize(self._checked(transcript, "reference_text"))
        if not normalize.speakable(text):
            return ()
        return self._ids(text + " ", self._phoneme_default if phoneme is None else phoneme)

    def _checked(self, text: str, field: str) -> str:
        if "\0" in text:
            raise TextError(
                f"the {field} has a NUL at character {text.index(chr(0))}; plain text is wanted", field=field
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            message = f"the {field} has half a surrogate pair at character {error.start}; valid Unicode is wanted"
            raise TextError(message, field=field) from error
        text = normalize.clean(text)
        for span in SPECIAL_SPAN.finditer(text):
            if span[0] not in self._tokenizer.phonemes:
                message = f"the {field} has {span[0]!r}; of the tokens <|…|> only this model's phonemes may stand in it"
                raise TextError(message, field=field)
        return text

    def _ids(self, text: str, phoneme: bool) -> tuple[int, ...]:
        written = self._g2p(text) if phoneme else text
        return tuple(self._tokenizer.encode(written, allow_special=self._tokenizer.phonemes))

    def _fitted(self, piece: str, phoneme: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
        """A piece normalised again, as it now ends a segment; halved until its ids fit."""
        text = normalize.normalize(piece)
        if not normalize.speakable(text):
            return
        ids = self._ids(text, phoneme)
        halves = _halves(piece)
        if len(ids) <= self._max_ids or halves is None:
            yield text, ids
            return
        for half in halves:
            yield from self._fitted(half, phoneme)


def _halves(piece: str) -> tuple[str, str] | None:
    """A piece cut between two units near its middle, or inside its only unit; None when it cannot be cut."""
    parts = units(piece)
    if len(parts) == 1 and not SPECIAL_SPAN.search(piece):
        parts = list(piece.strip())
    if len(parts) < 2:
        return None
    middle = len(parts) // 2
    return "".join(parts[:middle]), "".join(parts[middle:])
