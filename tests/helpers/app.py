"""The type of the fixture `client` in tests/server/http/conftest.py."""

from collections.abc import Callable

from flask.testing import FlaskClient

MakeClient = Callable[..., FlaskClient]
"""Makes the app with the settings that it gets, and a client for it."""
