"""The command `glmtts`: words to calls, results to tables, files and exit codes. What it does is the package's.

Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 something failed, 2 a wrong
command line, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from glmtts_client.batch.runner import BATCH_RETRY
from glmtts_client.cli import output as audio_output
from glmtts_client.cli import progress, tables
from glmtts_client.cluster import Cluster
from glmtts_client.errors import ClientError
from glmtts_client.node import ANY_NODE, Query
from glmtts_client.retry import RetryPolicy
from glmtts_client.speech import SpeechOptions

F = TypeVar("F", bound=Callable[..., Any])
SAY_DEADLINE = 60.0
errors = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Connection:
    """What the options before the command say."""

    settings: dict[str, Any]

    def cluster(self, query: Query = ANY_NODE, retry: RetryPolicy | None = None) -> Cluster:
        try:
            return Cluster(query=query, retry=retry, **self.settings)
        except ValueError as error:
            raise click.UsageError(str(error)) from None


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--consul", metavar="ADDRESS", help="Consul agent; else the CONSUL_* variables, else 127.0.0.1:8500.")
@click.option("--url", "urls", multiple=True, metavar="URL", envvar="GLMTTS_URL", help="A node itself, without Consul.")
@click.option("--service", default="glm-tts", show_default=True, help="Name of the service in Consul.")
@click.option("--region", help="Prefer nodes of this region.")
@click.option("--api-key", envvar="GLMTTS_API_KEY", help="API key; better in the variable GLMTTS_API_KEY.")
@click.option("-v", "--verbose", is_flag=True, help="Say what is tried, and why again.")
@click.version_option(package_name="glmtts-client")
@click.pass_context
def cli(
    context: click.Context,
    consul: str | None,
    urls: tuple[str, ...],
    service: str,
    region: str | None,
    api_key: str | None,
    verbose: bool,
) -> None:
    """Speaks with a cluster of GLM-TTS servers."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, stream=sys.stderr, format="glmtts: %(message)s"
    )
    context.obj = Connection({"consul": consul, "urls": urls, "service": service, "region": region, "api_key": api_key})


def filters(command: F) -> F:
    """The options that say what a node must be."""
    for option in (
        click.option("--model-version", "version", metavar="RANGE", help='Only such models: "1.4" or ">=1.2,<2".'),
        click.option("--model", help="Only nodes with this model."),
        click.option("--feature", "features", multiple=True, metavar="NAME", help="Only nodes with this feature."),
        click.option("--language", metavar="CODE", help="Only nodes that speak it: zh, en."),
    ):
        command = option(command)
    return command


def spoken(command: F) -> F:
    """The options that say how a text shall be spoken."""
    for option in (
        click.option("--phoneme/--no-phoneme", default=None, help="Force phoneme mode."),
        click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Same seed, same sound."),
        click.option("--sample-rate", type=int, metavar="HZ", help="Of the output; nodes that make it are preferred."),
        click.option("--speed", type=click.FloatRange(0.5, 2.0), help="Of the speech."),
        click.option("--reference-text", help="What is said in the recording."),
        click.option("--reference", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A recording."),
        click.option("--style", help="One of the voice's recordings: happy, calm …"),
        click.option("--voice", help="A stored voice."),
    ):
        command = option(command)
    return command


def _options(given: dict[str, Any]) -> tuple[Query, SpeechOptions]:
    """From the values of `filters` and `spoken`."""
    reference: Path | None = given.pop("reference")
    query = Query(given.pop("language"), frozenset(given.pop("features")), model=given.pop("model"),
                  version=given.pop("version"))  # fmt: skip
    return query, SpeechOptions(reference_audio=reference.read_bytes() if reference else None, **given)


@cli.command()
@click.argument("text")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File; its ending is the format.")
@click.option("--play", is_flag=True, help="Play it while it is being made.")
@filters
@spoken
@click.pass_obj
def say(connection: Connection, /, text: str, output: Path | None, play: bool, **given: Any) -> None:
    """Speak TEXT ("-": standard input), into a file or aloud."""
    if output is None and not play:
        raise click.UsageError("want -o FILE, --play, or both")
    if play and output is not None and output.suffix not in (".wav", ".pcm"):
        raise click.UsageError(f"-o {output}: with --play want .wav or .pcm")
    query, options = _options(given)
    text = sys.stdin.read() if text == "-" else text
    with connection.cluster(query, RetryPolicy(deadline=SAY_DEADLINE)) as cluster:
        progress.announce(cluster, errors)
        trace = os.environ.get("TRACEPARENT")
        outcome = audio_output.say(cluster, text, options, output=output, play=play, traceparent=trace)
        errors.print(outcome, soft_wrap=True)


@cli.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("-j", "--jobs", type=click.IntRange(1, 256), default=4, show_default=True, help="Items at a time.")
@click.option("--format", "file_format", default="wav", show_default=True, help="Of the files.")
@click.option("--deadline", type=click.FloatRange(1), default=BATCH_RETRY.deadline, show_default=True,
              metavar="SECONDS", help="How long an item may take, waiting for nodes included.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print each result as a JSON line.")
@filters
@spoken
@click.pass_obj
def batch(
    connection: Connection,
    /,
    source: Path,
    folder: Path,
    jobs: int,
    file_format: str,
    deadline: float,
    as_json: bool,
    **given: Any,
) -> None:
    """Speak every line of SOURCE (JSON lines: text, and id, voice, style, speed … as wanted) into FOLDER.

    What is finished already is not made again. FOLDER/results.jsonl says how each item went.
    """
    query, options = _options(given)
    with connection.cluster(query, replace(BATCH_RETRY, deadline=deadline)) as cluster:
        defaults = replace(options, format=file_format)
        sys.exit(progress.run(cluster, source, folder, defaults, jobs=jobs, as_json=as_json, console=errors))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each node.")
@click.pass_obj
def nodes(connection: Connection, as_json: bool) -> None:
    """Show every registered node and how it stands."""
    with connection.cluster() as cluster:
        tables.nodes(cluster, as_json=as_json)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each voice.")
@click.pass_obj
def voices(connection: Connection, as_json: bool) -> None:
    """Show the stored voices and which nodes have them."""
    with connection.cluster() as cluster:
        tables.voices(cluster, as_json=as_json)


def main() -> None:
    """The program. What fails is said in one line."""
    try:
        code = cli(prog_name="glmtts", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = progress.INTERRUPTED
    except (ClientError, OSError) as error:
        errors.print(f"glmtts: {error}", markup=False, soft_wrap=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
