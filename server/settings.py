"""Every setting of the server: name, default, unit and one sentence. Read once, then frozen.

Flags override the environment (`GLMTTS_*`), which overrides the defaults. Consul settings also accept the variables
that Consul's own tools read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from glmtts.config import LlmFormat, NumberFormat
from glmtts.engine.api import MAX_SPEED, MIN_SPEED
from server import validation

PREFIX = "GLMTTS_"
REPLACEMENTS = Path(__file__).resolve().parents[1] / "G2P_replace_dict.jsonl"
"""A checkout has it; what pip installs from a wheel does not."""


def _setting(default: Any, unit: str, sentence: str, **limits: Any) -> Any:
    """A field with its unit and its description."""
    return Field(default, description=sentence, json_schema_extra={"unit": unit}, **limits)


def _or(name: str, consul_variable: str) -> AliasChoices:
    """Reads GLMTTS_<name>, else the variable that Consul's own tools read."""
    return AliasChoices(PREFIX + name, consul_variable)


class Settings(BaseSettings):
    """The settings in force. pydantic's ValidationError: a value has the wrong type or is out of range."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    # Also set by flags.
    host: str = _setting("127.0.0.1", "address", "Address to listen on; 0.0.0.0 listens on every interface.")
    port: int = _setting(7860, "TCP port", "Port to listen on.", ge=1, le=65535)
    checkpoint: str = _setting("", "path", "Checkpoint directory; empty uses the bundled checkpoint.")
    device: str = _setting("auto", "torch device", "Device for the model: auto (CUDA if available), cpu, cuda, cuda:1.")
    log_level: Literal["debug", "info", "warning", "error"] = _setting("info", "level", "Minimum level to log.")
    deterministic: bool = _setting(
        False, "switch", "A seed gives the same tokens at any load: float32 and fixed batch shapes, so slower."
    )

    # Model.
    llm_dtype: LlmFormat = _setting(
        "auto",
        "number format",
        "Of the AR model; auto is bfloat16 on a GPU, and on a CPU if the files are and it is faster; int8 takes half.",
    )
    flow_dtype: NumberFormat = _setting("auto", "number format", "Of the flow; auto is what the device is faster in.")
    vocoder_dtype: NumberFormat = _setting("auto", "number format", "Of the 24 kHz vocoder; auto is float32.")
    graph_seconds: float = _setting(
        30.0,
        "s",
        "How long to record CUDA graphs before the node is ready, on a GPU; 0 launches every kernel alone.",
        ge=0,
    )
    graph_memory: float = _setting(
        0.15, "fraction", "Share for CUDA graphs of the memory that the engine may take.", ge=0, lt=1
    )
    max_num_seqs: int = _setting(
        16, "requests", "Requests decoded at once; fewer, if the device's memory does not suffice for them.", ge=1
    )
    max_memory_bytes: int | None = _setting(
        None, "bytes", "Memory of the device that the model may take; what is free if empty.", ge=1
    )
    g2p_replace: Path | None = _setting(
        REPLACEMENTS if REPLACEMENTS.exists() else None,
        "path",
        "Pronunciation overrides: JSON lines of text to phoneme tokens; none where the default file is not installed.",
    )
    vocos_sha256: str | None = _setting(
        None,
        "sha256",
        "Hash of the checkpoint's 32 kHz vocoder, which is executable code; it is not loaded without the hash.",
        pattern="^[0-9a-fA-F]{64}$",
    )

    # TLS, and what stands in front.
    tls_certificate: Path | None = _setting(
        None, "path", "Certificate and its chain, PEM, to serve HTTPS with; reloaded when it changes."
    )
    tls_key: Path | None = _setting(None, "path", "Private key of the certificate, PEM; reloaded when it changes.")
    tls_ca: Path | None = _setting(
        None, "path", "CA certificates that signed those of the other nodes; else well-known ones are trusted."
    )

    trusted_proxies: str = _setting(
        "",
        "addresses, comma-separated",
        "Proxies whose X-Forwarded-For and X-Forwarded-Proto count, such as 10.0.0.5 or 10.0.0.0/8; none if empty.",
    )

    # Requests.
    api_keys_file: Path | None = _setting(
        None, "path", "File of API keys, which `python -m server.keys new` makes; reloaded when it changes."
    )
    protect_metrics: bool = _setting(False, "switch", "/metrics needs an API key with the scope admin.")
    protect_names: bool = _setting(
        False, "switch", "The names of models and voices under /v1 need an API key with the scope speak."
    )
    allowed_hosts: str = _setting(
        "",
        "names, comma-separated",
        "Public names of this server, which it serves without API keys; .example.com is all below it, * every name.",
    )
    cors_origins: str = _setting(
        "",
        "origins, comma-separated",
        "Origins of web pages that may use this server, such as https://example.com; * is all. Off if empty.",
    )
    max_body_bytes: int = _setting(
        25 * 2**20, "bytes", "Maximum size of a request body; a larger one is rejected unread.", ge=1024
    )
    console: bool = _setting(True, "switch", "Serve the console, a page to try voices with, at /.")
    strip_markup: bool = _setting(
        True, "switch", "Read Markdown and HTML as what they mark up; off reads their signs as they are written."
    )
    audible_mark: bool = _setting(
        False, "switch", 'Begin speech with a sound that says that it is synthetic: "AI" in Morse code, 0.9 s long.'
    )
    max_text_chars: int = _setting(5000, "characters", "Maximum length of a request's text.", ge=1, le=5000)
    default_voice: str = _setting("default", "voice name", "Stored voice for requests that name none.")
    voice_aliases: str = _setting(
        "",
        "NAME=VOICE,…",
        "Other names for stored voices; under /v1 OpenAI's names stand for one of the stored voices anyhow.",
        pattern=r"^([^=,]+=[A-Za-z0-9_-]+(,[^=,]+=[A-Za-z0-9_-]+)*)?$",
    )
    builtin_voices: bool = _setting(
        True, "switch", "Offer the voices that come with the server if the checkpoint brings none of its own."
    )
    voices_dir: Path | None = _setting(
        None,
        "path",
        "Directory of stored voices, searched before the checkpoint's; POST and DELETE /voices write here.",
    )
    write_checkpoint_voices: bool = _setting(
        False, "switch", "Without voices_dir, let POST and DELETE /voices change the checkpoint's own voices."
    )
    max_voices: int = _setting(1000, "voices", "Maximum number of voices that POST /voices may store.", ge=1)
    max_voices_bytes: int = _setting(
        2 * 2**30, "bytes", "Maximum size of the folder that POST /voices stores voices in.", ge=1
    )
    sync_voices: bool = _setting(
        True, "switch", "Keep the stored voices the same as those of the other nodes that are in Consul."
    )
    peer_api_key_file: Path | None = _setting(
        None, "path", "File with the API key that the other nodes take from this one; its scope is voices."
    )
    require_consent: bool = _setting(
        False, "switch", "A recording, stored or sent with a text, needs consent: who agreed to the use of the voice."
    )
    audit_log: Path | None = _setting(
        None, "path", "File to which each clone, stored and deleted voice adds a JSON line; the log has them too."
    )
    default_emotion: str | None = _setting(
        None, "style", "Style for requests that name none, if the voice has it; else the voice's default style."
    )
    default_speed: float = _setting(1.0, "factor", "Speed for requests that give none.", ge=MIN_SPEED, le=MAX_SPEED)
    voice_cache_items: int = _setting(64, "voices", "Maximum number of prepared voices kept in memory.", ge=1)
    voice_cache_bytes: int = _setting(64 * 2**20, "bytes", "Maximum memory for prepared voices.", ge=1)
    request_history_size: int = _setting(
        1000, "requests", "Number of recent requests that GET /requests/<id> can report.", ge=1
    )

    # Load.
    threads: int = _setting(32, "threads", "Threads that serve HTTP requests of any kind.", ge=4, le=1024)
    voice_threads: int = _setting(
        2, "threads", "Threads that prepare voices from recordings; with 8 more waiting, another gets 429.", ge=1, le=64
    )
    max_concurrent_requests: int = _setting(
        16, "requests", "Maximum number of speech requests at once, queued ones included; at most threads - 2.", ge=1
    )
    max_backlog_seconds: float = _setting(
        300.0, "s of audio", "Audio still to be made for earlier requests above which a request gets 429.", gt=0
    )
    queue_timeout: float = _setting(
        60.0, "s", "How long a request may wait in the queue if it gives no timeout.", gt=0, le=600
    )
    read_timeout: float = _setting(10.0, "s", "Maximum time between two reads of a request.", gt=0)
    request_timeout: float = _setting(60.0, "s", "Maximum time to receive a whole request.", gt=0)
    write_timeout: float = _setting(30.0, "s", "A client that reads nothing for this long is disconnected.", gt=0)

    # Observability.
    otlp_endpoint: str | None = _setting(
        None,
        "URL",
        "OTLP collector for request traces, such as http://host:4318; OTEL_EXPORTER_OTLP_ENDPOINT works too.",
        pattern="^https?://[^/]+",
    )

    # Shutdown.
    propagation_delay: float = _setting(
        12.0, "s", "How long to keep serving after SIGTERM; clients cache the node list for 10 s.", ge=0
    )
    drain_timeout: float = _setting(60.0, "s", "How long running requests may then take to finish.", ge=0)

    # Consul.
    consul: bool = _setting(True, "switch", "Register in Consul; without an agent the node serves and keeps retrying.")
    consul_addr: str = _setting(
        "127.0.0.1:8500",
        "host:port or URL",
        "Address of the local agent.",
        validation_alias=_or("CONSUL_ADDR", "CONSUL_HTTP_ADDR"),
    )
    consul_token: SecretStr | None = _setting(
        None,
        "secret",
        "ACL token; prefer consul_token_file.",
        validation_alias=_or("CONSUL_TOKEN", "CONSUL_HTTP_TOKEN"),
    )
    consul_token_file: Path | None = _setting(
        None,
        "path",
        "File with the ACL token; read again when it changes.",
        validation_alias=_or("CONSUL_TOKEN_FILE", "CONSUL_HTTP_TOKEN_FILE"),
    )
    consul_auth: SecretStr | None = _setting(
        None,
        "secret",
        "HTTP basic authentication for the agent, as user:password.",
        validation_alias=_or("CONSUL_AUTH", "CONSUL_HTTP_AUTH"),
    )
    consul_ssl: bool = _setting(
        False,
        "switch",
        "Use TLS to the agent, as an https:// address does.",
        validation_alias=_or("CONSUL_SSL", "CONSUL_HTTP_SSL"),
    )
    consul_ssl_verify: bool = _setting(
        True,
        "switch",
        "Verify the agent's certificate.",
        validation_alias=_or("CONSUL_SSL_VERIFY", "CONSUL_HTTP_SSL_VERIFY"),
    )
    consul_ca: Path | None = _setting(
        None,
        "path",
        "CA certificate that signed the agent's certificate.",
        validation_alias=_or("CONSUL_CA", "CONSUL_CACERT"),
    )
    consul_cert: Path | None = _setting(
        None,
        "path",
        "Client certificate to present to the agent.",
        validation_alias=_or("CONSUL_CERT", "CONSUL_CLIENT_CERT"),
    )
    consul_key: Path | None = _setting(
        None,
        "path",
        "Private key of the client certificate.",
        validation_alias=_or("CONSUL_KEY", "CONSUL_CLIENT_KEY"),
    )
    consul_service: str = _setting("glm-tts", "name", "Service name.", pattern="^[A-Za-z0-9-]{1,63}$")
    kv_prefix: str = _setting(
        "glm-tts",
        "KV path",
        "Prefix in Consul's KV store of the shared configuration: default_style, g2p_replace, limits.",
        pattern="^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$",
    )
    node_name: str | None = _setting(
        None, "name", "Node name in the service id; defaults to the host name.", pattern="^[A-Za-z0-9._-]{1,200}$"
    )
    advertise: str | None = _setting(
        None, "address", "Address that clients connect to; defaults to the local address of the agent connection."
    )
    loopback_cluster: bool = _setting(
        False, "switch", "Allow registering a loopback address: a whole cluster on one host."
    )
    region: str | None = _setting(None, "name", "Region, for clients that prefer their own.", max_length=512)
    tier: Literal["cpu", "small", "large"] | None = _setting(
        None, "name", "Size class of the node; defaults to one chosen by its device."
    )
    health_interval: float = _setting(10.0, "s", "Interval of Consul's /health check.", ge=1)
    health_timeout: float = _setting(5.0, "s", "Timeout of Consul's /health check.", gt=0)
    deregister_after: float = _setting(
        30.0, "s", "How long a node may be critical before Consul removes it; Consul's minimum is 60.", gt=0
    )
    consul_ttl: float = _setting(
        15.0, "s", "TTL of the engine check: it turns critical without a heartbeat for this long.", ge=2
    )
    stall_timeout: float = _setting(
        20.0, "s", "An engine that makes no progress for this long is stalled and sends no passing heartbeat.", gt=0
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @property
    def scheme(self) -> Literal["http", "https"]:
        """What this node serves."""
        return "http" if self.tls_certificate is None else "https"

    def model_post_init(self, _context: Any) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate, tls_key: expected both or none, got one")
        if self.max_concurrent_requests > self.threads - 2:
            raise ValueError(
                f"max_concurrent_requests: expected at most threads - 2 = {self.threads - 2}, "
                f"got {self.max_concurrent_requests}"
            )


NOT_SETTINGS = frozenset(
    {"GLMTTS_CAMPPLUS", "GLMTTS_GOLDEN", "GLMTTS_REFERENCE", "GLMTTS_URL", "GLMTTS_API_KEY", "GLMTTS_CA"}
)
"""Variables of the parity tool, the tests and the client; they may be set when the server starts."""


def comma_separated(value: str) -> list[str]:
    """The items of a setting that is a list."""
    return [item.strip() for item in value.split(",") if item.strip()]


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """GLMTTS_* variables that no setting reads: misspelt names would otherwise be ignored silently."""
    known = NOT_SETTINGS | {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def load(**flags: Any) -> Settings:
    """Settings from flags (None: not given), environment and defaults. ValueError lists everything that is wrong."""
    if unknown := unknown_variables(os.environ):
        raise ValueError(f"unknown settings {', '.join(unknown)}: --print-settings lists all settings")
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise ValueError("; ".join(map(_problem, error.errors(include_url=False)))) from None


def _problem(error: ErrorDetails) -> str:
    """`name (GLMTTS_NAME): expected X, got Y`. An error about several settings is worded by its validator."""
    if not error["loc"]:
        return error["msg"].removeprefix("Value error, ")
    name = str(error["loc"][0]).upper().removeprefix(PREFIX)
    return f"{name.lower()} ({PREFIX}{name}): expected {validation.expected(error)}, got {error['input']!r}"


def describe(settings: Settings) -> str:
    """One line per setting: NAME=value, its unit and its description. Secrets are masked."""
    lines = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        text = "" if value is None else str(value)
        extra = field.json_schema_extra
        unit = extra["unit"] if isinstance(extra, dict) else ""
        lines.append(f"{PREFIX}{name.upper()}={text}  # [{unit}] {field.description}")
    return "\n".join(lines)
