"""Stage: the AR model, a small Llama from phonemes to speech tokens.

    python -m scripts.nano.ar --work nano-work

A training row (ar_rows.py) is laid out as in serving: `[texts, boa, speech, end]`. If tokens.py could align its speech
with the text, a guided attention loss on two heads teaches the alignment: without it a fresh model takes ten times as
long to learn it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm
from transformers import LlamaConfig

from glmtts.models.llm.llama import Llama
from glmtts.text.tokenizer import Tokenizer
from scripts.nano import ar_rows, phonemes, tokens, vocabulary
from scripts.nano.ar_rows import Example
from scripts.nano.data import SENTENCE, SHORT, Corpus, Utterance, pools_of, weigh
from scripts.nano.training import (
    Average,
    Run,
    add_dropout,
    arguments,
    configure_torch,
    cosine,
    mixed_precision,
    with_learning_rate,
)

POSITIONS = 1700  # of a padded batch
CANDIDATES = 48
END_WEIGHT = 3.0  # of the end token's loss
GUIDED_LAYERS, GUIDED_HEADS = (1, 2), 2
REPORT_EVERY, REPORT_UTTERANCES = 250, 24  # steps; utterances a language
IGNORED = -100
DROPOUT = 0.1


class Batch(NamedTuple):
    """inputs and targets (b, n), IGNORED where there is no loss; position in the text (b, n), −1 if unknown."""

    inputs: Tensor
    targets: Tensor
    position: Tensor


class Ids(NamedTuple):
    """The special ids of a row."""

    ats: int
    boa: int
    eoa: int


def config(vocabulary_size: int) -> LlamaConfig:
    """The nano Llama: 256 × 6, two key heads."""
    return LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=2048,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=False,
    )


def special(tokenizer: Tokenizer) -> Ids:
    """The ids, by their names in the official tokenizer."""
    return Ids(*map(tokenizer.special_id, ("<|audio_0|>", "<|begin_of_audio|>", "<|user|>")))


class Examples:
    """Utterances as ids of the AR model, cached."""

    def __init__(self, work: Path, tokenizer: Tokenizer) -> None:
        self._work, self._tokenizer = work, tokenizer
        self.of = cache(self._read)

    def text_ids(self, parts: list[str]) -> tuple[list[int], list[int]]:
        """Ids of text tokens, and the positions of the phonemes among them."""
        ids: list[int] = []
        places: list[int] = []
        for part in parts:
            if part.startswith("<|"):
                places.append(len(ids))
            ids += self._tokenizer.encode(part, allow_special=self._tokenizer.phonemes)
        return ids, places

    def _read(self, utterance: Utterance) -> Example:
        ids, places = self.text_ids(phonemes.of(utterance))
        with np.load(tokens.path_of(self._work, utterance)) as arrays:
            speech = arrays["ids"].astype(np.int64)
            aligned = "phone" in arrays.files
            position = np.asarray(places)[arrays["phone"]] if aligned else np.full(len(speech), -1)
            return Example(ids, speech, position)


def collate(rows: list[Example], ids: Ids, rng: np.random.Generator, *, corrupted: tuple[float, float]) -> Batch:
    """Pads on the right. Replaces a random share of the speech *inputs*, so that the model also attends to the text."""
    longest = max(len(row.text) + len(row.speech) for row in rows) + 1
    inputs = torch.zeros(len(rows), longest, dtype=torch.int64)
    targets = torch.full_like(inputs, IGNORED)
    position = torch.full_like(inputs, -1)
    for i, (text, speech, positions, num_given) in enumerate(rows):
        begin, end = len(text), len(text) + len(speech)
        noisy = np.where(rng.random(len(speech)) < rng.uniform(*corrupted), rng.permutation(speech), speech)
        inputs[i, : end + 1] = torch.tensor([*text, ids.boa, *(noisy + ids.ats).tolist()])
        learnt = [*[IGNORED] * num_given, *(speech[num_given:] + ids.ats).tolist(), ids.eoa]
        targets[i, begin : end + 1] = torch.tensor(learnt)
        position[i, begin:end] = torch.from_numpy(positions)
    return Batch(inputs, targets, position)


def sample_batch(sampler: ar_rows.RowSampler, ids: Ids, rng: np.random.Generator) -> Batch:
    """A batch of rows of similar lengths."""
    candidates = sorted((sampler.sample(rng) for _ in range(CANDIDATES)), key=lambda row: row.size)
    last = int(rng.integers(len(candidates)))
    first = max(last + 1 - max(POSITIONS // candidates[last].size, 1), 0)
    return collate(candidates[first : last + 1], ids, rng, corrupted=(0.05, 0.3))


def losses(llama: Llama, rows: Batch, end: int) -> tuple[dict[str, Tensor], Tensor]:
    """Cross entropy of the next speech token, guided attention loss, and accuracy.

    The end token has the weight END_WEIGHT: there is only one in a row, and everything depends on it.
    """
    out = llama(rows.inputs, attention_of=GUIDED_LAYERS)
    has_target = rows.targets != IGNORED
    logits, targets = out.logits[has_target], rows.targets[has_target]
    weight = torch.where(targets == end, END_WEIGHT, 1.0)
    parts = {"ce": (F.cross_entropy(logits, targets, reduction="none") * weight).sum() / weight.sum()}
    known = rows.position >= 0
    if known.any():
        columns = (rows.position[..., None] + torch.tensor([-1, 0, 1])).clamp_min(0)[:, None]
        columns = columns.expand(-1, GUIDED_HEADS, -1, -1)
        attention = [out.attention[layer][:, :GUIDED_HEADS].gather(-1, columns).sum(-1) for layer in GUIDED_LAYERS]
        mass = torch.stack(attention)[known.expand(len(attention), GUIDED_HEADS, -1, -1).transpose(1, 2)]
        parts["guide"] = -0.3 * (mass + 1e-4).log().mean()
    return parts, (logits.argmax(-1) == targets).float().mean()


@torch.inference_mode()
def report(llama: Llama, held_out: dict[str, Batch], end: int) -> str:
    """Cross entropy and accuracy on held-out utterances by kind, without corruption."""
    llama.eval()
    results = {kind: losses(llama, rows, end) for kind, rows in held_out.items()}
    llama.train()
    return "held out: " + ", ".join(f"{k} {float(p['ce']):.3f} {float(a):.3f}" for k, (p, a) in results.items())


def main() -> None:
    args = with_learning_rate(arguments(__doc__, steps=8000), 1e-3).parse_args()
    configure_torch(args)
    torch.manual_seed(0)
    tokenizer = vocabulary.load(args.work)
    ids, space = special(tokenizer), tokenizer.encode(" ")
    corpus = Corpus(args.work, args.extra)
    examples = Examples(args.work, tokenizer)
    known = tokens.tokenised(args.work, corpus.train(short=True))
    sentences = pools_of(u for u in known if u.kind == SENTENCE)
    short = pools_of(u for u in known if u.kind == SHORT)
    sampler = ar_rows.RowSampler(examples.of, space, sentences, short, weigh(sentences))
    tested = tokens.tokenised(args.work, corpus.test(short=True))
    rng = np.random.default_rng(0)
    held_out = {}
    for lang in ("en", "zh"):
        for kind in (SENTENCE, SHORT):
            rows = [examples.of(u) for u in tested if (u.lang, u.kind) == (lang, kind)][:REPORT_UTTERANCES]
            if rows:
                held_out[f"{lang} {kind}"] = collate(rows, ids, rng, corrupted=(0, 0))
    llama = Llama(config(tokenizer.size))
    llama.init_weights()
    average = Average(llama, 0.998)
    for layer in llama.model.decoder_layers():
        add_dropout((layer.self_attn.o_proj, layer.mlp), DROPOUT)
    optimizer = torch.optim.AdamW(llama.parameters(), betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    run = Run(args.work, "ar", {"llama": llama, "average": average}, optimizer, args.steps)
    precision = mixed_precision()
    for step, rng in run:
        batch = sample_batch(sampler, ids, rng)
        with precision:
            parts, accuracy = losses(llama, batch, ids.eoa)
        run.optimize(torch.stack(list(parts.values())).sum(), cosine(step, args.steps, args.rate))
        average.update(llama, step)
        run.show(**parts, accuracy=accuracy)
        if step % REPORT_EVERY == REPORT_EVERY - 1:
            tqdm.write(f"{step + 1}: {report(llama, held_out, ids.eoa)}")


if __name__ == "__main__":
    main()
