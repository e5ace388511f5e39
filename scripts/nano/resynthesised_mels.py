"""Stage: mels of recordings as the flow synthesises them; half of the vocoder's training data.

    python -m scripts.nano.resynthesised_mels --work nano-work --utterances 2000

The flow's mels are smoother than those of recordings, and a vocoder that was not trained on them blurs them further.
They are synthesised from the recording's own tokens, with the same timing, so the recording remains the target.
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
from scripts.nano.data import Corpus, Utterance, pools_of, sample_voice, weigh
from scripts.nano.training import arguments, configure_torch

FOLDER = "resynthesised_mels"


def path_of(work: Path, utterance: Utterance) -> Path:
    """The file of an utterance's resynthesised mel."""
    return work / FOLDER / f"{utterance.key}.npy"


def load(work: Path, utterance: Utterance) -> NDArray[np.float32]:
    """The resynthesised mel (frames, 80). Raises FileNotFoundError if there is none."""
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
    parser.add_argument("--utterances", type=int, default=2000, help="(default: %(default)s)")
    args = parser.parse_args()
    configure_torch(args)
    model = flow.load_trained_flow(args.work)
    spoken = tokens.tokenised(args.work, Corpus(args.work, args.extra).train())
    pools = pools_of(spoken)
    weights, speakers = weigh(pools), flow.speaker_vectors(args.work, spoken)
    (args.work / FOLDER).mkdir(exist_ok=True)
    for number in tqdm(range(args.utterances), desc=FOLDER, mininterval=5):
        torch.manual_seed(number)
        row = sample_voice(pools, weights, np.random.default_rng(number))
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
