"""docs/api.md has what the server has, and nothing else: routes, fields, headers, error codes and values."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import cast

import pytest
import requests
from flask import Flask
from pydantic import AliasChoices, BaseModel

from glmtts.engine.api import Report
from glmtts.errors import TextError
from glmtts.text.frontend import ssml
from server.errors import STATUS_BY_ERROR
from server.http.access import AccessControl
from server.http.console.routes import make_console_routes
from server.http.context import AppContext
from server.http.continuation import MAX_TOKEN_CHARS
from server.http.docs.document import PAGES, make_document, routes
from server.http.docs.operations import OPERATIONS
from server.http.docs.routes import make_docs_routes
from server.http.encoding import FORMATS, SAMPLE_RATES
from server.http.openai.routes import make_openai_routes
from server.http.openai.schemas import BatchRequest, CreateSpeechRequest, CreateVoiceRequest
from server.http.routes import make_routes
from server.http.schemas import SegmentsRequest, SpeechRequest, VoiceRequest
from server.observability.metrics import STAGES
from server.observability.playout import UnderrunMeter
from server.observability.request_log import RequestRecord
from tests.helpers.server import ROOT, Server

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
FIELDS: dict[str, type[BaseModel]] = {
    "### Fields of `POST /tts` and `POST /tts/stream`": SpeechRequest,
    "### Fields of `POST /segments`": SegmentsRequest,
    "### Fields of `POST /voices/<name>`": VoiceRequest,
    "### Fields of `POST /v1/audio/speech`": CreateSpeechRequest,
    "### Fields of `POST /v1/audio/speech/batch`": BatchRequest,
    "### Fields of `POST /v1/audio/voices`": CreateVoiceRequest,
}
"""The models, by the heading of their table."""
SOURCES = [
    ast.parse(path.read_text(encoding="utf-8"))
    for path in (ROOT / "server").rglob("*.py")
    if path.parent.name != "discovery"  # speaks to Consul, which has headers of its own
]


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without the table's own head."""
    _, _, section = PAGE.partition(f"{heading}\n")
    assert section, heading
    table = re.search(r"(?:^\|.*\n)+", section.split("\n#")[0], re.MULTILINE)
    assert table, heading
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table[0].splitlines()[2:]]
    return [[cell.strip() for cell in line] for line in lines]


def names(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def column(heading: str, index: int = 0) -> set[str]:
    """All names in code spans of a table's column; none stands there twice."""
    listed = [name for row in rows(heading) for name in names(row[index])]
    assert len(listed) == len(set(listed))
    return set(listed)


def constants() -> Iterator[str]:
    """Every string in the server's code."""
    for tree in SOURCES:
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def raised_codes() -> Iterator[str]:
    """The codes that the server's own code gives to ApiError, ErrorInfo and EdgeError."""
    for tree in SOURCES:
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in ("ApiError", "ErrorInfo", "EdgeError") and isinstance(node.args[1], ast.Constant):
                yield str(node.args[1].value)


@pytest.fixture
def app() -> Flask:
    """All routes. Only their rules are read: nothing is called."""
    app = Flask("routes", static_folder=None)
    for make in (make_routes, make_openai_routes):
        app.register_blueprint(make(cast(AppContext, None)))
    app.register_blueprint(make_docs_routes(app, cast(AccessControl, None)))
    app.register_blueprint(make_console_routes())
    return app


def test_every_route_is_documented(app: Flask) -> None:
    existing = {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method.isalpha()
    }
    documented = {name for row in rows("## Routes") for name in names(row[0])}
    assert documented == {route for route in existing if not route.startswith(("HEAD", "OPTIONS"))}


def test_the_openapi_document_says_what_this_page_says(app: Flask) -> None:
    """The same routes but for pages; the same fields, of which the same are required."""
    assert OPERATIONS.keys() == routes(app).keys()
    document = make_document(app, keys=True)
    listed = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    documented = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", name) for row in rows("## Routes") for name in names(row[0])}
    assert listed == {route for route in documented if not PAGES.fullmatch(route.removeprefix("GET "))}
    for heading, model in FIELDS.items():
        schema = document["components"]["schemas"][model.__name__]
        assert schema["properties"].keys() == column(heading)
        assert all("description" in field for field in schema["properties"].values()), heading
        required = {name for row in rows(heading) if row[2] == "required" for name in names(row[0])}
        assert set(schema.get("required", [])) == required


@pytest.mark.parametrize(("heading", "model"), FIELDS.items())
def test_every_field_is_documented(heading: str, model: type[BaseModel]) -> None:
    """By name, also by its other ones, and whether it is required."""
    aliases = (field.validation_alias for field in model.model_fields.values())
    others = {name for alias in aliases if isinstance(alias, AliasChoices) for name in alias.choices}
    assert column(heading) == model.model_fields.keys() | others
    required = {name for row in rows(heading) if row[2] == "required" for name in names(row[0])}
    assert required == {name for name, field in model.model_fields.items() if field.is_required()}


@pytest.mark.parametrize(("heading", "model"), FIELDS.items())
def test_every_range_is_documented(heading: str, model: type[BaseModel]) -> None:
    """Bounds of numbers and lengths, except of the opaque token; formats and sample rates."""
    ranges = {name: row[1] for row in rows(heading) for name in names(row[0])}
    for name, field in model.model_fields.items():
        limits = {
            getattr(each, kind, None) for each in field.metadata for kind in ("ge", "gt", "le", "lt", "max_length")
        }
        documented = set(map(float, re.findall(r"\d+(?:\.\d+)?", ranges[name])))
        assert ranges[name] == "as above" or limits - {None, MAX_TOKEN_CHARS} <= documented, name
    for name in {"format", "response_format"} & ranges.keys():
        assert names(ranges[name]) == set(FORMATS)
    if model is SpeechRequest:
        assert set(re.findall(r"\d+", ranges["sample_rate"])) == set(map(str, SAMPLE_RATES))


def test_every_element_of_ssml_is_documented() -> None:
    """With an example that is understood."""
    with pytest.raises(TextError) as error:
        ssml.parse("<speak><unknown/></speak>")
    [elements] = re.findall(r"expected the elements ([\w, -]+),", str(error.value))
    assert column("### SSML") == set(elements.split(", "))
    for _, example, _ in rows("### SSML"):
        [text] = names(example)
        assert ssml.parse(text if text.startswith("<speak") else f"<speak>{text}</speak>")


def test_every_error_code_is_documented() -> None:
    """Those of the total map with their status; and no others."""
    documented = {name: row[0] for row in rows("## Errors") for name in names(row[1])}
    codes = {code for _, code in STATUS_BY_ERROR.values()}
    assert documented.keys() == codes | set(raised_codes())
    for status, code in STATUS_BY_ERROR.values():
        assert documented[code] == str(status), code


def test_every_header_of_our_own_is_documented() -> None:
    """Each X-… that the server reads or writes, anywhere on the page; names are case-insensitive."""
    used = {text.lower() for text in constants() if re.fullmatch(r"X(-[A-Z][a-z]+)+", text)}
    assert {name.split(":")[0].lower() for name in column("## Headers") if name.startswith("X-")} == used


def test_every_value_of_a_request_is_documented() -> None:
    """Those of the record, and one per stage."""
    record = RequestRecord("id", "trace", True, "/tts", report=Report("stop", audio_seconds=1.0))
    record.underrun_meter = UnderrunMeter()
    for each in fields(record):
        if getattr(record, each.name) is None:
            setattr(record, each.name, 1)
    stages = {f"{stage}_seconds" for stage in (*STAGES, "queue", "ar")}
    assert column("## What is known of a request") == record.as_dict().keys() | stages


@pytest.mark.processes
def test_every_value_of_info_is_documented() -> None:
    """Also the limits."""
    with Server() as server:
        info = requests.get(server.url + "/info", timeout=10).json()
    assert column("## What a node says of itself") == info.keys()
    [limits] = [row[1] for row in rows("## What a node says of itself") if names(row[0]) == {"limits"}]
    assert names(limits) == info["limits"].keys()
