"""What other nodes read to have the same stored voices: GET /sync/voices and below."""

from __future__ import annotations

from contextlib import suppress

from flask import Request, Response, jsonify

from server.errors import ApiError
from server.voices.inventory import index_digest
from server.voices.store import VoiceStore


def index_response(voices: VoiceStore, request: Request) -> Response:
    """The digest of each voice; 304 if the caller has the same voices."""
    index = voices.index()
    response = jsonify(voices=index)
    response.set_etag(index_digest(index))
    response.make_conditional(request)
    return response


def description_response(voices: VoiceStore, name: str) -> Response:
    """The voice.json of a voice, deleted ones included; ApiError 404 if there is none."""
    voice = voices.latest(name)
    if voice is None:
        raise ApiError(404, "unknown_voice", "voice: expected one of this node's own, got another", field="voice")
    return Response(voice.to_json(), content_type="application/json")


def file_response(voices: VoiceStore, name: str, file: str) -> Response:
    """A recording or prompt features, by the name of their file; ApiError 404 if the voice has none of that name."""
    voice = voices.latest(name)
    data = voices.read_features(name, file)
    if voice is not None and any(recording.file == file for recording in voice.recordings.values()):
        with suppress(FileNotFoundError):  # deleted since we read the description
            data = (voice.path / file).read_bytes()
    if data is None:
        raise ApiError(404, "unknown_voice", "file: expected a recording of the voice or features of one, got another")
    return Response(data, content_type="application/octet-stream")
