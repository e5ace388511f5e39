#!/usr/bin/env python3
"""Checks how texts are read and spoken, on files of cases; lists the failures, and counts at the end.

    scripts/check_words.py readings FILE…        numbers, dates, units …: the normalised text
    scripts/check_words.py polyphones FILE…      Chinese characters with several readings: their pinyin
    scripts/check_words.py short FILE…           short texts, each in two stored voices: exactly as a recogniser hears
    scripts/check_words.py paragraphs FILE…      paragraphs, likewise

Uses the server at --url; without it, text is read in this process, and for speech a server on checkpoints/nano is
started. scripts/words/cases.py describes the files. The last line is "KIND: N of M"; the exit status is 1 if a case
failed. `short` and `paragraphs` need the extra `eval`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that this file can be run directly

from scripts.bench import server  # noqa: E402  # needs the path above
from scripts.words.cases import Text, read_polyphones, read_readings, read_texts  # noqa: E402
from scripts.words.clients import LocalText, ServerClient, Speech, TextClient  # noqa: E402

VOICES_PER_TEXT = 2


class SpeechResult(NamedTuple):
    """A text, its speech in one voice, and the recogniser's transcript."""

    text: Text
    voice: str
    speech: Speech
    transcript: str


def check_readings(files: list[Path], client: TextClient) -> Iterator[str]:
    """For each case how it failed; "" if it passed."""
    for case in (case for file in files for case in read_readings(file)):
        actual = client.normalize(case.written, case.lang)
        failure = f"{case.lang} {case.kind} {case.written!r}: expected {' | '.join(case.spoken)}, got {actual}"
        yield "" if case.matches(actual) else failure


def check_polyphones(files: list[Path], client: TextClient) -> Iterator[str]:
    """For each case how it failed; "" if it passed."""
    for case in (case for file in files for case in read_polyphones(file)):
        actual = case.actual(client.pronunciation(case.sentence))
        place = f"{case.char} (character {case.position + 1}) in {case.sentence}"
        failure = f"{place}: expected {' | '.join(case.pinyin)}, got {actual or 'none'}"
        yield "" if actual in case.pinyin else failure


def listen(files: list[Path], client: ServerClient, work: Path) -> Iterator[SpeechResult]:
    """Every text in VOICES_PER_TEXT voices of its language, with seeds 0, 1, …"""
    from scripts.benchmarks.speech_metrics import Recogniser

    recogniser = Recogniser(work)
    texts = [text for file in files for text in read_texts(file)]
    jobs = [(text, voice) for text in texts for voice in client.voices(text.lang)[:VOICES_PER_TEXT]]
    for seed, (text, voice) in enumerate(tqdm(jobs, desc="texts", mininterval=5)):
        speech = client.synthesize(text.text, voice, seed)
        yield SpeechResult(text, voice, speech, recogniser.transcribe(speech.wave, speech.sample_rate, text.lang))


def check_speech(results: Iterable[SpeechResult]) -> Iterator[str]:
    """For each text that is not heard exactly, what is heard; "" for the others. Prints each language's figures."""
    from scripts.benchmarks.speech_metrics import is_exact

    by_lang: dict[str, list[SpeechResult]] = {}
    for result in results:
        (lang, text), transcript = result.text, result.transcript
        by_lang.setdefault(lang, []).append(result)
        ended = "" if result.speech.finish_reason == "stop" else f" ({result.speech.finish_reason})"
        failure = f"{lang} {result.voice}{ended} {text}: heard {transcript or 'nothing'}"
        yield "" if is_exact(text, transcript, lang) else failure
    for lang, group in by_lang.items():
        print(describe(lang, group))


def describe(lang: str, group: list[SpeechResult]) -> str:
    """The figures of one language."""
    from scripts.benchmarks.speech_metrics import error_rate, has_extra_words, is_exact

    pairs = [(result.text.text, result.transcript) for result in group]
    exact = sum(is_exact(*pair, lang) for pair in pairs)
    ended = sum(result.speech.finish_reason == "stop" for result in group)
    extra = sum(has_extra_words(*pair, lang) for pair in pairs)
    error = error_rate([text for text, _ in pairs], [transcript for _, transcript in pairs], lang)
    return (
        f"{lang}: of {len(group)} heard exactly {exact}, ended by themselves {ended}, with extra words {extra}; "
        f"error {error:.1%}"
    )


def report(kind: str, failures: Iterable[str]) -> int:
    """Prints the failures as they occur, and the count at the end; the exit status."""
    passed = total = 0
    for failure in failures:
        total += 1
        passed += not failure
        if failure:
            print(failure, flush=True)
    print(f"{kind}: {passed} of {total}")
    return 0 if passed == total else 1


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("kind", choices=("readings", "polyphones", "short", "paragraphs"))
    flags.add_argument("files", nargs="+", type=Path, metavar="FILE")
    flags.add_argument("--url", help="a running server")
    flags.add_argument("--checkpoint", default="", help="of the server to start, as for app.py")
    flags.add_argument("--work", type=Path, default=Path("nano-work"), help="folder of the recogniser's weights")
    return flags


def main() -> None:
    args = parser().parse_args()
    if args.kind in ("readings", "polyphones"):
        client: TextClient = ServerClient(args.url) if args.url else LocalText(ROOT / "checkpoints" / "nano")
        check = check_readings if args.kind == "readings" else check_polyphones
        sys.exit(report(args.kind, check(args.files, client)))
    with server(args.url, args.checkpoint) as url:
        status = report(args.kind, check_speech(listen(args.files, ServerClient(url), args.work)))
    sys.exit(status)


if __name__ == "__main__":
    main()
