"""Constructs the application: the objects of one node, and the Flask app over them. Nothing happens at import."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from flask import Flask

from glmtts.engine.api import Engine
from server import errors
from server.cluster_config import ClusterConfig
from server.discovery.advertise import is_loopback
from server.discovery.cluster_view import ClusterView
from server.discovery.config_watcher import ConfigWatcher
from server.discovery.metadata import metadata
from server.discovery.peers import PeerFinder
from server.discovery.registration import ConsulRegistration
from server.http.access import AccessControl
from server.http.console.routes import make_console_routes
from server.http.context import AppContext
from server.http.docs.routes import make_docs_routes
from server.http.lifecycle import register_access, register_lifecycle
from server.http.openai import errors as openai_errors
from server.http.openai.routes import make_openai_routes
from server.http.response_headers import register_response_headers
from server.http.routes import make_routes
from server.node import Node
from server.observability import collectors
from server.observability.audit import AuditLog
from server.observability.metrics import Metrics
from server.observability.request_log import RequestHistory
from server.observability.tracing import make_tracing
from server.settings import Settings
from server.voices.aliases import parse_aliases
from server.voices.builtin_voices import BUILTIN_VOICES, brings_voices
from server.voices.cache import VoiceCache
from server.voices.replication import VoiceReplicator
from server.voices.store import VoiceStore
from server.worker_pool import make_workers
from server.wsgi.warm_up import WarmUp


def make_context(settings: Settings, load_engine: Callable[[], Engine], checkpoint_voices: Path | None) -> AppContext:
    """The node of this process, which its `start` loads, and everything else that the routes need.

    `checkpoint_voices` is the directory of the checkpoint's own voices. OSError, ValueError: a setting, or a file that
    it names, is invalid.
    """
    metrics = Metrics()
    cluster_config = ClusterConfig(settings)
    watcher = ConfigWatcher(settings, cluster_config, metrics.observe_config_change) if settings.consul else None
    voices = make_store(settings, checkpoint_voices)
    workers = make_workers(settings.voice_threads)
    voice_cache = VoiceCache(workers.voices, max_items=settings.voice_cache_items, max_bytes=settings.voice_cache_bytes)
    registration = ConsulRegistration(settings)
    node = Node(
        settings,
        load_engine,
        registration,
        limits=lambda: cluster_config.limits,
        on_loaded=WarmUp(
            settings, cluster_config, watcher, voices, voice_cache, _make_replicator(settings, voices), metrics
        ),
        on_dropped=metrics.drain_cut.inc,
        exit_process=os._exit,
    )
    _register_engine_gauges(metrics, node)
    _register_discovery_gauges(metrics, registration, watcher)
    metrics.register(collectors.VoiceCacheCollector(voice_cache.stats))
    metrics.register(collectors.WorkersCollector(workers))
    return AppContext(
        settings=settings,
        cluster_config=cluster_config,
        node=node,
        voices=voices,
        voice_cache=voice_cache,
        workers=workers,
        metrics=metrics,
        request_history=RequestHistory(settings.request_history_size),
        access=AccessControl(settings),
        audit=AuditLog(settings.audit_log),
        tracing=make_tracing(settings),
        # To gunicorn's master: the worker alone would be replaced by another one.
        request_drain=lambda: os.kill(os.getppid(), signal.SIGTERM),
        metadata=lambda: metadata(node.engine.info, settings),
        cluster_view=ClusterView(settings, registration.status, registration.reason),
    )


def make_store(settings: Settings, checkpoint_voices: Path | None) -> VoiceStore:
    """The stored voices: first those of `voices_dir`, then the checkpoint's or, without any, the built-in ones."""
    folders = [folder for folder in (settings.voices_dir, checkpoint_voices) if folder is not None]
    if checkpoint_voices is not None and settings.builtin_voices and not brings_voices(checkpoint_voices):
        folders.append(BUILTIN_VOICES)
    return VoiceStore(
        folders,
        writable=settings.voices_dir or (checkpoint_voices if settings.write_checkpoint_voices else None),
        max_voices=settings.max_voices,
        max_bytes=settings.max_voices_bytes,
        aliases=parse_aliases(settings.voice_aliases),
    )


def _make_replicator(settings: Settings, voices: VoiceStore) -> VoiceReplicator | None:
    """None where there are no other nodes, or where none may change voices: beyond loopback without API keys."""
    may_change = settings.api_keys_file is not None or is_loopback(settings.host)
    if not (settings.consul and settings.sync_voices and voices.can_write and may_change):
        return None
    return VoiceReplicator(voices, PeerFinder(settings).urls, settings.peer_api_key_file, settings.tls_ca)


def _register_engine_gauges(metrics: Metrics, node: Node) -> None:
    def of_engine(read: Callable[[Engine], float]) -> Callable[[], float]:
        return lambda: read(node.engine) if node.info else 0.0

    metrics.add_gauge("glmtts_ready", "1 if the node accepts work.", lambda: float(node.not_ready_reason() is None))
    metrics.add_gauge("glmtts_in_flight", "Speech requests admitted and not finished.", lambda: float(node.in_flight))
    metrics.add_gauge("glmtts_queued", "Jobs in the queue.", of_engine(lambda engine: engine.num_waiting()))
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
    metrics.register(collectors.EngineCollector(lambda: node.engine.stats() if node.info else None))


def _register_discovery_gauges(
    metrics: Metrics, registration: ConsulRegistration, watcher: ConfigWatcher | None
) -> None:
    metrics.add_gauge(
        "glmtts_shared_config_failures",
        "KV queries that failed in a row.",
        lambda: float(watcher.failures) if watcher else 0.0,
    )
    metrics.register(collectors.DiscoveryCollector(registration.status, lambda: registration.counts))


def create_app(context: AppContext) -> Flask:
    """The WSGI application."""
    app = Flask("server", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = context.settings.max_body_bytes
    # Reference audio may be a form's text field; the body as a whole is bounded already.
    app.config["MAX_FORM_MEMORY_SIZE"] = context.settings.max_body_bytes
    app.config["MAX_FORM_PARTS"] = errors.MAX_FORM_PARTS
    app.json.sort_keys = False  # type: ignore[attr-defined]
    register_lifecycle(app, context)
    errors.register_error_handlers(app, {openai_errors.PATH: openai_errors.error_object})
    app.register_blueprint(make_routes(context))
    if context.settings.console:
        app.register_blueprint(make_console_routes())
    app.register_blueprint(make_openai_routes(context))
    app.register_blueprint(make_docs_routes(app, context.access))
    register_access(app, context.access)
    register_response_headers(app, context.settings)
    return app
