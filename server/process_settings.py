"""Settings of the server as a program: its flags, its traces, and how it ends."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, field_validator

from server.setting import setting


class ProcessSettings(BaseModel):
    # Also set by flags.
    host: str = setting("127.0.0.1", "address", "Address to listen on; 0.0.0.0 listens on every interface.")
    port: int = setting(7860, "TCP port", "Port to listen on.", ge=1, le=65535)
    checkpoint: str = setting("", "path", "Checkpoint directory; empty uses the bundled checkpoint.")
    device: str = setting("auto", "torch device", "Device for the model: auto (CUDA if available), cpu, cuda, cuda:1.")
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", "level", "Minimum level to log.")
    deterministic: bool = setting(
        False, "switch", "A seed gives the same tokens at any load: float32 and fixed batch shapes, so slower."
    )

    # Observability.
    otlp_endpoint: str | None = setting(
        None,
        "URL",
        "OTLP collector for request traces, such as http://host:4318; OTEL_EXPORTER_OTLP_ENDPOINT works too.",
        pattern="^https?://[^/]+",
    )

    # Shutdown.
    propagation_delay: float = setting(
        12.0, "s", "How long to keep serving after SIGTERM; clients cache the node list for 10 s.", ge=0
    )
    drain_timeout: float = setting(60.0, "s", "How long running requests may then take to finish.", ge=0)

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value
