"""Settings of what is served over HTTP: to whom, which requests, how many."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from glmtts.engine.api import MAX_SPEED, MIN_SPEED
from server.setting import setting


class HttpSettings(BaseModel):
    # TLS, and what stands in front.
    tls_certificate: Path | None = setting(
        None, "path", "Certificate and its chain, PEM, to serve HTTPS with; reloaded when it changes."
    )
    tls_key: Path | None = setting(None, "path", "Private key of the certificate, PEM; reloaded when it changes.")
    tls_ca: Path | None = setting(
        None, "path", "CA certificates that signed those of the other nodes; else well-known ones are trusted."
    )

    trusted_proxies: str = setting(
        "",
        "addresses, comma-separated",
        "Proxies whose X-Forwarded-For and X-Forwarded-Proto count, such as 10.0.0.5 or 10.0.0.0/8; none if empty.",
    )

    # Requests.
    api_keys_file: Path | None = setting(
        None, "path", "File of API keys, which `python -m server.keys new` makes; reloaded when it changes."
    )
    protect_metrics: bool = setting(False, "switch", "/metrics needs an API key with the scope admin.")
    protect_names: bool = setting(
        False, "switch", "The names of models and voices under /v1 need an API key with the scope speak."
    )
    allowed_hosts: str = setting(
        "",
        "names, comma-separated",
        "Public names of this server, which it serves without API keys; .example.com is all below it, * every name.",
    )
    cors_origins: str = setting(
        "",
        "origins, comma-separated",
        "Origins of web pages that may use this server, such as https://example.com; * is all. Off if empty.",
    )
    max_body_bytes: int = setting(
        25 * 2**20, "bytes", "Maximum size of a request body; a larger one is rejected unread.", ge=1024
    )
    console: bool = setting(True, "switch", "Serve the console, a page to try voices with, at /.")
    strip_markup: bool = setting(
        True, "switch", "Read Markdown and HTML as what they mark up; off reads their signs as they are written."
    )
    audible_mark: bool = setting(
        False, "switch", 'Begin speech with a sound that says that it is synthetic: "AI" in Morse code, 0.9 s long.'
    )
    max_text_chars: int = setting(5000, "characters", "Maximum length of a request's text.", ge=1, le=5000)
    default_voice: str = setting("default", "voice name", "Stored voice for requests that name none.")
    voice_aliases: str = setting(
        "",
        "NAME=VOICE,…",
        "Other names for stored voices; under /v1 OpenAI's names stand for one of the stored voices anyhow.",
        pattern=r"^([^=,]+=[A-Za-z0-9_-]+(,[^=,]+=[A-Za-z0-9_-]+)*)?$",
    )
    builtin_voices: bool = setting(
        True, "switch", "Offer the voices that come with the server if the checkpoint brings none of its own."
    )
    voices_dir: Path | None = setting(
        None,
        "path",
        "Directory of stored voices, searched before the checkpoint's; POST and DELETE /voices write here.",
    )
    write_checkpoint_voices: bool = setting(
        False, "switch", "Without voices_dir, let POST and DELETE /voices change the checkpoint's own voices."
    )
    max_voices: int = setting(1000, "voices", "Maximum number of voices that POST /voices may store.", ge=1)
    max_voices_bytes: int = setting(
        2 * 2**30, "bytes", "Maximum size of the folder that POST /voices stores voices in.", ge=1
    )
    sync_voices: bool = setting(
        True, "switch", "Keep the stored voices the same as those of the other nodes that are in Consul."
    )
    peer_api_key_file: Path | None = setting(
        None, "path", "File with the API key that the other nodes take from this one; its scope is voices."
    )
    require_consent: bool = setting(
        False, "switch", "A recording, stored or sent with a text, needs consent: who agreed to the use of the voice."
    )
    audit_log: Path | None = setting(
        None, "path", "File to which each clone, stored and deleted voice adds a JSON line; the log has them too."
    )
    default_emotion: str | None = setting(
        None, "style", "Style for requests that name none, if the voice has it; else the voice's default style."
    )
    default_speed: float = setting(1.0, "factor", "Speed for requests that give none.", ge=MIN_SPEED, le=MAX_SPEED)
    voice_cache_items: int = setting(64, "voices", "Maximum number of prepared voices kept in memory.", ge=1)
    voice_cache_bytes: int = setting(64 * 2**20, "bytes", "Maximum memory for prepared voices.", ge=1)
    request_history_size: int = setting(
        1000, "requests", "Number of recent requests that GET /requests/<id> can report.", ge=1
    )

    # Load.
    threads: int = setting(32, "threads", "Threads that serve HTTP requests of any kind.", ge=4, le=1024)
    voice_threads: int = setting(
        2, "threads", "Threads that prepare voices from recordings; with 8 more waiting, another gets 429.", ge=1, le=64
    )
    max_concurrent_requests: int = setting(
        16, "requests", "Maximum number of speech requests at once, queued ones included; at most threads - 2.", ge=1
    )
    max_backlog_seconds: float = setting(
        300.0, "s of audio", "Audio still to be made for earlier requests above which a request gets 429.", gt=0
    )
    queue_timeout: float = setting(
        60.0, "s", "How long a request may wait in the queue if it gives no timeout.", gt=0, le=600
    )
    read_timeout: float = setting(10.0, "s", "Maximum time between two reads of a request.", gt=0)
    request_timeout: float = setting(60.0, "s", "Maximum time to receive a whole request.", gt=0)
    write_timeout: float = setting(30.0, "s", "A client that reads nothing for this long is disconnected.", gt=0)
