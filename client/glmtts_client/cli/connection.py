"""The options that say how to reach the cluster. They may stand before or after the subcommand."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from glmtts_client.cluster import Cluster
from glmtts_client.consul import ConsulAddress
from glmtts_client.node import ANY_NODE, Query
from glmtts_client.retry import RetryPolicy

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Connection:
    """The values of `connection_options`."""

    consul: str | None = None
    token: str | None = None
    urls: tuple[str, ...] = ()
    service: str = "glm-tts"
    region: str | None = None
    api_key: str | None = None
    ca: str | None = None
    verbose: bool = False

    def open(self, query: Query = ANY_NODE, retry: RetryPolicy | None = None) -> Cluster:
        """Raises UsageError for a malformed address."""
        level = logging.INFO if self.verbose else logging.WARNING
        logging.basicConfig(level=level, stream=sys.stderr, format="glmtts: %(message)s")
        try:
            return Cluster(
                None if self.urls else self._consul_address(),
                urls=self.urls,
                service=self.service,
                region=self.region,
                api_key=self.api_key,
                ca=self.ca,
                query=query,
                retry=retry,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    def _consul_address(self) -> ConsulAddress:
        address = ConsulAddress.from_env(self.consul)
        return address if self.token is None else replace(address, token=self.token, token_file=None)


def _store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Stores an option in the Connection that the command shares with its group.

    The group is parsed first: after the subcommand only what is on the command line counts, not the environment.
    """
    connection = context.ensure_object(Connection)
    assert parameter.name is not None
    source = context.get_parameter_source(parameter.name)
    if context.parent is None or source is ParameterSource.COMMANDLINE:
        setattr(connection, parameter.name, value)


def _option(*names: str, **attributes: Any) -> Callable[[F], F]:
    return click.option(*names, expose_value=False, callback=_store, **attributes)


def connection_options(command: F) -> F:
    """Adds the options; their values go to the context's Connection."""
    for option in (
        _option("-v", "--verbose", is_flag=True, help="Log retries and failovers."),
        _option("--api-key", envvar="GLMTTS_API_KEY", help="API key; preferably in GLMTTS_API_KEY."),
        _option("--ca", metavar="FILE", envvar="GLMTTS_CA", help="CA certificates that signed the nodes' ones."),
        _option("--region", help="Prefer nodes in this region."),
        _option("--service", default=Connection.service, show_default=True, help="Name of the service in Consul."),
        _option("--url", "urls", multiple=True, metavar="URL", envvar="GLMTTS_URL", help="A node, without Consul."),
        _option("--token", help="Consul ACL token; preferably in CONSUL_HTTP_TOKEN."),
        _option("--consul", metavar="ADDRESS", help="Consul agent; default: CONSUL_HTTP_ADDR, then 127.0.0.1:8500."),
    ):
        command = option(command)
    return command
