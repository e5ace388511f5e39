"""The handshake: which socket is asked for, and by whom."""

from __future__ import annotations

import json
from concurrent.futures import Executor
from functools import partial
from typing import Any

from flask import Flask
from werkzeug.datastructures import EnvironHeaders, Headers

from server.edge.asgi import Socket
from server.edge.bridge import Send, make_environ
from server.edge.request_body import Message, Receive
from server.errors import ApiError, to_error_info
from server.http.access import Caller
from server.http.context import AppContext
from server.http.openai.create_speech import make_plan, parse_body
from server.http.openai.errors import error_object
from server.http.provenance import AI_DISCLOSURE, Provenance
from server.http.speech_socket.session import Session
from server.http.speech_socket.utterance import ROUTE, Utterance

DEFAULT_CONFIG = {"response_format": "pcm"}


def make_speech_socket(app: Flask, context: AppContext) -> Socket:
    """Serves the WebSocket of ASGI scopes; `app` has the application context of its requests."""
    return partial(_serve, app, context)


async def _serve(
    app: Flask, context: AppContext, scope: Message, receive: Receive, send: Send, executor: Executor
) -> None:
    environ = make_environ(scope)
    await receive()  # websocket.connect
    try:
        caller = _authorize(context, scope["path"], EnvironHeaders(environ))
        info = context.node.engine.info
    except ApiError as error:
        await _refuse(send, error)
        return
    disclosure = Provenance(info.model, info.model_version).header()
    await send({"type": "websocket.accept", "headers": [(AI_DISCLOSURE.lower().encode(), disclosure.encode())]})
    session = Session(
        receive,
        send,
        executor,
        check_config=lambda config: _check(context, config),
        make_utterance=lambda config, to_client: Utterance(
            app, context, caller, environ, DEFAULT_CONFIG | config, to_client
        ),
        max_text_chars=context.cluster_config.limits.max_text_chars,
        queue_timeout=context.settings.queue_timeout,
    )
    await session.run()


def _authorize(context: AppContext, path: str, headers: Headers) -> Caller:
    if path != ROUTE:
        raise ApiError(404, "not_found", "path: expected one of the API's, got another")
    return context.access.authorize("speak", headers)


def _check(context: AppContext, config: dict[str, Any]) -> None:
    """ApiError for a configuration that is invalid, or names an unknown voice."""
    make_plan(context, parse_body(context, DEFAULT_CONFIG | config | {"input": "Hello."}))


async def _refuse(send: Send, error: ApiError) -> None:
    """Answers the handshake as any other request is answered."""
    body = json.dumps({"error": error_object(to_error_info(error), ROUTE)}).encode()
    headers = [(b"content-type", b"application/json"), (b"x-content-type-options", b"nosniff")]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
