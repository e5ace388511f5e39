"""The commands that list, add and delete stored voices."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from glmtts_client.cli import microphone, tables
from glmtts_client.cli.connection import Connection, connection_options
from glmtts_client.recording_check import find_problems, transcript_problem
from glmtts_client.retry import RetryPolicy

TIMEOUT = 60.0
MIN_SECONDS, MAX_SECONDS = 1.0, 30.0
"""What servers take."""
stderr = Console(stderr=True, highlight=False)


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each voice.")
@connection_options
@click.pass_context
def voices(context: click.Context, as_json: bool) -> None:
    """List the stored voices and the nodes that have them; add or delete one."""
    if context.invoked_subcommand is None:
        with context.ensure_object(Connection).open() as cluster:
            tables.print_voices(cluster, as_json=as_json)


@voices.command()
@click.argument("name")
@click.option(
    "--reference-audio", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The recording, a file."
)
@click.option(
    "--record",
    "seconds",
    type=click.FloatRange(MIN_SECONDS, MAX_SECONDS),
    metavar="SECONDS",
    help="Record from the microphone instead; best 3 to 10 s.",
)
@click.option("--reference-text", default="", help="What is said in the recording.")
@click.option("--style", help="The style that the recording stands for; default: neutral.")
@click.option("--language", type=click.Choice(("en", "zh")), help="Language of the voice; default: by the text.")
@click.option("--consent", help="Who agreed to the use of the voice, and how.")
@click.option("--force", is_flag=True, help="Store the recording whatever is wrong with it.")
@connection_options
@click.pass_obj
def add(
    connection: Connection,
    name: str,
    reference_audio: Path | None,
    seconds: float | None,
    reference_text: str,
    style: str | None,
    language: str | None,
    consent: str | None,
    force: bool,
) -> None:
    """Store a recording as the voice NAME, or as a style of it."""
    if (reference_audio is None) == (seconds is None):
        raise click.UsageError("expected --reference-audio FILE or --record SECONDS")
    audio = reference_audio.read_bytes() if reference_audio is not None else _record(seconds or 0.0, force)
    fields = {"reference_text": reference_text, "style": style, "language": language, "consent": consent}
    with connection.open(retry=RetryPolicy(timeout=TIMEOUT)) as cluster:
        voice = cluster.add_voice(name, audio, **{key: value for key, value in fields.items() if value})
    if (problem := transcript_problem(voice, reference_text)) is not None:
        _print(problem)
    _print(f"stored: {name}, with the styles {', '.join(voice['styles'])}")


def _record(seconds: float, force: bool) -> bytes:
    """A WAV file. ClickException: something is wrong with the recording."""
    _print(f"speak now, for {seconds:g} s …")
    samples, rate = microphone.record(seconds)
    problems = find_problems(samples, rate)
    if problems and not force:
        raise click.ClickException("; ".join(problems) + ". Record again, or store it with --force")
    for problem in problems:
        _print(problem)
    return microphone.to_wav(samples, rate)


@voices.command()
@click.argument("name")
@click.option("--style", help="Delete this style only.")
@connection_options
@click.pass_obj
def delete(connection: Connection, name: str, style: str | None) -> None:
    """Delete the stored voice NAME, or one style of it."""
    with connection.open(retry=RetryPolicy(timeout=TIMEOUT)) as cluster:
        cluster.delete_voice(name, style)


def _print(text: str) -> None:
    stderr.print(text, markup=False, soft_wrap=True)
