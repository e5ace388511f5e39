"""The command line: parses options, calls the library, and sets the exit code.

Data goes to standard output, everything else to standard error. Exit codes: 0 success, 1 failure, 2 invalid command
line, 130 interrupted.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from rich.console import Console

from glmtts_client.batch.runner import BATCH_RETRY
from glmtts_client.cli import output as audio_output
from glmtts_client.cli import progress, subtitles, tables
from glmtts_client.cli.connection import Connection, connection_options
from glmtts_client.cli.voices import voices
from glmtts_client.errors import ClientError
from glmtts_client.node import Query
from glmtts_client.retry import RetryPolicy
from glmtts_client.speech import Language, Segment, SpeechOptions

F = TypeVar("F", bound=Callable[..., Any])
SAY_TIMEOUT = 60.0
stderr = Console(stderr=True, highlight=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@connection_options
@click.version_option(package_name="glmtts-client")
def cli() -> None:
    """Client for a cluster of GLM-TTS servers.

    The options below may also stand after the command.
    """


cli.add_command(voices)


def query_options(command: F) -> F:
    """Adds the requirements on a node."""
    for option in (
        click.option("--model-version", "version", metavar="RANGE", help='Only these models: "1.4" or ">=1.2,<2".'),
        click.option("--model", help="Only nodes with this model."),
        click.option("--feature", "features", multiple=True, metavar="NAME", help="Only nodes with this feature."),
        click.option(
            "--language",
            type=click.Choice(get_args(Language)),
            help="How numbers are read; zh and en also take only nodes with this language.",
        ),
    ):
        command = option(command)
    return command


def speech_options(command: F) -> F:
    """Adds the options of the speech itself."""
    audio_file = click.Path(path_type=Path, exists=True, dir_okay=False)
    for option in (
        click.option("--phoneme/--no-phoneme", default=None, help="Turn phoneme mode on or off."),
        click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="The same seed gives the same audio."),
        click.option("--sample-rate", type=int, metavar="HZ", help="Sample rate; prefers nodes that produce it."),
        click.option("--speed", type=click.FloatRange(0.25, 4.0), help="Speaking rate."),
        click.option("--consent", help="Who agreed to the use of the reference audio, and how."),
        click.option("--reference-text", help="Transcript of the reference audio."),
        click.option("--reference-audio", type=audio_file, help="Audio of the voice to speak with."),
        click.option("--style", help="Style of the voice, such as happy or calm."),
        click.option("--voice", help="A stored voice."),
    ):
        command = option(command)
    return command


def stdin_pieces() -> Iterator[str]:
    """Standard input as it comes, not line by line."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    while data := os.read(sys.stdin.fileno(), 4096):
        yield decoder.decode(data)
    yield decoder.decode(b"", final=True)


def _query_and_options(values: dict[str, Any]) -> tuple[Query, SpeechOptions]:
    """From the values of `query_options` and `speech_options`."""
    reference_audio: Path | None = values.pop("reference_audio")
    query = _query(values)
    return query, SpeechOptions(reference_audio=reference_audio.read_bytes() if reference_audio else None, **values)


def _query(values: dict[str, Any]) -> Query:
    """From the values of `query_options`, all of which but the language it removes."""
    features = frozenset(values.pop("features"))
    return Query(None, features, model=values.pop("model"), version=values.pop("version")).with_language(
        values["language"]
    )


@cli.command()
@click.argument("text", required=False)
@click.option("--follow", is_flag=True, help="Speak standard input while it is written; no TEXT.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File; its suffix is the format.")
@click.option("--play", is_flag=True, help="Play the audio while it is synthesized.")
@click.option(
    "--subtitles",
    "subtitles_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write subtitles: a .vtt or .srt file.",
)
@query_options
@speech_options
@connection_options
@click.pass_obj
def say(
    connection: Connection,
    /,
    text: str | None,
    follow: bool,
    output: Path | None,
    play: bool,
    subtitles_file: Path | None,
    **values: Any,
) -> None:
    """Speak TEXT ("-": standard input) to a file or aloud."""
    if subtitles_file is not None and subtitles_file.suffix.lower() not in subtitles.SUFFIXES:
        raise click.UsageError(f"--subtitles: expected a .vtt or .srt file, got {subtitles_file}")
    if output is None and not play:
        raise click.UsageError("expected -o FILE, --play, or both")
    if (play or follow) and output is not None and output.suffix not in (".wav", ".pcm"):
        option = "--play" if play else "--follow"
        raise click.UsageError(f"-o: expected a .wav or .pcm file with {option}, got {output}")
    if follow != (text is None):
        raise click.UsageError("expected either TEXT or --follow")
    query, options = _query_and_options(values)
    if text is None:
        with connection.open(query, RetryPolicy(timeout=SAY_TIMEOUT)) as cluster:
            summary = audio_output.follow(
                cluster, stdin_pieces(), options, output=output, play=play, subtitles_file=subtitles_file
            )
            stderr.print(summary, markup=False, soft_wrap=True)
        return
    text = sys.stdin.read() if text == "-" else text
    with connection.open(query, RetryPolicy(timeout=SAY_TIMEOUT)) as cluster:
        progress.warn_if_no_nodes(cluster, stderr)
        traceparent = os.environ.get("TRACEPARENT")
        summary = audio_output.say(
            cluster, text, options, output=output, play=play, subtitles_file=subtitles_file, traceparent=traceparent
        )
        stderr.print(summary, markup=False, soft_wrap=True)


@cli.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("-j", "--jobs", type=click.IntRange(1, 256), default=4, show_default=True, help="Parallel requests.")
@click.option("--format", "file_format", default="wav", show_default=True, help="Format of the files.")
@click.option(
    "--timeout",
    type=click.FloatRange(1),
    default=BATCH_RETRY.timeout,
    show_default=True,
    metavar="SECONDS",
    help="Time limit of an item, including the wait for nodes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print each result as a JSON line.")
@query_options
@speech_options
@connection_options
@click.pass_obj
def batch(
    connection: Connection,
    /,
    source: Path,
    folder: Path,
    jobs: int,
    file_format: str,
    timeout: float,
    as_json: bool,
    **values: Any,
) -> None:
    """Speak each line of SOURCE into a file in FOLDER.

    SOURCE has JSON lines with text and, optionally, id, voice, style, speed and so on. Finished items are skipped.
    FOLDER/results.jsonl has the result of each item.
    """
    query, options = _query_and_options(values)
    with connection.open(query, replace(BATCH_RETRY, timeout=timeout)) as cluster:
        defaults = replace(options, format=file_format)
        sys.exit(progress.run(cluster, source, folder, defaults, jobs=jobs, as_json=as_json, console=stderr))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each node.")
@connection_options
@click.pass_obj
def nodes(connection: Connection, as_json: bool) -> None:
    """List all registered nodes and their state."""
    with connection.open() as cluster:
        tables.print_nodes(cluster, as_json=as_json)


@cli.command()
@click.argument("text")
@click.option("--voice", help="The stored voice whose language counts for a text without letters.")
@click.option("--pronunciation", is_flag=True, help="Also print what will be said of each character and word.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each segment.")
@query_options
@connection_options
@click.pass_obj
def segments(connection: Connection, /, text: str, pronunciation: bool, as_json: bool, **values: Any) -> None:
    """Print the segments in which TEXT ("-": standard input) would be spoken, without speaking it."""
    text = sys.stdin.read() if text == "-" else text
    with connection.open(_query(values), RetryPolicy(timeout=SAY_TIMEOUT)) as cluster:
        if pronunciation:
            found = cluster.pronunciation(text, **values)
        else:
            found = [Segment(part) for part in cluster.segments(text, **values)]
        tables.print_segments(found, as_json=as_json, pronunciation=pronunciation)


def main() -> None:
    """The program. Prints an error as one line."""
    try:
        code = cli(prog_name="glmtts", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = progress.INTERRUPTED
    except (ClientError, OSError) as error:
        stderr.print(f"glmtts: {error}", markup=False, soft_wrap=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
