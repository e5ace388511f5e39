"""Stage: the AR model. Phonemes to speech tokens, a small Llama that serves as the official one does.

    python -m scripts.nano.ar --work nano-work

A row is one to six utterances of one voice: `[text, text, boa, speech, speech, end]`, as a prompt or an earlier
segment stands before a new one in serving. Sometimes the first is a stranger's, or two utterances long, or its tokens
are as rough as those of a recording from a room: whatever the prompt is like, the text is to be said. Where each speech
token belongs in the text is known (tokens.py), and two heads are pulled to look there: without it the model takes ten
times as long to find out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm
from transformers import LlamaConfig

from glmtts.models.llm.llama import Llama
from glmtts.text.tokenizer import Tokenizer
from scripts.nano import features, phonemes, tokens, vocabulary
from scripts.nano.data import Corpus, Pools, Utterance, Weights, draw_in_a_row, pools_of, weigh
from scripts.nano.training import Average, Run, arguments, cosine, drop_out, mixed_precision, start, with_rate

POSITIONS = 1700  # of a padded batch
CANDIDATES = 48
LONGEST = 1150  # a voice, what was said before, and a new segment
UTTERANCES = (0.3, 0.5, 0.1, 0.05, 0.03, 0.02)  # how often a row has 1, 2, … of them; in serving a voice stands first
STRANGER, LONG, ROUGH = 0.2, 0.3, 0.4  # how often
TEMPOS, NOISE = (0.75, 1.3), 0.35  # of a rough prompt: in tokens for one, and the share that is any token, at most
GUIDED_LAYERS, GUIDED_HEADS = (1, 2), 2
REPORT_EVERY, REPORTED = 250, 24  # steps; utterances a language
IGNORED = -100
DROPOUT = 0.1


class Example(NamedTuple):
    """Text ids (n,), speech tokens (m,), and for each token the place in the text that it speaks (m,).

    The first `given` tokens are there to be followed, not to be learnt.
    """

    text: list[int]
    speech: NDArray[np.int64]
    place: NDArray[np.int64]
    given: int = 0


class Rows(NamedTuple):
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
            return Example(ids, arrays["ids"].astype(np.int64), np.asarray(places)[arrays["phone"]])


def rough(prompt: Example, rng: np.random.Generator) -> Example:
    """As a recording might come whose speaker has another tempo, and of whom the tokens understand only a part."""
    count = max(int(len(prompt.speech) * rng.uniform(*TEMPOS)), 1)
    kept = np.linspace(0, len(prompt.speech) - 1, count).round().astype(int)
    noise = rng.integers(0, features.CODES, count)
    speech = np.where(rng.random(count) < rng.uniform(0, NOISE), noise, prompt.speech[kept])
    return Example(prompt.text, speech, prompt.place[kept], given=count)


def join(parts: list[Example], space: list[int]) -> Example:
    """Several utterances as one: all texts, then all speech. Only the first may be given."""
    text: list[int] = []
    places: list[NDArray[np.int64]] = []
    for part in parts:
        places.append(part.place + len(text))
        text += part.text + space
    text = text[: len(text) - len(space)]
    return Example(text, np.concatenate([p.speech for p in parts]), np.concatenate(places), parts[0].given)


def collate(rows: list[Example], ids: Ids, rng: np.random.Generator, *, corrupted: tuple[float, float]) -> Rows:
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
    return Rows(inputs, targets, place)


def prompt(examples: Examples, voice: Iterator[Utterance], space: list[int], rng: np.random.Generator) -> Example:
    """What stands before a row's own utterances: one or two of a voice, as they are or rough."""
    said = join([examples.of(next(voice)) for _ in range(2 if rng.random() < LONG else 1)], space)
    return rough(said, rng) if rng.random() < ROUGH else said


def draw(
    examples: Examples, pools: Pools, weights: Weights, ids: Ids, space: list[int], rng: np.random.Generator
) -> Rows:
    """A batch of rows of about one length."""
    candidates: list[Example] = []
    for _ in range(CANDIDATES):
        utterances = draw_in_a_row(pools, weights, rng)
        count = 1 + int(rng.choice(len(UTTERANCES), p=UTTERANCES))
        parts = [examples.of(utterance) for utterance in islice(utterances, count)]
        if count > 1:
            stranger = rng.random() < STRANGER
            voice = draw_in_a_row(pools, weights, rng) if stranger else utterances
            parts[0] = prompt(examples, voice, space, rng)
        joined = join(parts, space if rng.random() < 0.7 else [])
        candidates.append(joined if len(joined.text) + len(joined.speech) <= LONGEST else parts[-1])
    candidates.sort(key=lambda row: len(row.text) + len(row.speech))
    last = int(rng.integers(len(candidates)))
    longest = len(candidates[last].text) + len(candidates[last].speech)
    first = max(last + 1 - max(POSITIONS // longest, 1), 0)
    return collate(candidates[first : last + 1], ids, rng, corrupted=(0.05, 0.3))


def losses(llama: Llama, rows: Rows) -> tuple[dict[str, Tensor], Tensor]:
    """Cross entropy of the next speech token, the guided attention's loss, and the share of right guesses."""
    out = llama(rows.inputs, attention_of=GUIDED_LAYERS)
    wanted = rows.targets != IGNORED
    logits = out.logits[wanted]
    parts = {"ce": F.cross_entropy(logits, rows.targets[wanted])}
    known = rows.place >= 0
    columns = (rows.place[..., None] + torch.tensor([-1, 0, 1])).clamp_min(0)[:, None].expand(-1, GUIDED_HEADS, -1, -1)
    looked = [out.attention[layer][:, :GUIDED_HEADS].gather(-1, columns).sum(-1) for layer in GUIDED_LAYERS]
    mass = torch.stack(looked)[known.expand(len(looked), GUIDED_HEADS, -1, -1).transpose(1, 2)]
    parts["guide"] = -0.3 * (mass + 1e-4).log().mean()
    return parts, (logits.argmax(-1) == rows.targets[wanted]).float().mean()


@torch.inference_mode()
def report(llama: Llama, rows: list[Rows]) -> str:
    """Cross entropy and accuracy on held-out utterances, nothing corrupted."""
    llama.eval()
    results = [losses(llama, row) for row in rows]
    llama.train()
    ce = sum(float(parts["ce"]) for parts, _ in results) / len(results)
    return f"held out: cross entropy {ce:.3f}, accuracy {sum(float(a) for _, a in results) / len(results):.3f}"


def main() -> None:
    args = with_rate(arguments(__doc__, steps=8000), 1e-3).parse_args()
    start(args)
    torch.manual_seed(0)
    tokenizer = vocabulary.load(args.work)
    ids, space = special(tokenizer), tokenizer.encode(" ")
    corpus = Corpus(args.work, args.extra)
    examples = Examples(args.work, tokenizer)
    pools = pools_of(tokens.tokenised(args.work, corpus.train()))
    weights = weigh(pools)
    tested = tokens.tokenised(args.work, corpus.test())
    rng = np.random.default_rng(0)
    held_out = [
        collate([examples.of(u) for u in tested if u.lang == lang][:REPORTED], ids, rng, corrupted=(0, 0))
        for lang in ("en", "zh")
    ]
    llama = Llama(config(tokenizer.size))
    llama.init_weights()
    average = Average(llama, 0.998)
    for layer in llama.model.decoder_layers():
        drop_out((layer.self_attn.o_proj, layer.mlp), DROPOUT)
    optimizer = torch.optim.AdamW(llama.parameters(), betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    run = Run(args.work, "ar", {"llama": llama, "average": average}, optimizer, args.steps)
    precision = mixed_precision()
    for step, rng in run:
        rows = draw(examples, pools, weights, ids, space, rng)
        with precision:
            parts, accuracy = losses(llama, rows)
        run.descend(torch.stack(list(parts.values())).sum(), cosine(step, args.steps, args.rate))
        average.update(llama, step)
        run.show(**parts, accuracy=accuracy)
        if step % REPORT_EVERY == REPORT_EVERY - 1:
            tqdm.write(f"{step + 1}: {report(llama, held_out)}")


if __name__ == "__main__":
    main()
