"""The wording of validation errors."""

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.validation import expected


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field("a", pattern="^[a-z]$")
    text: str = Field("", max_length=3)
    speed: float = Field(1.0, le=2)
    items: list[int] = Field([1], min_length=1, max_length=2)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ('{"name": "1"}', "a match of pattern '^[a-z]$'"),
        ('{"text": "abcd"}', "at most 3 characters"),
        ('{"speed": 3}', "less than or equal to 2"),
        ('{"items": [1, 2, 3]}', "at most 2 items"),
        ('{"items": []}', "at least 1 item(s)"),
        ('{"colour": 1}', "no such field"),
        ("{", "valid JSON"),
        ("[]", "an object"),
    ],
)
def test_a_message_says_what_was_expected(document: str, words: str) -> None:
    """In words that follow `expected`, for every kind of error."""
    with pytest.raises(ValidationError) as caught:
        Model.model_validate_json(document)
    assert expected(caught.value.errors()[0]) == words
