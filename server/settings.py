"""Every setting of the server: its name, default, unit and one sentence. Read once, then frozen.

Flags win over the environment (`GLMTTS_*`), which wins over the defaults. The Consul settings also take the names that
Consul's own tools read. Knows nothing about what the settings do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "GLMTTS_"
REPLACEMENTS = Path(__file__).resolve().parents[1] / "G2P_replace_dict.jsonl"


def _setting(default: Any, unit: str, sentence: str, **limits: Any) -> Any:
    """A field that knows its unit and says what it does."""
    return Field(default, description=sentence, json_schema_extra={"unit": unit}, **limits)


def _or(ours: str, theirs: str) -> AliasChoices:
    """Read from GLMTTS_<ours>, else from the variable that Consul's own tools read."""
    return AliasChoices(PREFIX + ours, theirs)


class Settings(BaseSettings):
    """The settings in force. Out of range or of the wrong type: a pydantic ValidationError that names the field."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True
    )

    # What the flags set.
    host: str = _setting("127.0.0.1", "address", "Address to listen on; 0.0.0.0 is every interface.")
    port: int = _setting(7860, "TCP port", "Port to listen on.", ge=1, le=65535)
    checkpoint: str = _setting("", "path", "Directory of the checkpoint; empty means the one that comes along.")
    device: str = _setting("auto", "torch device", "Where the model runs: auto (CUDA if there), cpu, cuda, cuda:1.")
    log_level: Literal["debug", "info", "warning", "error"] = _setting("info", "level", "Least level that is logged.")
    deterministic: bool = _setting(
        False, "switch", "Whoever else is served, a seed draws the same tokens: float32 and fixed shapes, so slower."
    )

    # The model.
    kv_slots: int = _setting(
        16, "requests", "Requests that are spoken at once; memory for each is taken, or refused, at the start.", ge=1
    )
    g2p_replace: Path = _setting(REPLACEMENTS, "path", "Pronunciation overrides, JSON lines of text to phoneme tokens.")
    vocos_sha256: str | None = _setting(
        None,
        "sha256",
        "Hash of the checkpoint's 32 kHz vocoder, which is code: without it that one is left out.",
        pattern="^[0-9a-fA-F]{64}$",
    )

    # Requests.
    api_keys_file: Path | None = _setting(None, "path", "File of API keys, one a line; reloaded when it changes.")
    max_body: int = _setting(25 * 2**20, "bytes", "Longest request body; more is refused unread.", ge=1024)
    max_text: int = _setting(5000, "characters", "Longest text of one request.", ge=1, le=5000)
    default_voice: str = _setting("default", "voice name", "Stored voice of requests that name none.")
    voices_dir: Path | None = _setting(
        None, "path", "Folder of stored voices, before the checkpoint's own; POST and DELETE /voices write here."
    )
    write_checkpoint_voices: bool = _setting(
        False, "switch", "Without voices_dir, let POST and DELETE /voices change the checkpoint's own voices."
    )
    max_voices: int = _setting(1000, "voices", "How many stored voices POST /voices may make.", ge=1)
    default_emotion: str | None = _setting(
        None, "style", "Style of requests that name none, where the voice has it; else the voice's own default."
    )
    default_speed: float = _setting(1.0, "factor", "Speed of requests that name none.", ge=0.5, le=2.0)
    voice_cache_items: int = _setting(64, "voices", "How many prepared voices are kept in memory.", ge=1)
    voice_cache_bytes: int = _setting(64 * 2**20, "bytes", "How much memory the prepared voices may take.", ge=1)
    records: int = _setting(1000, "requests", "How many finished requests GET /requests/<id> remembers.", ge=1)

    # Load.
    threads: int = _setting(32, "threads", "Threads that answer HTTP, of every kind.", ge=4, le=1024)
    speech_threads: int = _setting(
        16,
        "requests",
        "Speech requests at once, waiting ones too; fewer than `threads`.",
        ge=1,
    )
    queue_seconds: float = _setting(300.0, "s of audio", "Audio owed to earlier requests, beyond which 429.", gt=0)
    queue_timeout: float = _setting(60.0, "s", "How long a request waits in line when it does not say.", gt=0, le=600)
    read_timeout: float = _setting(10.0, "s", "Longest silence while a request is being read.", gt=0)
    request_timeout: float = _setting(60.0, "s", "Longest time in which a whole request must have come in.", gt=0)
    write_timeout: float = _setting(30.0, "s", "A reader that takes no byte for so long is cut.", gt=0)

    # Watching.
    otlp_endpoint: str | None = _setting(
        None,
        "URL",
        "OTLP collector (http://host:4318) that gets a trace of each request; OTEL_EXPORTER_OTLP_ENDPOINT does it too.",
        pattern="^https?://[^/]+",
    )

    # Leaving.
    propagation_delay: float = _setting(12.0, "s", "After SIGTERM serve on for so long: callers cache for 10 s.", ge=0)
    drain_grace: float = _setting(60.0, "s", "Then running requests may finish for so long.", ge=0)

    # Consul.
    consul: bool = _setting(True, "switch", "Join Consul; without an agent the node serves on and tries again.")
    consul_addr: str = _setting(
        "127.0.0.1:8500",
        "host:port or URL",
        "The local agent.",
        validation_alias=_or("CONSUL_ADDR", "CONSUL_HTTP_ADDR"),
    )
    consul_token: SecretStr | None = _setting(
        None, "secret", "ACL token; a file is better.", validation_alias=_or("CONSUL_TOKEN", "CONSUL_HTTP_TOKEN")
    )
    consul_token_file: Path | None = _setting(
        None,
        "path",
        "File with the ACL token; read again at every beat.",
        validation_alias=_or("CONSUL_TOKEN_FILE", "CONSUL_HTTP_TOKEN_FILE"),
    )
    consul_auth: SecretStr | None = _setting(
        None, "secret", "user:password of the agent.", validation_alias=_or("CONSUL_AUTH", "CONSUL_HTTP_AUTH")
    )
    consul_ssl: bool = _setting(
        False,
        "switch",
        "Speak TLS to the agent, as https:// does.",
        validation_alias=_or("CONSUL_SSL", "CONSUL_HTTP_SSL"),
    )
    consul_ssl_verify: bool = _setting(
        True,
        "switch",
        "Check the agent's certificate.",
        validation_alias=_or("CONSUL_SSL_VERIFY", "CONSUL_HTTP_SSL_VERIFY"),
    )
    consul_ca: Path | None = _setting(
        None, "path", "CA that signed the agent's certificate.", validation_alias=_or("CONSUL_CA", "CONSUL_CACERT")
    )
    consul_cert: Path | None = _setting(
        None, "path", "Our client certificate.", validation_alias=_or("CONSUL_CERT", "CONSUL_CLIENT_CERT")
    )
    consul_key: Path | None = _setting(
        None, "path", "Its key.", validation_alias=_or("CONSUL_KEY", "CONSUL_CLIENT_KEY")
    )
    consul_service: str = _setting("glm-tts", "name", "Name of the service.", pattern="^[A-Za-z0-9-]{1,63}$")
    kv_prefix: str = _setting(
        "glm-tts",
        "KV path",
        "Where Consul's KV store has what all nodes share: default_style, g2p_replace, limits.",
        pattern="^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$",
    )
    node_name: str | None = _setting(None, "name", "Stands in the service id instead of the host's name.")
    advertise: str | None = _setting(None, "address", "Address that callers use; else that of our side to the agent.")
    loopback_cluster: bool = _setting(False, "switch", "Register 127.0.0.1: a whole cluster on one machine.")
    region: str | None = _setting(None, "name", "Region, for callers that prefer their own.", max_length=512)
    tier: Literal["cpu", "small", "large"] | None = _setting(None, "name", "Size of the node; else from the device.")
    health_interval: float = _setting(10.0, "s", "How often Consul asks /health.", ge=1)
    health_timeout: float = _setting(5.0, "s", "How long Consul waits for the answer.", gt=0)
    deregister_after: float = _setting(30.0, "s", "Critical for so long is reaped; Consul makes it at least 60.", gt=0)
    ttl: float = _setting(15.0, "s", "Without a beat for so long Consul calls the engine critical.", ge=2)
    progress_limit: float = _setting(20.0, "s", "An engine without progress for so long is stalled: no beat.", gt=0)

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    def model_post_init(self, _context: Any) -> None:
        if self.speech_threads > self.threads - 2:
            raise ValueError(
                f"speech_threads {self.speech_threads} leaves no thread for probes: want at most threads - 2, "
                f"which is {self.threads - 2}"
            )


NOT_SETTINGS = frozenset({"GLMTTS_CAMPPLUS", "GLMTTS_GOLDEN", "GLMTTS_REFERENCE", "GLMTTS_URL", "GLMTTS_API_KEY"})
"""Variables of the parity tool, the tests and the client: a shell that has them may start the server too."""


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """GLMTTS_* variables that no setting reads: typing errors that would otherwise change nothing, silently."""
    known = NOT_SETTINGS | {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def load(**flags: Any) -> Settings:
    """Settings from flags (None: not given), environment and defaults. ValueError: what is wrong, in one text."""
    if unknown := unknown_variables(os.environ):
        raise ValueError(f"unknown settings {', '.join(unknown)}: --print-settings lists those there are")
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise ValueError("; ".join(map(_problem, error.errors(include_url=False)))) from None


def _problem(error: ErrorDetails) -> str:
    """`name (GLMTTS_NAME): came X; want Y`. What concerns several settings names them itself, and shows no value."""
    if not error["loc"]:
        return error["msg"].removeprefix("Value error, ")
    name = str(error["loc"][0]).upper().removeprefix(PREFIX)
    want = error["msg"].removeprefix("Input should be ").removeprefix("String should ")
    return f"{name.lower()} ({PREFIX}{name}): came {error['input']!r}; want {want}"


def describe(settings: Settings) -> str:
    """One line a setting: NAME=value, its unit and its sentence. Secrets are masked."""
    lines = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        shown = "" if value is None else str(value)
        extra = field.json_schema_extra
        unit = extra["unit"] if isinstance(extra, dict) else ""
        lines.append(f"{PREFIX}{name.upper()}={shown}  # [{unit}] {field.description}")
    return "\n".join(lines)
