"""Puts the application together from what is passed in; nothing happens at import.

Knows nothing about gunicorn, and of the engine only its interface.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from flask import Flask, Response, g, request

from glmtts.engine.api import Engine
from glmtts.errors import GlmTtsError
from server import errors
from server.cluster_config import ClusterConfig
from server.discovery.config_watcher import ConfigWatcher
from server.discovery.metadata import metadata
from server.discovery.registration import ConsulRegistration
from server.errors import ApiError
from server.http.auth import ApiKeys
from server.http.context import Services
from server.http.disconnect import HangupWatch
from server.http.enrolment import prepare_default
from server.http.routes import OPEN, make_routes
from server.node import Node
from server.observability import collectors
from server.observability.metrics import Metrics
from server.observability.request_log import RequestHistory, RequestRecord
from server.observability.tracing import make_tracing
from server.settings import Settings
from server.voices.cache import VoiceCache
from server.voices.store import VoiceStore

log = logging.getLogger("server.requests")

KV_PATIENCE = 2.0
"""Seconds that a node which has loaded waits for the shared configuration before it goes on without."""


def make_services(settings: Settings, load_engine: Callable[[], Engine], voices: Path | None) -> Services:
    """This process's node, and everything that the routes need beside it.

    `voices` is the folder of the checkpoint's own voices. OSError: no file of API keys.
    """
    metrics = Metrics()
    shared = ClusterConfig(settings)
    registry = ConsulRegistration(settings)
    remote = ConfigWatcher(settings, shared, metrics.observe_config_change) if settings.consul else None
    began = time.monotonic()

    def loaded(engine: Engine) -> None:
        shared.set_replacements = engine.set_replacements
        if remote is not None:
            remote.start(KV_PATIENCE)
        _warm(services, engine)
        metrics.set_model_info(engine.info, time.monotonic() - began)

    node = Node(
        settings,
        load_engine,
        registry,
        limits=lambda: shared.limits,
        on_loaded=loaded,
        on_dropped=metrics.drain_cut.inc,
        exit_process=os._exit,
    )
    services = Services(
        settings=settings,
        shared=shared,
        node=node,
        voices=make_store(settings, voices),
        cache=VoiceCache(max_items=settings.voice_cache_items, max_bytes=settings.voice_cache_bytes),
        metrics=metrics,
        records=RequestHistory(settings.request_history_size),
        hangups=HangupWatch(),
        keys=None if settings.api_keys_file is None else ApiKeys(settings.api_keys_file),
        tracing=make_tracing(settings),
        metadata=lambda: metadata(node.engine.info, settings),
    )
    _watch(services, registry, remote)
    return services


def make_store(settings: Settings, own: Path | None) -> VoiceStore:
    """The stored voices: those of the settings' folder, then `own`, the checkpoint's."""
    folders = [folder for folder in (settings.voices_dir, own) if folder is not None]
    writable = settings.voices_dir or (own if settings.write_checkpoint_voices else None)
    return VoiceStore(folders, writable, limit=settings.max_voices)


def _watch(services: Services, registry: ConsulRegistration, remote: ConfigWatcher | None) -> None:
    """What is asked at every scrape."""
    metrics, node = services.metrics, services.node

    def of_engine(read: Callable[[Engine], float]) -> Callable[[], float]:
        return lambda: read(node.engine) if node.info else 0.0

    metrics.add_gauge("glmtts_ready", "1 when new work is welcome.", lambda: float(node.not_ready_reason() is None))
    metrics.add_gauge("glmtts_in_flight", "Speech requests inside.", lambda: float(node.in_flight))
    metrics.add_gauge("glmtts_queued", "Jobs in line.", of_engine(lambda engine: engine.num_waiting()))
    metrics.add_gauge(
        "glmtts_backlog_seconds",
        "Seconds of audio still to be made.",
        of_engine(lambda engine: engine.backlog_seconds()),
    )
    metrics.add_gauge(
        "glmtts_engine_step_age_seconds",
        "Seconds since the engine last made progress; 0 while it is idle.",
        of_engine(lambda engine: engine.stalled_seconds()),
    )
    metrics.add_gauge(
        "glmtts_shared_config_failures",
        "Failed KV queries in a row.",
        lambda: float(remote.failures) if remote else 0.0,
    )
    metrics.register(
        collectors.DiscoveryCollector(registry.status, lambda: registry.counts),
        collectors.VoiceCacheCollector(services.cache.stats),
        collectors.EngineCollector(lambda: node.engine.stats() if node.info else None),
    )


def _warm(services: Services, engine: Engine) -> None:
    """Without a usable default voice the node still serves: requests may bring their own."""
    try:
        prepare_default(services, engine)
    except (ApiError, GlmTtsError, OSError) as error:
        log.warning("the default voice is not ready: %s", error)


def create_app(services: Services) -> Flask:
    """The WSGI application."""
    app = Flask("server", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = services.settings.max_body_bytes
    # A recording may come as a form's text; the body as a whole is bounded already.
    app.config["MAX_FORM_MEMORY_SIZE"] = services.settings.max_body_bytes
    app.config["MAX_FORM_PARTS"] = errors.MAX_PARTS
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.before_request(_begin)
    app.after_request(lambda response: _end(services, response))
    errors.install(app)
    app.register_blueprint(make_routes(services))
    return app


def _begin() -> None:
    # The rule, not the path: what is counted must be a bounded set.
    g.record = RequestRecord.from_headers(request.headers, str(request.url_rule) if request.url_rule else "other")


def _end(services: Services, response: Response) -> Response:
    record: RequestRecord = g.record
    record.status = response.status_code
    response.headers["X-Request-Id"] = record.request_id
    info = services.node.info
    if info is not None:
        response.headers["X-Model-Version"] = info.model_version
    sending, method = time.monotonic(), request.method
    # Runs when the body has been sent or given up, not before.
    response.call_on_close(lambda: _close(services, record, method, sending))
    return response


def _close(services: Services, record: RequestRecord, method: str, sending: float) -> None:
    if record.total is not None:
        return
    record.spans["send"] = (sending, time.monotonic())
    record.total = record.elapsed()
    if services.tracing is not None and record.route not in OPEN:
        services.tracing.trace(record, method)
    services.metrics.observe_request(record)
    level = logging.DEBUG if record.route in OPEN else logging.INFO
    log.log(level, "request", extra={"fields": record.as_dict()})
