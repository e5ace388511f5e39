"""Stage: a small phone recognizer on mels. Its features give the flow and the vocoder a perceptual loss.

    python -m scripts.nano.phone_perceptual --work nano-work

A mel can have a small mean error and still turn one consonant into another. So both stages also match the features of
a network that was trained to tell phones apart. It is not exported.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.nano import features, phonemes, tokens
from scripts.nano.data import MEL_MEAN, MEL_STD, Corpus, Utterance, pools_of, weigh
from scripts.nano.tokenizer import phone_ids
from scripts.nano.training import Run, arguments, configure_torch, cosine, state_path

STAGE = "phone_perceptual"
WIDTH, LAYERS, KERNEL = 256, 4, 5
FRAMES, BATCH = 200, 16
MAX_NOISE = 0.3  # of a mel's standard deviation: the mels that it will be applied to are not clean


class PhoneRecognizer(nn.Module):
    """Convolutions with a context of 16 frames on each side; mels (b, t, 80) to each layer's features (b, width, t)."""

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
        features = []
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(F.gelu(norm(x)))
            features.append(x)
        return features

    def phone_logits(self, mel_btm: Tensor) -> Tensor:
        """Logits of each frame's phone (b, t, phones + 1)."""
        logits: Tensor = self.phones(F.gelu(self(mel_btm)[-1]).transpose(1, 2))
        return logits


def perceptual_loss(recognizer: PhoneRecognizer, made_btm: Tensor, true_btm: Tensor) -> Tensor:
    """Mean absolute difference of two mels' features, relative to their standard deviation, over all layers."""
    with torch.no_grad():
        target = recognizer(true_btm)
    layers = zip(recognizer(made_btm), target, strict=True)
    return torch.stack([(a - b).abs().mean() / b.std() for a, b in layers]).mean()


def load_trained(work: Path) -> PhoneRecognizer | None:
    """The trained recognizer, frozen; None where it was not trained, as after importing a checkpoint."""
    if not state_path(work, STAGE).exists():
        return None
    state = torch.load(state_path(work, STAGE), weights_only=True)["modules"]["recognizer"]
    recognizer = PhoneRecognizer(len(state["phones.bias"]) - 1)
    recognizer.load_state_dict(state)
    return recognizer.eval().requires_grad_(False)


def aligned(work: Path, utterance: Utterance, inventory: dict[str, int]) -> tuple[Tensor, Tensor]:
    """Mel (frames, 80) and the phone id of each frame (frames,)."""
    numbers = np.array([inventory.get(p, 0) for p in phonemes.plain(phonemes.of(utterance))])
    with np.load(tokens.path_of(work, utterance)) as arrays:
        ids = torch.from_numpy(numbers[arrays["phone"]]).repeat_interleave(2)
    return torch.from_numpy(features.load(work, utterance)["mel"])[: len(ids)], ids


def main() -> None:
    args = arguments(__doc__, steps=3000).parse_args()
    configure_torch(args)
    corpus = Corpus(args.work, args.extra)
    inventory = phone_ids(args.work, corpus)
    torch.manual_seed(0)
    recognizer = PhoneRecognizer(len(inventory))
    optimizer = torch.optim.AdamW(recognizer.parameters(), weight_decay=0.01, fused=True)
    run = Run(args.work, STAGE, {"recognizer": recognizer}, optimizer, args.steps)
    known = tokens.tokenised(args.work, corpus.train())
    pools = pools_of([u for u in known if u.seconds * 50 > FRAMES / 2])
    voices, weights = list(pools.values()), weigh(pools)
    for step, rng in run:
        mels, labels = [], []
        for pool in (voices[i] for i in rng.choice(len(voices), BATCH, p=weights)):
            mel, ids = aligned(args.work, pool[int(rng.integers(len(pool)))], inventory)
            first = int(rng.integers(max(len(mel) - FRAMES, 0) + 1))
            short = max(FRAMES - len(mel), 0)
            mels.append(F.pad(mel[first : first + FRAMES], (0, 0, 0, short), value=2 * MEL_MEAN))
            labels.append(F.pad(ids[first : first + FRAMES], (0, short)))
        mel, target = torch.stack(mels), torch.stack(labels)
        noise = MAX_NOISE * MEL_STD * torch.rand(BATCH, 1, 1) * torch.randn_like(mel)
        logits = recognizer.phone_logits(mel + noise)
        loss = F.cross_entropy(logits.transpose(1, 2), target)
        run.optimize(loss, cosine(step, args.steps, 1e-3))
        run.show(loss=loss, accuracy=(logits.argmax(-1) == target).float().mean())


if __name__ == "__main__":
    main()
