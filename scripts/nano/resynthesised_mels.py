"""Stage: recordings' mels as the flow makes them, half of what the vocoder then learns from.

    python -m scripts.nano.resynthesised_mels --work nano-work --utterances 2000

What the flow makes is smoother than a recording's mel, and a vocoder that never met such mels blurs it further. From
the recording's own tokens it is made in the same time, so the recording is still what the vocoder should sound like.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from scripts.nano import features, flow, tokens
from scripts.nano.data import Corpus, Utterance, draw_in_a_row, pools_of, weigh
from scripts.nano.training import arguments, start


def path_of(work: Path, utterance: Utterance) -> Path:
    """Where an utterance's remade mel lies."""
    return work / "remade" / f"{utterance.key}.npy"


def load(work: Path, utterance: Utterance) -> NDArray[np.float32]:
    """The mel (frames, 80) that the flow made; raises FileNotFoundError if it made none."""
    return np.load(path_of(work, utterance)).astype(np.float32)


def read(work: Path, utterance: Utterance) -> tuple[Tensor, Tensor]:
    """Tokens (1, n) and mel (1, 2n, 80)."""
    with np.load(tokens.path_of(work, utterance)) as arrays:
        ids = torch.from_numpy(arrays["ids"].astype(np.int64))
    mel = torch.from_numpy(features.load(work, utterance)["mel"])[: 2 * len(ids)]
    return ids[None], mel[None]


@torch.inference_mode()
def main() -> None:
    parser = arguments(__doc__, steps=0)
    parser.add_argument("--utterances", type=int, default=2000, help="how many to have")
    args = parser.parse_args()
    start(args)
    model = flow.finished_flow(args.work)
    spoken = tokens.tokenised(args.work, Corpus(args.work, args.extra).train())
    pools = pools_of(spoken)
    weights, speakers = weigh(pools), flow.speaker_vectors(args.work, spoken)
    (args.work / "remade").mkdir(exist_ok=True)
    for number in tqdm(range(args.utterances), desc="remade", mininterval=5):
        torch.manual_seed(number)
        row = draw_in_a_row(pools, weights, np.random.default_rng(number))
        prompt, utterance = next(row), next(row)
        if path_of(args.work, utterance).exists():
            continue
        speaker = F.normalize(speakers[utterance.voice].mean(0), dim=-1)[None]
        (prompt_ids, prompt_mel), (ids, mel) = read(args.work, prompt), read(args.work, utterance)
        noise = torch.randn(1, prompt_mel.shape[1] + mel.shape[1], mel.shape[2])
        made = model.sample(ids, prompt_ids, prompt_mel, speaker, noise, frames=mel.shape[1])
        np.save(path_of(args.work, utterance), made[0].T.numpy().astype(np.float16))


if __name__ == "__main__":
    main()
