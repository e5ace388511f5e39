"""The life cycle of every request: its record is made before it, and counted, traced and logged after it."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, g, request

from server.edge.request_body import BodyNeeded
from server.http.access import AccessControl, Caller, need_of
from server.http.context import AppContext
from server.observability.request_log import RequestRecord

log = logging.getLogger("server.requests")

PROBES = ("/health", "/ready", "/metrics", "/sync/voices")
"""Routes that are called all the time: not traced, and logged at DEBUG only."""


def register_lifecycle(app: Flask, context: AppContext) -> None:
    """Gives every request a record in `g.record`, and reports it once its response has been sent.

    `g.address` is the client's, `g.caller` who it is.
    """
    app.before_request(_before_request)
    app.after_request(lambda response: _after_request(context, response))
    app.teardown_request(_teardown)


def register_access(app: Flask, access: AccessControl) -> None:
    """Checks every request before its view. LookupError: a view does not declare what it needs."""
    wanted = {endpoint: need_of(app, endpoint) for endpoint in app.view_functions}

    def check() -> None:
        if request.endpoint is None or request.method == "OPTIONS":
            return  # there is no such route; or it is asked about, which needs nothing
        record: RequestRecord = g.record
        g.caller = access.authorize(wanted[request.endpoint], request.headers)
        record.key = g.caller.name
        if request.method != "GET":
            record.release = access.begin(g.caller)

    app.before_request(check)


def _before_request() -> None:
    g.caller, g.address = Caller(), request.remote_addr
    # The route's rule, not the path: metric labels must have a bounded set of values.
    route = str(request.url_rule) if request.url_rule else "other"
    # The edge runs the app twice for a body that comes slowly, with one environment.
    g.record = request.environ.setdefault("server.record", RequestRecord.from_headers(request.headers, route))


def _teardown(error: BaseException | None) -> None:
    if isinstance(error, BodyNeeded):  # there is no response, which would end what has begun
        g.record.release()


def _after_request(context: AppContext, response: Response) -> Response:
    record: RequestRecord = g.record
    record.status = response.status_code
    response.headers["X-Request-Id"] = record.request_id
    info = context.node.info
    if info is not None:
        response.headers["X-Model-Version"] = info.model_version
    send_start, method = time.monotonic(), request.method
    # Called when the body has been sent or abandoned, not before.
    response.call_on_close(lambda: finish_request(context, record, method, send_start))
    return response


def finish_request(context: AppContext, record: RequestRecord, method: str, send_start: float) -> None:
    """Reports a request whose response has been sent, since `send_start` on `time.monotonic`'s clock; once only."""
    if record.total_seconds is not None:  # closed before
        return
    record.spans["send"] = (send_start, time.monotonic())
    record.total_seconds = record.elapsed()
    record.release()
    if context.tracing is not None and record.route not in PROBES:
        context.tracing.trace(record, method)
    context.metrics.observe_request(record)
    level = logging.DEBUG if record.route in PROBES else logging.INFO
    log.log(level, "request", extra={"fields": record.as_dict()})
