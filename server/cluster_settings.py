"""Settings of the node in its cluster, which Consul knows."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, SecretStr

from server.setting import consul_variable, setting


class ClusterSettings(BaseModel):
    consul: bool = setting(True, "switch", "Register in Consul; without an agent the node serves and keeps retrying.")
    consul_addr: str = setting(
        "127.0.0.1:8500",
        "host:port or URL",
        "Address of the local agent.",
        validation_alias=consul_variable("CONSUL_ADDR", "CONSUL_HTTP_ADDR"),
    )
    consul_token: SecretStr | None = setting(
        None,
        "secret",
        "ACL token; prefer consul_token_file.",
        validation_alias=consul_variable("CONSUL_TOKEN", "CONSUL_HTTP_TOKEN"),
    )
    consul_token_file: Path | None = setting(
        None,
        "path",
        "File with the ACL token; read again when it changes.",
        validation_alias=consul_variable("CONSUL_TOKEN_FILE", "CONSUL_HTTP_TOKEN_FILE"),
    )
    consul_auth: SecretStr | None = setting(
        None,
        "secret",
        "HTTP basic authentication for the agent, as user:password.",
        validation_alias=consul_variable("CONSUL_AUTH", "CONSUL_HTTP_AUTH"),
    )
    consul_ssl: bool = setting(
        False,
        "switch",
        "Use TLS to the agent, as an https:// address does.",
        validation_alias=consul_variable("CONSUL_SSL", "CONSUL_HTTP_SSL"),
    )
    consul_ssl_verify: bool = setting(
        True,
        "switch",
        "Verify the agent's certificate.",
        validation_alias=consul_variable("CONSUL_SSL_VERIFY", "CONSUL_HTTP_SSL_VERIFY"),
    )
    consul_ca: Path | None = setting(
        None,
        "path",
        "CA certificate that signed the agent's certificate.",
        validation_alias=consul_variable("CONSUL_CA", "CONSUL_CACERT"),
    )
    consul_cert: Path | None = setting(
        None,
        "path",
        "Client certificate to present to the agent.",
        validation_alias=consul_variable("CONSUL_CERT", "CONSUL_CLIENT_CERT"),
    )
    consul_key: Path | None = setting(
        None,
        "path",
        "Private key of the client certificate.",
        validation_alias=consul_variable("CONSUL_KEY", "CONSUL_CLIENT_KEY"),
    )
    consul_service: str = setting("glm-tts", "name", "Service name.", pattern="^[A-Za-z0-9-]{1,63}$")
    kv_prefix: str = setting(
        "glm-tts",
        "KV path",
        "Prefix in Consul's KV store of the shared configuration: default_style, g2p_replace, limits.",
        pattern="^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$",
    )
    node_name: str | None = setting(
        None, "name", "Node name in the service id; defaults to the host name.", pattern="^[A-Za-z0-9._-]{1,200}$"
    )
    advertise: str | None = setting(
        None, "address", "Address that clients connect to; defaults to the local address of the agent connection."
    )
    loopback_cluster: bool = setting(
        False, "switch", "Allow registering a loopback address: a whole cluster on one host."
    )
    region: str | None = setting(None, "name", "Region, for clients that prefer their own.", max_length=512)
    tier: Literal["cpu", "small", "large"] | None = setting(
        None, "name", "Size class of the node; defaults to one chosen by its device."
    )
    health_interval: float = setting(10.0, "s", "Interval of Consul's /health check.", ge=1)
    health_timeout: float = setting(5.0, "s", "Timeout of Consul's /health check.", gt=0)
    deregister_after: float = setting(
        30.0, "s", "How long a node may be critical before Consul removes it; Consul's minimum is 60.", gt=0
    )
    consul_ttl: float = setting(
        15.0, "s", "TTL of the engine check: it turns critical without a heartbeat for this long.", ge=2
    )
    stall_timeout: float = setting(
        20.0, "s", "An engine that makes no progress for this long is stalled and sends no passing heartbeat.", gt=0
    )
