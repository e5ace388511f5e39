"""What every use of somebody's voice has to pass: consent, where it is required, and a line in the audit log."""

from __future__ import annotations

from flask import g

from server.errors import invalid_field
from server.http.context import AppContext
from server.observability.audit import Event, recording_hash
from server.observability.request_log import RequestRecord


def check_consent(context: AppContext, consent: str) -> None:
    """ApiError 400: the server requires consent to the use of a recording, and the request has none."""
    if context.settings.require_consent and not consent.strip():
        raise invalid_field("consent", "who agreed to the use of the voice, and how", "nothing")


def audit(
    context: AppContext,
    event: Event,
    *,
    recording: bytes | None = None,
    consent: str = "",
    voice: str | None = None,
    style: str | None = None,
) -> None:
    """Writes who does this. Call it before the act. ApiError 507: the line cannot be written."""
    record: RequestRecord = g.record
    context.audit.write(
        event,
        request_id=record.request_id,
        client_request_id=record.client_request_id,
        key=record.key,
        address=g.address,
        voice=voice,
        style=style,
        recording_sha256=None if recording is None else recording_hash(recording),
        consent=consent,
    )
