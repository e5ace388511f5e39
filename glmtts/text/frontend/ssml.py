"""SSML: a text in a `<speak>` element, in which elements say how it is read.

Understood are `<break time>`, `<phoneme alphabet ph>`, `<say-as interpret-as>`, `<sub alias>`, `<lang xml:lang>`, `<p>`
and `<s>`. All else is an error, and so is a document type: it could define entities that grow without bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn
from xml.parsers import expat

from glmtts.errors import TextError
from glmtts.text.characters import SPECIAL_SPAN, has_chinese
from glmtts.text.compatibility import clean
from glmtts.text.frontend.say_as import phonemes, read_in, say_as
from glmtts.text.language import LANGUAGES, Language
from glmtts.text.pause import MAX_PAUSE_SECONDS, parse_time

_DOCUMENT = re.compile(r"\s*(?:<\?xml[^<>]{0,200}\?>\s*)?(?:<speak[\s/>]|<!DOCTYPE\s(?!\s*html))")
_PRIVATE_USE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]")

# A span of tokens is no XML, so it travels as one private-use character, with others that keep its length.
_FIRST_STANDIN = 0xF0000
_FILLER = "\uf8ff"

_ATTRIBUTES = {
    "speak": {"version", "xmlns", "xml:lang"},
    "p": {"xml:lang"},
    "s": {"xml:lang"},
    "lang": {"xml:lang"},
    "break": {"time"},
    "phoneme": {"alphabet", "ph"},
    "say-as": {"interpret-as"},
    "sub": {"alias"},
}
_LINES = {"p", "s"}
_TEXT_ONLY = {"break", "phoneme", "say-as", "sub"}
_REQUIRED = {"lang", *_TEXT_ONLY}
"""Elements that must have all their attributes."""


@dataclass(frozen=True)
class TextBlock:
    """Text to be normalised and split, its language ("zh", "en" or None for unknown), and the silence after it."""

    text: str
    language: Language | None = None
    pause_seconds: float = 0.0


@dataclass
class _Element:
    """An open element. `language`: of its text, None if none was given."""

    name: str
    attributes: dict[str, str]
    language: Language | None
    text: str = ""
    """What a `_TEXT_ONLY` element contains."""


@dataclass(frozen=True)
class _Piece:
    """Text between two tags, or a break if it has `pause_seconds`."""

    text: str
    language: Language | None = None
    interpret_as: str = ""
    pause_seconds: float = 0.0

    @property
    def is_blank(self) -> bool:
        return not self.text.strip() and not self.interpret_as


class _Reader:
    """Collects the pieces of a document, with expat."""

    def __init__(self) -> None:
        self.pieces: list[_Piece] = []
        self.root_language: Language | None = None
        self._open: list[_Element] = []
        self._spans: list[str] = []
        self._parser = expat.ParserCreate("utf-8")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        self._parser.StartDoctypeDeclHandler = lambda *_: self._reject("no document type", "<!DOCTYPE>")
        self._parser.ProcessingInstructionHandler = lambda target, _: self._reject("elements", f"<?{target[:40]}?>")

    def read(self, text: str) -> None:
        """Reads the whole document. TextError if it is not well-formed or not understood."""
        try:
            xml = SPECIAL_SPAN.sub(self._stand_in, _PRIVATE_USE.sub("", text))
            self._parser.Parse(xml.encode("utf-8", "surrogatepass"), True)
        except expat.ExpatError as error:
            where = f"{expat.ErrorString(error.code)} at line {error.lineno}, column {error.offset + 1}"
            raise _error("well-formed SSML", where) from None

    def _stand_in(self, match: re.Match[str]) -> str:
        self._spans.append(match[0])
        return chr(_FIRST_STANDIN + len(self._spans) - 1) + _FILLER * (len(match[0]) - 1)

    def _restore(self, text: str) -> str:
        text = text.replace(_FILLER, "")
        return clean(_PRIVATE_USE.sub(lambda match: self._spans[ord(match[0]) - _FIRST_STANDIN], text))

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        parent = self._open[-1] if self._open else None
        if name not in _ATTRIBUTES or (name == "speak") != (parent is None):
            self._reject(f"the elements {', '.join(_ATTRIBUTES)}", f"<{name[:40]}>")
        if parent is not None and parent.name in _TEXT_ONLY:
            self._reject(f"text in <{parent.name}>", f"<{name}>")
        if unknown := attributes.keys() - _ATTRIBUTES[name]:
            self._reject(f"the attributes {', '.join(sorted(_ATTRIBUTES[name]))} of <{name}>", min(unknown)[:40])
        if name in _REQUIRED and (missing := _ATTRIBUTES[name] - attributes.keys()):
            self._reject(f"{min(missing)} in <{name}>", "none")
        language = parent.language if parent else None
        if "xml:lang" in attributes:
            language = self._language(attributes["xml:lang"])
        if parent is None:
            self.root_language, language = language, None
        self._open.append(_Element(name, attributes, language))
        if name in _LINES:
            self.pieces.append(_Piece("\n"))

    def _end(self, name: str) -> None:
        element = self._open.pop()
        attributes = {key: self._restore(value) for key, value in element.attributes.items()}
        if name in _LINES:
            self.pieces.append(_Piece("\n"))
        elif name == "break":
            self.pieces.append(_Piece("", pause_seconds=self._seconds(attributes["time"])))
        elif name == "phoneme":
            self.pieces.append(_Piece(phonemes(attributes["alphabet"], attributes["ph"]), element.language))
        elif name == "say-as":
            self.pieces.append(_Piece(element.text, element.language, attributes["interpret-as"]))
        elif name == "sub":
            self.pieces.append(_Piece(attributes["alias"], element.language))

    def _data(self, data: str) -> None:
        text = re.sub(r"\s+", " ", self._restore(data))
        element = self._open[-1]
        if element.name in _TEXT_ONLY:
            element.text += text
        else:
            self.pieces.append(_Piece(text, element.language))

    def _seconds(self, time: str) -> float:
        seconds = parse_time(time)
        if seconds is None or seconds > MAX_PAUSE_SECONDS:
            self._reject(f'time="…" of at most {MAX_PAUSE_SECONDS:g}s in ms or s in <break>', repr(time[:40]))
        return seconds

    def _language(self, tag: str) -> Language:
        language = next((language for language in LANGUAGES if tag.lower().split("-")[0] == language), None)
        if language is None:
            self._reject(f"xml:lang {' or '.join(LANGUAGES)}", repr(tag[:40]))
        return language

    def _reject(self, expected: str, actual: str) -> NoReturn:
        where = f"line {self._parser.CurrentLineNumber}, column {self._parser.CurrentColumnNumber + 1}"
        raise _error(expected, f"{actual} at {where}")


def _error(expected: str, actual: str) -> TextError:
    return TextError(f"text: expected {expected}, got {actual}", field="text")


def is_ssml(text: str) -> bool:
    """Whether a text is an SSML document, or another one that `parse` refuses for its document type."""
    return _DOCUMENT.match(text) is not None


def parse(text: str, language: Language | None = None) -> list[TextBlock]:
    """The blocks of an SSML document, which its breaks separate. All but the last are followed by silence.

    language: that of text for which the document does not say it; None leaves it to the characters. TextError (field
    "text") for what is not well-formed or not understood, and for a break before any text.
    """
    reader = _Reader()
    reader.read(text)
    own = [piece.text for piece in reader.pieces if piece.language is None]
    main = reader.root_language or language
    if main is None and "".join(own).strip():
        main = "zh" if has_chinese("".join(own)) else "en"
    return list(_blocks(reader.pieces, main))


def _blocks(pieces: list[_Piece], main: Language | None) -> Iterator[TextBlock]:
    current: list[_Piece] = []
    pause = 0.0
    for piece in pieces:
        if pause and not piece.is_blank:
            yield _block(current, main, pause)
            current, pause = [], 0.0
        if piece.pause_seconds:
            pause += piece.pause_seconds
        else:
            current.append(piece)
    if pause or not all(piece.is_blank for piece in current):
        yield _block(current, main, pause)


def _block(pieces: list[_Piece], main: Language | None, pause: float) -> TextBlock:
    if pause > MAX_PAUSE_SECONDS:
        raise _error(f"at most {MAX_PAUSE_SECONDS:g} s of <break> between two texts", f"{pause:g} s")
    if all(piece.is_blank for piece in pieces):
        raise _error("text before <break>", "none")
    languages = [piece.language for piece in pieces if piece.language]
    main = main or (languages[0] if languages else None)
    return TextBlock("".join(_spoken(piece, main) for piece in pieces), main, pause)


def _spoken(piece: _Piece, main: Language | None) -> str:
    """A piece as a part of a text in the language `main`: in words, if it would be read in another way there."""
    language = piece.language or main
    if piece.interpret_as:
        words = say_as(piece.interpret_as, piece.text, language or "en")
    elif language == main or not piece.text.strip():
        return piece.text
    else:
        words = read_in(piece.text, language or "en")
    # Chinese signs would be lost in an English text.
    words = words if main == "zh" else words.translate(str.maketrans("，。！？；：、", ",.!?;:,"))
    return f" {words} "
