"""A session: messages of a client in the event loop, and its utterances in threads, of which an idle one has none."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

from server.edge.bridge import Send as AsgiSend
from server.edge.request_body import Message, Receive
from server.errors import ApiError, to_error_info
from server.http.openai.errors import error_object
from server.http.speech_socket.messages import parse_message
from server.http.speech_socket.sentences import SentenceBuffer
from server.http.speech_socket.utterance import ROUTE, Send, Utterance

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
"""A part of a sentence is spoken if no text follows for this long."""
IDLE_SECONDS = 600.0
"""A session that says nothing for this long is closed."""
MAX_PENDING_CHARS = 20_000
"""Text beyond this is left in the connection until it is spoken."""
RETRY_SECONDS = 1.0
SMALL_MESSAGE = 16 * 1024
NORMAL, RESTART = 1000, 1012
"""Codes of a close frame."""

MakeUtterance = Callable[[dict[str, Any], Send], Utterance]
CheckConfig = Callable[[dict[str, Any]], None]


class Session:
    """Serves one client. `check_config` raises ApiError for a configuration that `make_utterance` can't use."""

    def __init__(
        self,
        receive: Receive,
        send: AsgiSend,
        executor: Executor,
        check_config: CheckConfig,
        make_utterance: MakeUtterance,
        *,
        max_text_chars: int,
        queue_timeout: float,
    ) -> None:
        self._receive = receive
        self._asgi_send = send
        self._executor = executor
        self._check_config = check_config
        self._make_utterance = make_utterance
        self._queue_timeout = queue_timeout
        self._loop = asyncio.get_running_loop()
        self._config: dict[str, Any] = {}
        self._buffer = SentenceBuffer(max_text_chars)
        self._utterance: Utterance | None = None
        self._changed = asyncio.Event()
        self._must_flush = False
        """The text so far is all that is coming for now."""
        self._is_done = False
        """The utterance has no more text."""
        self._is_closing = False
        self._is_speaking = False
        self._is_closed = False
        self._is_failed = False
        """The utterance has failed: the rest of its text is dropped."""

    async def run(self) -> None:
        """Serves until the client leaves, or has been given all that it asked for."""
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._speak())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                with suppress(OSError):  # the client has left
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            if self._utterance is not None:
                self._utterance.cancel()
            self._drop_utterance()

    # Messages

    async def _read(self) -> None:
        """Reads messages until the client leaves or is idle."""
        while True:
            while len(self._buffer) > MAX_PENDING_CHARS:
                await asyncio.sleep(0.05)
            is_half = len(self._buffer) > 0 and not self._must_flush
            try:
                message = await asyncio.wait_for(self._receive(), FLUSH_SECONDS if is_half else IDLE_SECONDS)
            except asyncio.TimeoutError:
                if is_half:
                    self._must_flush = True
                    self._changed.set()
                elif not self._is_speaking:
                    await self._close(NORMAL, "idle")
                    return
                continue
            if message["type"] == "websocket.disconnect":
                return
            try:
                await self._handle(message)
            except ApiError as error:
                await self._send_error(error)

    async def _handle(self, message: Message) -> None:
        data = message.get("text") or message.get("bytes") or ""
        if len(data) < SMALL_MESSAGE:
            kind, fields = parse_message(data)
        else:  # such as a recording: it would hold up everybody else in the event loop
            kind, fields = await self._loop.run_in_executor(self._executor, parse_message, data)
        if kind == "session.config":
            if self._utterance is not None or len(self._buffer):
                raise ApiError(400, "invalid_message", "session.config: expected before a text, got it in one")
            await self._loop.run_in_executor(self._executor, self._check_config, fields)
            self._config = fields
        elif kind == "input.text" and not self._is_failed:
            self._buffer.add(fields["text"])
            self._must_flush = False
        elif kind == "input.done":
            self._must_flush, self._is_done, self._is_failed = True, True, False
        elif kind == "session.close":
            self._must_flush, self._is_done, self._is_closing = True, True, True
        self._changed.set()

    # Speaking

    async def _speak(self) -> None:
        """Speaks what there is, until the session is closing."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                while text := self._next_piece():
                    await self._speak_piece(text)
                if self._is_done:
                    await self._finish()
                elif self._utterance is not None:
                    self._utterance.pause()
            except OSError:  # the client has left
                raise
            except Exception as error:
                await self._fail(error)
            if self._is_closing:
                await self._send({"type": "session.done"})
                await self._close(NORMAL, "")
                return

    def _next_piece(self) -> str:
        return self._buffer.flush() if self._must_flush else self._buffer.take()

    async def _speak_piece(self, text: str) -> None:
        """Speaks a piece. A busy node refuses an utterance that has not begun; one that has waits for its turn."""
        if self._utterance is None:
            self._utterance = self._make_utterance(self._config, self._send_from_thread)
        deadline = self._loop.time() + self._queue_timeout
        while True:
            self._is_speaking = True
            try:
                return await self._loop.run_in_executor(self._executor, self._utterance.synthesize, text)
            except ApiError as error:
                if error.status != 429 or not self._utterance.has_begun or self._loop.time() > deadline:
                    raise
            finally:
                self._is_speaking = False
            await asyncio.sleep(RETRY_SECONDS)

    async def _finish(self) -> None:
        self._is_done = False
        utterance = self._utterance
        if utterance is not None:
            await self._loop.run_in_executor(self._executor, utterance.finish)
            self._drop_utterance()

    async def _fail(self, error: Exception) -> None:
        """Ends the utterance: text that still comes for it is dropped."""
        self._is_failed = not self._is_done
        self._is_done = False
        self._buffer.clear()
        self._drop_utterance()
        await self._send_error(error)

    def _drop_utterance(self) -> None:
        if self._utterance is not None:
            self._executor.submit(self._utterance.close)
        self._utterance = None

    # Sending

    def _send_from_thread(self, message: dict[str, Any] | bytes) -> None:
        asyncio.run_coroutine_threadsafe(self._send(message), self._loop).result()

    async def _send(self, message: dict[str, Any] | bytes) -> None:
        if self._is_closed:
            return
        body = {"bytes": message} if isinstance(message, bytes) else {"text": json.dumps(message, ensure_ascii=False)}
        await self._asgi_send({"type": "websocket.send", **body})

    async def _send_error(self, error: Exception) -> None:
        info = to_error_info(error)
        if info.status == 500:
            log.error("a speech socket failed", exc_info=error)
        retry = {} if info.retry_after is None else {"retry_after": info.retry_after}
        await self._send({"type": "error", "error": error_object(info, ROUTE) | retry})
        if info.code == "draining":
            await self._close(RESTART, "draining")

    async def _close(self, code: int, reason: str) -> None:
        if not self._is_closed:
            self._is_closed = True
            await self._asgi_send({"type": "websocket.close", "code": code, "reason": reason})
