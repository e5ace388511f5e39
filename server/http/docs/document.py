"""The OpenAPI document, made from the routes, the types that validate their bodies, and the table of operations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from flask import Flask
from pydantic import AliasChoices, BaseModel
from werkzeug.routing import Rule

from server import RELEASE
from server.http.access import Need, need_of
from server.http.docs.operations import JSON, OPERATIONS, Operation, Schema
from server.http.openai import errors as openai_errors
from server.keys.key_file import Scope

PAGES = re.compile(r"/|/(docs|console)(/.*)?")
"""Rules of pages for people, which are not part of the API."""
UNLISTED_METHODS = {"HEAD", "OPTIONS"}

_OPENAI_ERROR = {"type": "object", "required": ["message", "type", "param", "code"]}
_ERROR = {"type": "object", "required": ["code", "message", "field"]}
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def routes(app: Flask) -> Mapping[str, Rule]:
    """The rules of the API by method and path, as OPERATIONS has them."""
    return {
        f"{method} {rule.rule}": rule
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - UNLISTED_METHODS
        if not PAGES.fullmatch(rule.rule)
    }


def make_document(app: Flask, *, keys: bool) -> dict[str, Any]:
    """The document; `keys`: the server has API keys."""
    rules = routes(app)
    paths: dict[str, dict[str, Any]] = {}
    for name, operation in OPERATIONS.items():
        rule = rules[name]
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        entry = _operation(operation, rule, need_of(app, rule.endpoint) if keys else "probe")
        paths.setdefault(path, {})[name.split()[0].lower()] = entry
    bodies = [operation.body for operation in OPERATIONS.values() if operation.body is not None]
    return {
        "openapi": "3.1.0",
        "info": {"title": "GLM-TTS server", "version": RELEASE},
        "paths": paths,
        "components": {
            "schemas": {body.__name__: body_schema(body) for body in bodies},
            "responses": {"Error": _error_response(_ERROR), "OpenAIError": _error_response(_OPENAI_ERROR)},
            "securitySchemes": _SECURITY if keys else {},
        },
    }


def _operation(operation: Operation, rule: Rule, need: Need) -> dict[str, Any]:
    error = "OpenAIError" if rule.rule.startswith(openai_errors.PATH) else "Error"
    answers = {str(status): _answer(content) for status, content in operation.answers.items()}
    entry: dict[str, Any] = {
        "operationId": rule.endpoint.replace(".", "_"),
        "summary": operation.summary,
        "tags": [_tag(rule.rule)],
        "parameters": _parameters(operation, rule),
        "responses": answers | {kind: {"$ref": f"#/components/responses/{error}"} for kind in ("4XX", "5XX")},
        "security": [{name: []} for name in _SECURITY] if need in get_args(Scope) else [],
    }
    if operation.body is not None:
        entry["requestBody"] = {"required": True, "content": _body_content(operation.body, operation.media)}
    return entry


def _tag(rule: str) -> str:
    if rule.startswith(openai_errors.PATH):
        return "OpenAI"
    return {"tts": "Speech", "segments": "Speech", "voices": "Voices", "sync": "Voices"}.get(rule.split("/")[1], "Node")


def _parameters(operation: Operation, rule: Rule) -> list[dict[str, Any]]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in sorted(rule.arguments)
    ]
    return in_path + [{"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()]


def _answer(content: Mapping[str, Schema]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Success."}
    return answer | ({"content": {kind: {"schema": schema} for kind, schema in content.items()}} if content else {})


def _error_response(schema: Schema) -> dict[str, Any]:
    body = {"type": "object", "required": ["error"], "properties": {"error": schema}}
    return {"description": "An error.", "content": {"application/json": {"schema": body}}}


def _body_content(model: type[BaseModel], media: Sequence[str]) -> dict[str, Any]:
    by_reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {kind: {"schema": by_reference if kind in JSON else _as_form(body_schema(model))} for kind in media}


def body_schema(model: type[BaseModel]) -> Schema:
    """The JSON schema of a body, with the other names that fields may have."""
    schema = model.model_json_schema()
    for field in model.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            first, *others = map(str, field.validation_alias.choices)
            schema["properties"] |= dict.fromkeys(others, schema["properties"][first])
    return schema


def _as_form(schema: Schema) -> Schema:
    """The same fields where recordings are files."""
    properties = {
        name: {"type": "string", "format": "binary"} if "contentEncoding" in str(field) else field
        for name, field in schema["properties"].items()
    }
    return {**schema, "properties": properties}
