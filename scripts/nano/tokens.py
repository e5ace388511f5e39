"""Stage: speech tokens of every utterance, aligned with its phonemes, and their phone error rate.

    python -m scripts.nano.tokens --work nano-work

`tokens/KEY.npz`: ids (n,) and the index of each token's phoneme (n,), by CTC's best path through the true phonemes.
`results/tokens.json` has the phone error rate of held-out utterances. If training continues from an exported checkpoint
and the tokenizer's heads were not trained again, there are only ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from scripts.nano import features, phonemes
from scripts.nano.data import Corpus, Utterance
from scripts.nano.tokenizer import Codebook, Heads, available
from scripts.nano.training import arguments, configure_torch, state_path


def load_codebook(work: Path) -> Codebook:
    """The trained layer with its codebook."""
    codes = Codebook(work)
    codes.load_state_dict(torch.load(state_path(work, "tokenizer"), weights_only=True)["modules"]["codes"])
    return codes.eval()


def load_heads(work: Path) -> tuple[Heads, dict[str, int]] | None:
    """The heads and the phone ids; None after importing a checkpoint, which has no heads."""
    state = torch.load(state_path(work, "tokenizer"), weights_only=True)["modules"].get("heads")
    if state is None:
        return None
    inventory = json.loads((work / "phones.json").read_text(encoding="utf-8"))
    heads = Heads(512, len(inventory), 64)
    heads.load_state_dict(state)
    return heads.eval(), inventory


def path_of(work: Path, utterance: Utterance) -> Path:
    """The file of an utterance's tokens."""
    return work / "tokens" / f"{utterance.key}.npz"


def tokenised(work: Path, utterances: Iterable[Utterance]) -> list[Utterance]:
    """The utterances that have tokens."""
    return [utterance for utterance in utterances if path_of(work, utterance).exists()]


def align(logp_nv: NDArray[np.float32], target: list[int]) -> NDArray[np.int16]:
    """The index in `target` of each of n steps' phone, by CTC's best path; a blank belongs to the phone before it.

    Viterbi over the states blank, phone 0, blank, phone 1, … (Graves et al. 2006, without the sum).
    """
    states = np.zeros(2 * len(target) + 1, np.int64)
    states[1::2] = target
    skip = np.zeros(len(states), bool)
    skip[3::2] = states[3::2] != states[1:-2:2]
    score = np.full(len(states), -np.inf)
    score[:2] = logp_nv[0, states[:2]]
    back = np.zeros((len(logp_nv), len(states)), np.int8)
    for step in range(1, len(logp_nv)):
        one, two = np.roll(score, 1), np.roll(score, 2)
        one[0] = -np.inf
        two[~skip] = -np.inf
        moves = np.stack([score, one, two])
        back[step] = moves.argmax(0)
        score = moves.max(0) + logp_nv[step, states]
    state = len(states) - 1 if score[-1] >= score[-2] else len(states) - 2
    path = np.zeros(len(logp_nv), np.int16)
    for step in range(len(logp_nv) - 1, -1, -1):
        path[step] = max((state - 1) // 2, 0)
        state -= int(back[step, state])
    return path


def edit_distance(a: list[int], b: list[int]) -> int:
    """Levenshtein distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (x != y))
    return row[-1]


def read_phones(heads: Heads, codes: Codebook, ids_n: Tensor) -> list[int]:
    """The phone ids that the CTC head transcribes from a sequence of tokens."""
    best = heads.phones(codes.book[ids_n][None])[0].argmax(-1)
    return [int(p) for p in torch.unique_consecutive(best) if p]


@torch.inference_mode()
def main() -> None:
    args = arguments(__doc__, steps=0).parse_args()
    configure_torch(args)
    codes, trained = load_codebook(args.work), load_heads(args.work)
    corpus = Corpus(args.work, args.extra)
    held_out = {u.key for u in corpus.test(short=True)}
    (args.work / "tokens").mkdir(exist_ok=True)
    wrong, total = {"en": 0, "zh": 0}, {"en": 0, "zh": 0}
    for utterance in tqdm(available(args.work, corpus.utterances), desc="tokens", mininterval=5):
        target = path_of(args.work, utterance)
        if target.exists() and utterance.key not in held_out:
            continue
        hidden = torch.from_numpy(features.load(args.work, utterance)["hidden"])[None]
        ids = codes.nearest(codes(hidden, torch.ones(hidden.shape[:2], dtype=torch.bool))[0])
        arrays = {"ids": ids.numpy().astype(np.int16)}
        if trained:
            heads, inventory = trained
            truth = [inventory.get(p, 0) for p in phonemes.plain(phonemes.of(utterance))]
            if utterance.key in held_out:
                wrong[utterance.lang] += edit_distance(read_phones(heads, codes, ids), truth)
                total[utterance.lang] += len(truth)
            if 0 in truth or len(truth) > len(ids):
                continue
            arrays["phone"] = align(heads.phones(codes.book[ids][None])[0].numpy(), truth)
        np.savez(target, **arrays)
    if trained:
        errors = {lang: wrong[lang] / max(total[lang], 1) for lang in wrong}
        (args.work / "results").mkdir(exist_ok=True)
        (args.work / "results" / "tokens.json").write_text(json.dumps({"phone_error": errors}), encoding="utf-8")
        print(f"phone error of held-out tokens: {errors}")


if __name__ == "__main__":
    main()
