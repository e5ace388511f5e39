"""Stage: the speech tokenizer. One trained layer over frozen Whisper features, and a codebook of 1024.

    python -m scripts.nano.tokenizer --work nano-work

The codes are trained to tell phonemes apart (CTC) and to carry what the flow needs (mel, F0). The first 30 % of the
steps train without a quantiser; then k-means initialises the codebook, and moving averages update it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmtts.models.encoders.speech_tokenizer import WhisperVQ, WhisperVQConfig
from scripts.nano import features, phonemes, pretrained, whisper
from scripts.nano.data import MEL_MEAN, MEL_STD, SENTENCE, Corpus, Utterance
from scripts.nano.training import Run, arguments, configure_torch, cosine, mixed_precision

WIDTH = 384
BATCH = 16
QUANTISE_AFTER = 0.3
INITIAL_COUNT = 10.0
FIXED_DIMENSIONS = 1  # outliers of Whisper's residual stream, so large that they alone would decide the nearest code


class Batch(NamedTuple):
    """Padded rows: hidden (b, n, 512), mask (b, n), mel (b, 2n, 80), f0 (b, 2n), speaker (b,), phone ids."""

    hidden: Tensor
    mask: Tensor
    mel: Tensor
    f0: Tensor
    speaker: Tensor
    phones: list[Tensor]


class Heads(nn.Module):
    """Predict phones and sound from the codes during training; not exported."""

    def __init__(self, width: int, phone_count: int, speakers: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.listen = nn.Conv1d(width, WIDTH, 3, padding=1)
        self.ctc = nn.Linear(WIDTH, phone_count + 1)
        self.speaker = nn.Embedding(speakers, WIDTH)
        self.draw_in = nn.Conv1d(width, WIDTH, 5, padding=2)
        self.draw = nn.Conv1d(WIDTH, WIDTH, 5, padding=2)
        self.sound = nn.Linear(WIDTH, 2 * (80 + 2))

    def phones(self, codes_bnd: Tensor) -> Tensor:
        """Log probabilities (b, n, phones + 1); 0 is the blank."""
        hidden = F.gelu(self.listen(self.norm(codes_bnd).transpose(1, 2))).transpose(1, 2)
        return self.ctc(hidden).log_softmax(-1)

    def sounds(self, codes_bnd: Tensor, speaker_b: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised mel (b, 2n, 80), and (log F0, voicing) (b, 2n, 2)."""
        drawn = self.draw_in(self.norm(codes_bnd).transpose(1, 2)) + self.speaker(speaker_b)[:, :, None]
        drawn = F.gelu(drawn)
        drawn = (drawn + F.gelu(self.draw(drawn))).transpose(1, 2)
        both = self.sound(drawn).unflatten(-1, (2, 82)).flatten(1, 2)
        return both[..., :80], both[..., 80:]


class Codebook(nn.Module):
    """The trained layer and its codebook, updated by moving averages (van den Oord et al. 2017, appendix A)."""

    counts: Tensor
    sums: Tensor
    fixed: Tensor

    def __init__(self, work: Path) -> None:
        super().__init__()
        tokenizer = WhisperVQ(WhisperVQConfig.from_hf(features.TOKENIZER))
        state = whisper.encoder(pretrained.whisper_base(work) / "model.bin")
        self.layer = tokenizer.layers[-1]
        prefix = f"layers.{features.FROZEN_LAYERS}."
        self.layer.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        width = tokenizer.config.d_model
        self.register_buffer("counts", torch.zeros(features.CODES))
        self.register_buffer("sums", torch.zeros(features.CODES, width))
        self.register_buffer("fixed", torch.zeros(width, dtype=torch.bool))

    @property
    def book(self) -> Tensor:
        """The codebook (codes, width)."""
        return self.sums / self.counts.clamp_min(1e-3)[:, None]

    def forward(self, hidden_bnd: Tensor, mask_bn: Tensor) -> Tensor:
        """Continuous vectors before quantisation."""
        out: Tensor = self.layer(hidden_bnd, mask_bn[:, None, None, :])
        return out

    def nearest(self, vectors_md: Tensor) -> Tensor:
        """Ids (m,) of the nearest codes."""
        book = self.book
        return (book.square().sum(-1) - 2 * vectors_md @ book.T).argmin(-1)

    @torch.no_grad()
    def initialise(self, vectors_md: Tensor, rounds: int = 12) -> None:
        """K-means. All codes have equal values in the dimensions of largest variance, which thus have no influence."""
        loud = vectors_md.var(0).topk(FIXED_DIMENSIONS).indices
        self.fixed[loud] = True
        self._set_codes(vectors_md[torch.randperm(len(vectors_md))[: features.CODES]].clone(), vectors_md)
        for _ in range(rounds):
            ids = self.nearest(vectors_md)
            counts = torch.bincount(ids, minlength=features.CODES).float()
            sums = torch.zeros_like(self.sums).index_add_(0, ids, vectors_md)
            book = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1), self.book)
            self._set_codes(book, vectors_md)

    def _set_codes(self, book: Tensor, vectors_md: Tensor) -> None:
        book[:, self.fixed] = vectors_md.mean(0)[self.fixed]
        self.counts.fill_(INITIAL_COUNT)
        self.sums.copy_(book * INITIAL_COUNT)

    @torch.no_grad()
    def update(self, vectors_md: Tensor, ids_m: Tensor, decay: float = 0.98) -> None:
        """Moves the codes towards the vectors assigned to them; an unused code is replaced by a random vector."""
        constant = self.book[0, self.fixed]
        counts = torch.bincount(ids_m, minlength=len(self.counts)).float()
        self.counts.lerp_(counts, 1 - decay)
        self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, ids_m, vectors_md), 1 - decay)
        dead = self.counts < 0.03
        if dead.any():
            self.counts[dead] = 0.5
            self.sums[dead] = 0.5 * vectors_md[torch.randint(len(vectors_md), (int(dead.sum()),))]
        self.sums[:, self.fixed] = constant * self.counts[:, None]


def collate(work: Path, rows: list[Utterance], speakers: dict[str, int], inventory: dict[str, int]) -> Batch:
    """Reads the features of a batch and pads them."""
    loaded = [features.load(work, u) for u in rows]
    longest = max(len(a["hidden"]) for a in loaded)

    def pad(name: str, length: int) -> Tensor:
        arrays = [a[name] for a in loaded]
        padded = [np.pad(x, [(0, length - len(x)), *[(0, 0)] * (x.ndim - 1)]) for x in arrays]
        return torch.from_numpy(np.stack(padded))

    lengths = torch.tensor([len(a["hidden"]) for a in loaded])
    ids = [torch.tensor([inventory[p] for p in phonemes.plain(phonemes.of(u))]) for u in rows]
    speaker = torch.tensor([speakers[u.voice] for u in rows])
    mask = torch.arange(longest) < lengths[:, None]
    return Batch(pad("hidden", longest), mask, pad("mel", 2 * longest), pad("f0", 2 * longest), speaker, ids)


def losses(heads: Heads, codes_bnd: Tensor, batch: Batch) -> dict[str, Tensor]:
    """CTC loss per phone; L1 losses of mel and F0 per frame."""
    logp = heads.phones(codes_bnd)
    target_lengths = torch.tensor([len(p) for p in batch.phones])
    ctc = F.ctc_loss(
        logp.transpose(0, 1), torch.cat(batch.phones), batch.mask.sum(1), target_lengths, zero_infinity=True
    )
    mel, pitch = heads.sounds(codes_bnd, batch.speaker)
    valid = batch.mask.repeat_interleave(2, 1)
    voiced = valid & (batch.f0 > 0)
    log_f0 = (batch.f0.clamp_min(50) / 200).log()
    return {
        "ctc": ctc,
        "mel": 1.5 * (mel - (batch.mel - MEL_MEAN) / MEL_STD)[valid].abs().mean(),
        "f0": 2.0 * (pitch[..., 0] - log_f0)[voiced].abs().mean(),
        "voiced": 0.3 * F.binary_cross_entropy_with_logits(pitch[..., 1][valid], voiced[valid].float()),
    }


def phone_inventory(corpus: list[Utterance]) -> dict[str, int]:
    """Phone ids in sorted order, from 1; 0 is CTC's blank."""
    names = sorted({p for u in corpus for p in phonemes.plain(phonemes.of(u))})
    return {name: i for i, name in enumerate(names, 1)}


def available(work: Path, corpus: list[Utterance]) -> list[Utterance]:
    """Utterances whose features have been computed."""
    return [u for u in corpus if features.path_of(work, u).exists()]


def quantise(codes: Codebook, vectors_bnd: Tensor, mask_bn: Tensor, *, update: bool) -> tuple[Tensor, Tensor]:
    """The nearest codes, with the vectors' gradient, and the commitment loss; `update` moves the codes."""
    flat = vectors_bnd[mask_bn]
    ids = codes.nearest(flat.detach())
    chosen = torch.zeros_like(vectors_bnd)
    chosen[mask_bn] = codes.book[ids]
    commit = 0.25 * (flat - codes.book[ids])[:, ~codes.fixed].square().mean()
    if update:
        codes.update(flat.detach(), ids)
    return vectors_bnd + (chosen - vectors_bnd).detach(), commit


def phone_ids(work: Path, corpus: Corpus) -> dict[str, int]:
    """The phone ids of a work folder, written to phones.json on first use."""
    path = work / "phones.json"
    if not path.exists():
        path.write_text(json.dumps(phone_inventory(corpus.utterances), ensure_ascii=False), encoding="utf-8")
    known: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    return known


def main() -> None:
    parser = arguments(__doc__, steps=1200)
    parser.add_argument("--keep-codes", action="store_true", help="train only the heads, on the existing codes")
    args = parser.parse_args()
    configure_torch(args)
    corpus = Corpus(args.work, args.extra)
    inventory = phone_ids(args.work, corpus)
    known = [u for u in corpus.train() if all(p in inventory for p in phonemes.plain(phonemes.of(u)))]
    speakers = {name: i for i, name in enumerate(sorted({u.voice for u in corpus.utterances}))}
    codes, heads = Codebook(args.work).requires_grad_(not args.keep_codes), Heads(512, len(inventory), 64)
    groups = [{"params": codes.parameters(), "scale": 0.2}, {"params": heads.parameters()}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
    run = Run(args.work, "tokenizer", {"codes": codes, "heads": heads}, optimizer, args.steps)
    ready = [u for u in available(args.work, known) if u.kind == SENTENCE]
    pools = {lang: [u for u in ready if u.lang == lang] for lang in ("en", "zh")}
    switch = 0 if args.keep_codes else int(QUANTISE_AFTER * args.steps)
    precision = mixed_precision()
    for step, rng in run:
        rows = [pools["en" if i % 2 else "zh"] for i in range(BATCH)]
        picked = [pool[int(rng.integers(len(pool)))] for pool in rows]
        batch = collate(args.work, picked, speakers, inventory)
        noisy = batch.hidden + 0.1 * torch.randn_like(batch.hidden)
        with precision:
            vectors = codes(noisy, batch.mask).float()
        if step == switch and not args.keep_codes:
            pool_rows = [collate(args.work, [u], speakers, inventory) for u in ready[:: max(len(ready) // 500, 1)]]
            with torch.inference_mode():
                vectors_md = torch.cat([codes(b.hidden, b.mask)[0] for b in pool_rows])
            codes.initialise(vectors_md.clone())
        parts = {}
        if step >= switch:
            vectors, parts["commit"] = quantise(codes, vectors, batch.mask, update=not args.keep_codes)
        with precision:
            parts |= losses(heads, vectors, batch)
        run.optimize(torch.stack(list(parts.values())).sum(), cosine(step, args.steps, 1e-3, warm=50), clip=5.0)
        run.show(**parts)


if __name__ == "__main__":
    main()
