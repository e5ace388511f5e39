"""Stage: the AR model. Phonemes to speech tokens, a small Llama that serves as the official one does.

    python -m scripts.nano.ar --work nano-work

A row (ar_rows.py) is what the model reads in serving: `[texts, boa, speech, end]`. Where each speech token belongs in
the text is known if tokens.py could align it, and two heads are pulled to look there: without it a fresh model takes
ten times as long to find out.
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
from scripts.nano.training import Average, Run, arguments, cosine, drop_out, mixed_precision, start, with_rate

POSITIONS = 1700  # of a padded batch
CANDIDATES = 48
END_WEIGHT = 3.0  # of the end token's loss
GUIDED_LAYERS, GUIDED_HEADS = (1, 2), 2
REPORT_EVERY, REPORTED = 250, 24  # steps; utterances a language
IGNORED = -100
DROPOUT = 0.1


class Batch(NamedTuple):
    """inputs, targets (b, n), IGNORED where nothing is to be learnt; place (b, n), −1 where none is known."""

    inputs: Tensor
    targets: Tensor
    place: Tensor


class Ids(NamedTuple):
    """The special ids that a row needs."""

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
    """By name, as the official tokenizer has them."""
    found = [tokenizer.special_id(name) for name in ("<|audio_0|>", "<|begin_of_audio|>", "<|user|>")]
    return Ids(*found)


class Examples:
    """Utterances as the AR model reads them; made once each."""

    def __init__(self, work: Path, tokenizer: Tokenizer) -> None:
        self._work, self._tokenizer = work, tokenizer
        self.of = cache(self._read)

    def text_ids(self, parts: list[str]) -> tuple[list[int], list[int]]:
        """Ids of text tokens, and where among them the phonemes stand."""
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
            place = np.asarray(places)[arrays["phone"]] if aligned else np.full(len(speech), -1)
            return Example(ids, speech, place)


def collate(rows: list[Example], ids: Ids, rng: np.random.Generator, *, corrupted: tuple[float, float]) -> Batch:
    """Pads on the right. A share of the speech *inputs* is replaced, so that the model does not lean on them alone."""
    longest = max(len(row.text) + len(row.speech) for row in rows) + 1
    inputs = torch.zeros(len(rows), longest, dtype=torch.int64)
    targets = torch.full_like(inputs, IGNORED)
    place = torch.full_like(inputs, -1)
    for i, (text, speech, where, given) in enumerate(rows):
        begin, end = len(text), len(text) + len(speech)
        heard = np.where(rng.random(len(speech)) < rng.uniform(*corrupted), rng.permutation(speech), speech)
        inputs[i, : end + 1] = torch.tensor([*text, ids.boa, *(heard + ids.ats).tolist()])
        targets[i, begin : end + 1] = torch.tensor([*[IGNORED] * given, *(speech[given:] + ids.ats).tolist(), ids.eoa])
        place[i, begin:end] = torch.from_numpy(where)
    return Batch(inputs, targets, place)


def draw(rows: ar_rows.Rows, ids: Ids, rng: np.random.Generator) -> Batch:
    """A batch of rows of about one length."""
    candidates = sorted((rows.draw(rng) for _ in range(CANDIDATES)), key=lambda row: row.size)
    last = int(rng.integers(len(candidates)))
    first = max(last + 1 - max(POSITIONS // candidates[last].size, 1), 0)
    return collate(candidates[first : last + 1], ids, rng, corrupted=(0.05, 0.3))


def losses(llama: Llama, rows: Batch, end: int) -> tuple[dict[str, Tensor], Tensor]:
    """Cross entropy of the next speech token, the guided attention's loss, and the share of right guesses.

    The end token counts END_WEIGHT times: there is one in a row, and everything depends on it.
    """
    out = llama(rows.inputs, attention_of=GUIDED_LAYERS)
    learnt = rows.targets != IGNORED
    logits, targets = out.logits[learnt], rows.targets[learnt]
    weight = torch.where(targets == end, END_WEIGHT, 1.0)
    parts = {"ce": (F.cross_entropy(logits, targets, reduction="none") * weight).sum() / weight.sum()}
    known = rows.place >= 0
    if known.any():
        columns = (rows.place[..., None] + torch.tensor([-1, 0, 1])).clamp_min(0)[:, None]
        columns = columns.expand(-1, GUIDED_HEADS, -1, -1)
        looked = [out.attention[layer][:, :GUIDED_HEADS].gather(-1, columns).sum(-1) for layer in GUIDED_LAYERS]
        mass = torch.stack(looked)[known.expand(len(looked), GUIDED_HEADS, -1, -1).transpose(1, 2)]
        parts["guide"] = -0.3 * (mass + 1e-4).log().mean()
    return parts, (logits.argmax(-1) == targets).float().mean()


@torch.inference_mode()
def report(llama: Llama, held_out: dict[str, Batch], end: int) -> str:
    """Cross entropy and accuracy on held-out utterances by kind, nothing corrupted."""
    llama.eval()
    results = {kind: losses(llama, rows, end) for kind, rows in held_out.items()}
    llama.train()
    return "held out: " + ", ".join(f"{k} {float(p['ce']):.3f} {float(a):.3f}" for k, (p, a) in results.items())


def main() -> None:
    args = with_rate(arguments(__doc__, steps=8000), 1e-3).parse_args()
    start(args)
    torch.manual_seed(0)
    tokenizer = vocabulary.load(args.work)
    ids, space = special(tokenizer), tokenizer.encode(" ")
    corpus = Corpus(args.work, args.extra)
    examples = Examples(args.work, tokenizer)
    known = tokens.tokenised(args.work, corpus.train(short=True))
    sentences = pools_of(u for u in known if u.kind == SENTENCE)
    short = pools_of(u for u in known if u.kind == SHORT)
    rows = ar_rows.Rows(examples.of, space, sentences, short, weigh(sentences))
    tested = tokens.tokenised(args.work, corpus.test(short=True))
    rng = np.random.default_rng(0)
    held_out = {}
    for lang in ("en", "zh"):
        for kind in (SENTENCE, SHORT):
            told = [examples.of(u) for u in tested if (u.lang, u.kind) == (lang, kind)][:REPORTED]
            if told:
                held_out[f"{lang} {kind}"] = collate(told, ids, rng, corrupted=(0, 0))
    llama = Llama(config(tokenizer.size))
    llama.init_weights()
    average = Average(llama, 0.998)
    for layer in llama.model.decoder_layers():
        drop_out((layer.self_attn.o_proj, layer.mlp), DROPOUT)
    optimizer = torch.optim.AdamW(llama.parameters(), betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    run = Run(args.work, "ar", {"llama": llama, "average": average}, optimizer, args.steps)
    precision = mixed_precision()
    for step, rng in run:
        batch = draw(rows, ids, rng)
        with precision:
            parts, accuracy = losses(llama, batch, ids.eoa)
        run.descend(torch.stack(list(parts.values())).sum(), cosine(step, args.steps, args.rate))
        average.update(llama, step)
        run.show(**parts, accuracy=accuracy)
        if step % REPORT_EVERY == REPORT_EVERY - 1:
            tqdm.write(f"{step + 1}: {report(llama, held_out, ids.eoa)}")


if __name__ == "__main__":
    main()
