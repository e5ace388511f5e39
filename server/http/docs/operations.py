"""What the routes' types don't say: what each operation does, which bodies it takes and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from server.http.openai.schemas import BatchRequest, CreateSpeechRequest, CreateVoiceRequest
from server.http.schemas import SegmentsRequest, SpeechRequest, VoiceRequest

Schema = dict[str, Any]

JSON = ("application/json",)
FORM = ("multipart/form-data",)
JSON_OR_FORM = (*JSON, *FORM)
AUDIO: Mapping[str, Schema] = {"audio/*": {}}
EVENTS: Mapping[str, Schema] = {"text/event-stream": {"type": "string"}}


def json_object(*required: str) -> Mapping[str, Schema]:
    """A JSON answer that has at least these members."""
    return {"application/json": {"type": "object", "required": list(required)}}


@dataclass(frozen=True)
class Operation:
    """One method of one route. `answers` has the content by status; errors are added to them."""

    summary: str
    answers: Mapping[int, Mapping[str, Schema]]
    body: type[BaseModel] | None = None
    media: tuple[str, ...] = JSON
    """What the body may be."""
    query: Mapping[str, Schema] = field(default_factory=dict)
    """Parameters of the query, all of them optional."""


VOICE = json_object("name", "language", "styles", "default_style", "read_only")
NAMES: Schema = {"type": "array", "items": {"type": "string"}}
VOICES = {"application/json": {"anyOf": [json_object("voices", "data", "object")["application/json"], NAMES]}}

OPERATIONS: Mapping[str, Operation] = {
    "POST /tts": Operation("Speak a text as one file", {200: AUDIO}, SpeechRequest, media=JSON_OR_FORM),
    "POST /tts/stream": Operation(
        "Speak a text from the first sound on", {200: AUDIO}, SpeechRequest, media=JSON_OR_FORM
    ),
    "POST /segments": Operation("Split and normalise a text", {200: json_object("segments")}, SegmentsRequest),
    "GET /voices": Operation("List the stored voices", {200: json_object("voices", "default", "closed")}),
    "GET /voices/<name>": Operation("Show a stored voice", {200: VOICE}),
    "POST /voices/<name>": Operation(
        "Store a recording as a style of a voice", {200: VOICE, 201: VOICE}, VoiceRequest, media=JSON_OR_FORM
    ),
    "DELETE /voices/<name>": Operation(
        "Delete a voice or one style of it", {204: {}}, query={"style": {"type": "string"}}
    ),
    "GET /requests/<request_id>": Operation("Show a recent speech request", {200: json_object("state", "request_id")}),
    "GET /info": Operation("Show the loaded model and the limits", {200: json_object("model", "limits", "metadata")}),
    "GET /cluster": Operation(
        "Show the cluster as this node sees it", {200: json_object("summary", "registration", "nodes")}
    ),
    "GET /health": Operation("Is the process alive?", {200: json_object("status")}),
    "GET /ready": Operation("Does the node take work?", {200: json_object("status"), 503: json_object("reason")}),
    "GET /metrics": Operation("Metrics for Prometheus", {200: {"text/plain": {"type": "string"}}}),
    "POST /admin/drain": Operation(
        "Shut the node down in order", {202: json_object("status", "node")}, query={"node": {"type": "string"}}
    ),
    "POST /v1/audio/speech": Operation(
        "Speak a text, as OpenAI's API", {200: {**AUDIO, **EVENTS}}, CreateSpeechRequest
    ),
    "POST /v1/audio/speech/batch": Operation(
        "Speak several texts, as vllm-omni", {200: json_object("results", "succeeded", "failed")}, BatchRequest
    ),
    "GET /v1/audio/speech/stream": Operation(
        "Speak a text while it is being written: a WebSocket", {101: {}, 426: json_object("error")}
    ),
    "GET /v1/models": Operation("List the models", {200: json_object("object", "data")}),
    "GET /v1/models/<path:name>": Operation("Show a model", {200: json_object("id", "object", "created", "owned_by")}),
    "GET /v1/audio/models": Operation("List the models, for Open WebUI", {200: json_object("models")}),
    "GET /v1/audio/voices": Operation("List the voices' names", {200: VOICES}, query={"legacy": {"type": "boolean"}}),
    "POST /v1/audio/voices": Operation(
        "Store a voice, as vllm-omni", {200: json_object("success", "voice")}, CreateVoiceRequest, media=FORM
    ),
    "DELETE /v1/audio/voices/<name>": Operation("Delete a voice, as vllm-omni", {200: json_object("success")}),
    "GET /v1/test": Operation("Is this a speech server?", {200: json_object("status")}),
    "GET /sync/voices": Operation("Digests of the voices, for other nodes", {200: json_object("voices"), 304: {}}),
    "GET /sync/voices/<name>": Operation("A voice.json, for other nodes", {200: json_object("name")}),
    "GET /sync/voices/<name>/<file>": Operation("A recording, for other nodes", {200: {"audio/flac": {}}}),
    "GET /openapi.json": Operation("This description", {200: json_object("openapi", "paths")}),
}
"""By method and rule. The pages at /docs are for people and have none."""
