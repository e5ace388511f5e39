"""The configuration that all nodes of a cluster share: three JSON documents, and the values in force on this node.

Precedence: the request, then these documents, then the node's settings, then the built-in defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from glmtts.engine.api import MAX_SPEED, MIN_SPEED
from glmtts.errors import InputError
from server import validation
from server.settings import Settings

Key = Literal["default_style", "g2p_replace", "limits"]
KEYS: tuple[Key, ...] = get_args(Key)
MAX_BYTES = 512 * 1024
"""Consul's default limit on the size of a value."""


class _Document(BaseModel):
    """`version`: of what the document may have; one of a later version is refused as a whole."""

    version: Literal[1] = 1
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class StyleDocument(_Document):
    """`default_style`: the style and speed of requests that give none."""

    emotion: str | None = Field(None, min_length=1, max_length=64)
    speed: float | None = Field(None, ge=MIN_SPEED, le=MAX_SPEED)


class LimitsDocument(_Document):
    """`limits`: each can only lower the limit of the node's settings."""

    max_text_chars: int | None = Field(None, ge=1)
    max_concurrent_requests: int | None = Field(None, ge=1)
    max_backlog_seconds: float | None = Field(None, gt=0)


_Word = Annotated[str, Field(min_length=1, max_length=200)]


class ReplacementsDocument(RootModel[dict[_Word, _Word]]):
    """`g2p_replace`: pronunciations by text. They override those of the node's own file."""

    model_config = ConfigDict(frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_version(cls, values: Any) -> Any:
        """The words. `version` is a number, so that it can also be a word to replace."""
        if not isinstance(values, dict) or not isinstance(values.get("version"), int):
            return values
        if values["version"] != 1:
            raise PydanticCustomError("version", "1 as version")
        return {word: sound for word, sound in values.items() if word != "version"}


@dataclass(frozen=True)
class Style:
    """Defaults for a request's `style` and `speed`. A voice without that style uses its own default style."""

    emotion: str | None
    speed: float


@dataclass(frozen=True)
class Limits:
    """Limits on a request's text, on speech requests at once (queued ones included), and on the backlog of audio."""

    max_text_chars: int
    max_concurrent_requests: int
    max_backlog_seconds: float


Document = TypeVar("Document", bound=BaseModel)


class ClusterConfig:
    """The configuration in force. `style` and `limits` are replaced as a whole: read each only once per request.

    `set_replacements` passes the pronunciations on to the engine; it raises InputError if they are invalid.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.set_replacements: Callable[[Mapping[str, str]], None] = lambda _: None
        self.style = self._style(_parse(StyleDocument, None))
        self.limits = self._limits(_parse(LimitsDocument, None))

    def apply(self, key: Key, text: bytes | None) -> dict[str, Any]:
        """Applies a document (None: the key is deleted) and returns the fields to log.

        ValueError: the document is invalid; the configuration does not change.
        """
        if text is not None and len(text) > MAX_BYTES:
            raise ValueError(f"document: expected at most {MAX_BYTES} bytes, got {len(text)}")
        if key == "default_style":
            self.style = self._style(_parse(StyleDocument, text))
            return vars(self.style)
        if key == "limits":
            self.limits = self._limits(_parse(LimitsDocument, text))
            return vars(self.limits)
        words = _parse(ReplacementsDocument, b"{}" if text is None else text).root
        try:
            self.set_replacements(words)
        except InputError as error:
            raise ValueError(str(error)) from error
        return {"words": len(words)}

    def _style(self, document: StyleDocument) -> Style:
        settings = self._settings
        return Style(
            emotion=settings.default_emotion if document.emotion is None else document.emotion,
            speed=settings.default_speed if document.speed is None else document.speed,
        )

    def _limits(self, document: LimitsDocument) -> Limits:
        settings = self._settings
        return Limits(
            max_text_chars=min(settings.max_text_chars, document.max_text_chars or settings.max_text_chars),
            max_concurrent_requests=min(
                settings.max_concurrent_requests, document.max_concurrent_requests or settings.max_concurrent_requests
            ),
            max_backlog_seconds=min(
                settings.max_backlog_seconds, document.max_backlog_seconds or settings.max_backlog_seconds
            ),
        )


def _parse(model: type[Document], text: bytes | None) -> Document:
    """Parses a document; None is an empty one. ValueError names the invalid part, and never quotes the content."""
    try:
        return model.model_validate_json(b"{}" if text is None else text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))[:100]
        raise ValueError(f"{where or 'document'}: expected {validation.expected(first)}") from None
