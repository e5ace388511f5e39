"""Stage: the ear. A small reader of phones in mels; what its layers hear pulls the flow and the vocoder.

    python -m scripts.nano.phone_perceptual --work nano-work

A mel can be near to the true one by its mean error and still turn one consonant into another. So both stages are also
asked to sound alike to a listener that was taught what tells phones apart. It is dropped at export.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.nano import features, phonemes, tokens
from scripts.nano.data import MEL_MEAN, MEL_STD, Corpus, Utterance, pools_of, weigh
from scripts.nano.tokenizer import numbered
from scripts.nano.training import Run, arguments, cosine, start, state_path

WIDTH, LAYERS, KERNEL = 256, 4, 5
FRAMES, BATCH = 200, 16
NOISE = 0.3  # at most, of a mel's deviation: the mels that it will hear are not clean


class Ear(nn.Module):
    """Convolutions over 16 frames to either side; mels (b, t, 80) to what each layer hears (b, width, t)."""

    def __init__(self, phone_count: int) -> None:
        super().__init__()
        self.open = nn.Conv1d(80, WIDTH, KERNEL, padding=KERNEL // 2)
        self.layers = nn.ModuleList(
            nn.Conv1d(WIDTH, WIDTH, KERNEL, padding=KERNEL // 2 * (1 + i % 2), dilation=1 + i % 2)
            for i in range(LAYERS)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, WIDTH) for _ in range(LAYERS))
        self.phones = nn.Linear(WIDTH, phone_count + 1)

    def forward(self, mel_btm: Tensor) -> list[Tensor]:
        x = self.open((mel_btm.transpose(1, 2) - MEL_MEAN) / MEL_STD)
        heard = []
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(F.gelu(norm(x)))
            heard.append(x)
        return heard

    def read(self, mel_btm: Tensor) -> Tensor:
        """Logits of the phone that each frame speaks (b, t, phones + 1)."""
        logits: Tensor = self.phones(F.gelu(self(mel_btm)[-1]).transpose(1, 2))
        return logits


def heard_apart(ear: Ear, made_btm: Tensor, true_btm: Tensor) -> Tensor:
    """How differently two mels sound to the ear: mean distance in what its layers hear, relative to its deviation."""
    with torch.no_grad():
        wanted = ear(true_btm)
    layers = zip(ear(made_btm), wanted, strict=True)
    return torch.stack([(a - b).abs().mean() / b.std() for a, b in layers]).mean()


def load_trained(work: Path) -> Ear:
    """The trained ear, for listening alone."""
    state = torch.load(state_path(work, "ear"), weights_only=True)["modules"]["ear"]
    ear = Ear(len(state["phones.bias"]) - 1)
    ear.load_state_dict(state)
    return ear.eval().requires_grad_(False)


def aligned(work: Path, utterance: Utterance, inventory: dict[str, int]) -> tuple[Tensor, Tensor]:
    """Mel (frames, 80) and the phone's number in each frame (frames,)."""
    numbers = np.array([inventory.get(p, 0) for p in phonemes.plain(phonemes.of(utterance))])
    with np.load(tokens.path_of(work, utterance)) as arrays:
        spoken = torch.from_numpy(numbers[arrays["phone"]]).repeat_interleave(2)
    return torch.from_numpy(features.load(work, utterance)["mel"])[: len(spoken)], spoken


def main() -> None:
    args = arguments(__doc__, steps=3000).parse_args()
    start(args)
    corpus = Corpus(args.work, args.extra)
    inventory = numbered(args.work, corpus)
    torch.manual_seed(0)
    ear = Ear(len(inventory))
    optimizer = torch.optim.AdamW(ear.parameters(), weight_decay=0.01, fused=True)
    run = Run(args.work, "ear", {"ear": ear}, optimizer, args.steps)
    known = tokens.tokenised(args.work, corpus.train())
    pools = pools_of([u for u in known if u.seconds * 50 > FRAMES / 2])
    voices, weights = list(pools.values()), weigh(pools)
    for step, rng in run:
        mels, spoken = [], []
        for pool in (voices[i] for i in rng.choice(len(voices), BATCH, p=weights)):
            mel, said = aligned(args.work, pool[int(rng.integers(len(pool)))], inventory)
            first = int(rng.integers(max(len(mel) - FRAMES, 0) + 1))
            short = max(FRAMES - len(mel), 0)
            mels.append(F.pad(mel[first : first + FRAMES], (0, 0, 0, short), value=2 * MEL_MEAN))
            spoken.append(F.pad(said[first : first + FRAMES], (0, short)))
        mel, truth = torch.stack(mels), torch.stack(spoken)
        noise = NOISE * MEL_STD * torch.rand(BATCH, 1, 1) * torch.randn_like(mel)
        logits = ear.read(mel + noise)
        loss = F.cross_entropy(logits.transpose(1, 2), truth)
        run.descend(loss, cosine(step, args.steps, 1e-3))
        run.show(loss=loss, right=(logits.argmax(-1) == truth).float().mean())


if __name__ == "__main__":
    main()
