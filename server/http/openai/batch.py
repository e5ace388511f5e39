"""POST /v1/audio/speech/batch: several texts in one request, as vllm-omni has it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flask import Request, current_app, g
from werkzeug.test import Client, TestResponse

from glmtts.errors import CancelledError
from server.http import parsing, schemas
from server.http.context import AppContext
from server.http.disconnect import watch_client
from server.http.openai.events import usage
from server.http.openai.schemas import BatchRequest

CONCURRENT_ITEMS = 4
"""How many items of one batch are spoken at once: it should not keep others from the engine."""
ITEM_ROUTE = "/v1/audio/speech"
OWN_FIELDS = ("items", "stream", "stream_format")
HEADERS = ("Host", "Origin", "Authorization", "X-Api-Key")
"""What says who sends the items."""


def handle_batch(context: AppContext, request: Request) -> dict[str, Any]:
    """The answer to POST /v1/audio/speech/batch; an item that fails has its error in it.

    Each item goes through the application as a request of its own: admitted, limited, counted and logged like one.
    """
    fields = parsing.parse_json(request, context.settings.max_body_bytes)
    batch = schemas.validate(BatchRequest, fields, strict=False)
    shared = {name: value for name, value in fields.items() if name not in OWN_FIELDS}
    client = Client(current_app._get_current_object())  # type: ignore[attr-defined]  # threads have no current app
    headers = {name: request.headers[name] for name in HEADERS if name in request.headers}
    sender = {"REMOTE_ADDR": request.environ.get("REMOTE_ADDR", "")}

    def answer(item: dict[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in item.items() if name not in OWN_FIELDS and value is not None}
        environ = {**sender, parsing.FIELDS: {**shared, **given, "stream": False}}  # recordings are bytes, not JSON
        response = client.post(ITEM_ROUTE, headers=headers, environ_overrides=environ, buffered=True)
        return _result(context, response)

    g.record.release()  # for its key the items are in flight, not the batch
    g.record.release = lambda: None
    results = _run(answer, batch.items, request)
    failed = sum(result["status"] == "error" for result in results)
    return {
        "id": f"speech-batch-{g.record.request_id}",
        "results": [{"index": index, **result} for index, result in enumerate(results)],
        "total": len(results),
        "succeeded": len(results) - failed,
        "failed": failed,
    }


def _run(
    answer: Callable[[dict[str, Any]], dict[str, Any]], items: list[dict[str, Any]], request: Request
) -> list[dict[str, Any]]:
    """The answers in the order of the items. When the client leaves, no further item begins."""
    key = g.caller.key
    concurrent = min(CONCURRENT_ITEMS, key.max_concurrent_requests or CONCURRENT_ITEMS) if key else CONCURRENT_ITEMS
    with ThreadPoolExecutor(concurrent, thread_name_prefix="batch") as pool:

        def stop(_was_too_slow: bool) -> None:
            pool.shutdown(wait=False, cancel_futures=True)

        futures = [pool.submit(answer, item) for item in items]
        with watch_client(request.environ, stop):
            try:
                return [future.result() for future in futures]
            except FutureCancelledError:
                raise CancelledError("the client left") from None


def _result(context: AppContext, response: TestResponse) -> dict[str, Any]:
    """What the batch says of one item."""
    if response.status_code != 200:
        return {"status": "error", "error": response.get_json()["error"]["message"]}
    record = context.request_history.get(response.headers["X-Request-Id"])
    return {
        "status": "success",
        "audio_data": base64.b64encode(response.data).decode(),
        "media_type": response.content_type,
        **({} if record is None or record.report is None else {"usage": usage(record.report)}),
    }
