"""The real app with the fake engine, without a socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from glmtts.engine.runtime.fake import FakeEngine, FakeOptions
from server.settings import Settings
from server.wsgi.app import create_app, make_context
from tests.helpers.app import MakeClient
from tests.helpers.server import store_voice, wait_until


@pytest.fixture
def client(tmp_path: Path) -> Iterator[MakeClient]:
    """Makes the app with settings, and a client for it."""
    store_voice(tmp_path / "voices", "default", {"neutral": "This is me."})
    contexts = []

    def make(**settings: Any) -> FlaskClient:
        usual = {"consul": False, "propagation_delay": 0, "drain_timeout": 0, "voices_dir": tmp_path / "voices"}
        own = Settings(**{**usual, **settings})
        context = make_context(own, lambda: FakeEngine(FakeOptions()), None)
        contexts.append(context)
        context.node.start()
        wait_until(lambda: context.node.not_ready_reason() is None, "the node to be ready")
        return create_app(context).test_client()

    yield make
    for context in contexts:
        context.node.drain()
