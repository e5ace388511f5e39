"""Forced alignment of speech tokens with text ids, by a hidden Markov model, independent of the AR model.

    python -m scripts.benchmarks.token_aligner --corpus CORPUS --to tests/golden/token_aligner.npz
    python -m scripts.benchmarks.token_aligner --check

It is what words' timings are compared with. The states are the text ids of an utterance, with silence before and after;
each emits speech tokens with probabilities learnt from recordings (`CORPUS/manifest.jsonl`: file, text) by Viterbi
training from equal parts. `--check` compares 20 sentences of nano.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

import glmtts
from glmtts.dsp.audio import TOKEN_RATE, VOICE_RATE
from glmtts.dsp.features import resample
from glmtts.engine.api import Job
from glmtts.engine.runtime.engine import BatchEngine
from scripts.benchmarks.eval_cases import load_prompts

ROOT = Path(__file__).resolve().parents[2]
NANO = ROOT / "checkpoints" / "nano"
TABLE = ROOT / "tests" / "golden" / "token_aligner.npz"
SENTENCES = {"zh": ("mingyue", 10), "en": ("hibari", 10)}
"""Voice and number of the sentences to check, by language."""
ITERATIONS = 20
SKIP_COST = 2.0
"""Nats for an id without a token."""
SMOOTHING = 1.0
"""Weight of the distribution of all tokens in each state's."""
IMPOSSIBLE = -1e30

Tokens = Sequence[int]


class Utterance(NamedTuple):
    ids: tuple[int, ...]
    tokens: Tokens


@dataclass(frozen=True, eq=False)
class TokenAligner:
    """`counts` (states, tokens) of each text id in `ids`, and of silence in the last row."""

    ids: tuple[int, ...]
    counts: NDArray[np.float32]

    def align(self, utterance: Utterance) -> list[int]:
        """For each token the index of its text id: −1 before the first, and the number of ids after the last."""
        silence = len(self.ids)
        states = [silence, *(self.rows.get(text_id, silence) for text_id in utterance.ids), silence]
        return [state - 1 for state in _best_path(self.scores[states][:, list(utterance.tokens)].T)]

    @cached_property
    def rows(self) -> dict[int, int]:
        """The state of each text id."""
        return {text_id: row for row, text_id in enumerate(self.ids)}

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """Log probability of each token (states, tokens)."""
        counts = self.counts.astype(np.float64)
        smoothed = counts + SMOOTHING * (counts.sum(0) + 1e-3) / (counts.sum() + 1.0)
        return np.log(smoothed / smoothed.sum(1, keepdims=True))

    def refined(self, utterances: Sequence[Utterance]) -> TokenAligner:
        """One iteration of Viterbi training."""
        counts = np.zeros_like(self.counts)
        for utterance in utterances:
            for token, index in zip(utterance.tokens, self.align(utterance), strict=True):
                inside = 0 <= index < len(utterance.ids)
                counts[self.rows[utterance.ids[index]] if inside else len(self.ids), token] += 1
        return replace(self, counts=counts)

    def save(self, file: Path) -> None:
        np.savez_compressed(file, ids=np.array(self.ids), counts=self.counts.astype(np.uint16))

    @staticmethod
    def load(file: Path = TABLE) -> TokenAligner:
        with np.load(file) as arrays:
            return TokenAligner(tuple(map(int, arrays["ids"])), arrays["counts"].astype(np.float32))


def _best_path(scores_ts: NDArray[np.float64]) -> list[int]:
    """The state of each step: the one before, the next, or, at a cost, the one after that.

    The path begins in one of the first two states and ends in one of the last two.
    """
    states = np.arange(scores_ts.shape[1])
    best = np.where(states < 2, scores_ts[0], IMPOSSIBLE)
    steps: list[NDArray[np.int64]] = []
    for scores in scores_ts[1:]:
        arrivals = np.stack([best, _shifted(best, 1), _shifted(best, 2) - SKIP_COST])
        steps.append(arrivals.argmax(0))
        best = arrivals.max(0) + scores
    path = [len(states) - 2 + int(best[-1] > best[-2])]
    for step in reversed(steps):
        path.append(path[-1] - int(step[path[-1]]))
    return path[::-1]


def _shifted(values: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    return np.concatenate([np.full(by, IMPOSSIBLE), values[:-by]])


def train(utterances: Sequence[Utterance]) -> TokenAligner:
    """From equal parts; the first and last two tokens are silence."""
    ids = tuple(sorted({text_id for utterance in utterances for text_id in utterance.ids}))
    row = {text_id: number for number, text_id in enumerate(ids)}
    counts = np.zeros((len(ids) + 1, 1 + max(max(utterance.tokens) for utterance in utterances)), np.float32)
    for utterance in utterances:
        body = utterance.tokens[2:-2]
        np.add.at(counts[-1], [*utterance.tokens[:2], *utterance.tokens[-2:]], 1)
        for step, token in enumerate(body):
            counts[row[utterance.ids[step * len(utterance.ids) // len(body)]], token] += 1
    aligner = TokenAligner(ids, counts)
    for _ in range(ITERATIONS):
        aligner = aligner.refined(utterances)
    return aligner


@torch.inference_mode()
def read_corpus(model: glmtts.Model, corpus: Path) -> Iterator[Utterance]:
    """The recordings of a corpus as tokens, with the ids of their texts."""
    for line in (corpus / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        wave, rate = soundfile.read(corpus / entry["file"], dtype="float32")
        ids = model.frontend.prompt_ids(entry["text"])
        tokens = model.speech_tokenizer.tokenize(torch.from_numpy(resample(wave, rate, VOICE_RATE))).tolist()
        if ids and len(tokens) > max(8, len(ids) // 2):
            yield Utterance(ids, tokens)


class WordDifference(NamedTuple):
    """Seconds by which a word's timing begins and ends after its forced alignment."""

    text: str
    start: float
    end: float
    estimated: bool


def compare(engine: BatchEngine, aligner: TokenAligner, job: Job) -> list[WordDifference]:
    """The differences of all words of a job of one segment."""
    handle = engine.submit(job)
    if not sum(map(len, handle.chunks())):
        raise ValueError("the job has no audio")
    [segment], [timing], [spoken] = job.segments, handle.report.timings, handle.report.history
    path = np.array(aligner.align(Utterance(segment.ids, spoken.speech_tokens)))
    differences = []
    for span, word in zip(segment.words, timing.words, strict=True):
        start, end = (np.searchsorted(path, index) / TOKEN_RATE for index in (span.start, span.end))
        differences.append(
            WordDifference(word.text, word.start_seconds - start, word.end_seconds - end, word.estimated)
        )
    return differences


def check_nano() -> Iterator[tuple[str, list[WordDifference]]]:
    """The sentences of SENTENCES with the differences of their words."""
    model, aligner = glmtts.load(NANO, device="cpu"), TokenAligner.load()
    prompts = {prompt.name: prompt for prompt in load_prompts(NANO / "voices")}
    engine = BatchEngine(model)
    try:
        for language, (voice_name, count) in SENTENCES.items():
            voice = engine.make_voice(*prompts[voice_name].short())
            texts = (ROOT / "scripts" / "nano" / f"held_out_sentences_{language}.txt").read_text(encoding="utf-8")
            for text in texts.split("\n")[:count]:
                [segment] = engine.read(text).segments
                segment = replace(segment, words=engine.words(segment))
                yield text, compare(engine, aligner, Job((segment,), voice, model.sample_rates[0], seed=1))
    finally:
        engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--to", type=Path, default=TABLE)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.corpus:
        train(list(read_corpus(glmtts.load(NANO, device="cpu"), args.corpus))).save(args.to)
    if not args.check:
        return
    borders: list[float] = []
    estimated = 0
    for text, words in check_nano():
        worst = max(words, key=lambda word: max(abs(word.start), abs(word.end)))
        borders += [abs(seconds) for word in words if not word.estimated for seconds in (word.start, word.end)]
        estimated += 2 * sum(word.estimated for word in words)
        print(f"{text}: {worst.text} {worst.start:+.2f} {worst.end:+.2f} s")
    median, p95, most = np.quantile(borders, [0.5, 0.95, 1.0])
    within = np.mean(np.array(borders) <= 0.1201)
    print(f"{len(borders)} borders, and {estimated} that are estimated")
    print(f"median {median:.3f} s, p95 {p95:.3f} s, most {most:.3f} s, {within:.1%} within 0.12 s")


if __name__ == "__main__":
    main()
