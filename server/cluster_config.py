"""What the whole cluster shares of its configuration: three JSON documents, what they mean here, and what holds now.

A request's own wish comes before a document, that before the settings, those before what is built in. Knows nothing
about Consul or threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from glmtts.errors import InputError
from server.settings import Settings

Key = Literal["default_style", "g2p_replace", "limits"]
KEYS: tuple[Key, ...] = get_args(Key)
MAX_BYTES = 512 * 1024
"""The longest document: Consul takes none that is longer."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class StyleDocument(_Document):
    """`default_style`: what a request means that says nothing of it."""

    emotion: str | None = Field(None, min_length=1, max_length=64)
    speed: float | None = Field(None, ge=0.5, le=2.0)


class LimitsDocument(_Document):
    """`limits`: each tightens what a node was started with, where it is the lesser."""

    max_text_chars: int | None = Field(None, ge=1)
    max_concurrent_requests: int | None = Field(None, ge=1)
    max_backlog_seconds: float | None = Field(None, gt=0)


_Word = Annotated[str, Field(min_length=1, max_length=200)]


class ReplacementsDocument(RootModel[dict[_Word, _Word]]):
    """`g2p_replace`: pronunciations by text, each before the one that the node's own file has for it."""

    model_config = ConfigDict(frozen=True, strict=True)


@dataclass(frozen=True)
class Style:
    """What stands in for a request's own `style` and `speed`. A voice without the style falls back to its own."""

    emotion: str | None
    speed: float


@dataclass(frozen=True)
class Limits:
    """Characters of one text; speech requests inside at once, those in line included; audio owed before 429, in s."""

    max_text_chars: int
    max_concurrent_requests: int
    max_backlog_seconds: float


Document = TypeVar("Document", bound=BaseModel)


class ClusterConfig:
    """The configuration in force. `style` and `limits` are replaced whole: read each once a request.

    `set_replacements` takes the pronunciations to where they are used; it raises InputError for those that cannot be.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.set_replacements: Callable[[Mapping[str, str]], None] = lambda _: None
        self.style = self._style(_parsed(StyleDocument, None))
        self.limits = self._limits(_parsed(LimitsDocument, None))

    def apply(self, key: Key, text: bytes | None) -> dict[str, Any]:
        """Puts a document into force, None for the key's deletion, and gives what is worth a log line.

        ValueError: what is wrong with it; what held before holds on.
        """
        if text is not None and len(text) > MAX_BYTES:
            raise ValueError(f"{len(text)} bytes; at most {MAX_BYTES} are wanted")
        if key == "default_style":
            self.style = self._style(_parsed(StyleDocument, text))
            return vars(self.style)
        if key == "limits":
            self.limits = self._limits(_parsed(LimitsDocument, text))
            return vars(self.limits)
        words = _parsed(ReplacementsDocument, b"{}" if text is None else text).root
        try:
            self.set_replacements(words)
        except InputError as error:
            raise ValueError(str(error)) from error
        return {"words": len(words)}

    def _style(self, given: StyleDocument) -> Style:
        settings = self._settings
        return Style(
            emotion=settings.default_emotion if given.emotion is None else given.emotion,
            speed=settings.default_speed if given.speed is None else given.speed,
        )

    def _limits(self, given: LimitsDocument) -> Limits:
        settings = self._settings
        return Limits(
            max_text_chars=min(settings.max_text_chars, given.max_text_chars or settings.max_text_chars),
            max_concurrent_requests=min(
                settings.max_concurrent_requests, given.max_concurrent_requests or settings.max_concurrent_requests
            ),
            max_backlog_seconds=min(
                settings.max_backlog_seconds, given.max_backlog_seconds or settings.max_backlog_seconds
            ),
        )


def _parsed(kind: type[Document], text: bytes | None) -> Document:
    """A document of that kind, the empty one for None. ValueError names the part that is wrong, never its content."""
    try:
        return kind.model_validate_json(b"{}" if text is None else text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))[:100]
        raise ValueError(f"{where + ': ' if where else ''}{first['msg']}") from None
