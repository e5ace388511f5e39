"""Stage: exports the trained modules as a checkpoint in the official layout, with stored voices.

    python -m scripts.nano.export --work nano-work --to checkpoints/nano

Exports averaged weights if a stage keeps an average. Matrices are stored as float16, which halves the files; the loader
converts them back. Modules that only training needs (heads, optimizers) are not exported.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor
from transformers import WhisperFeatureExtractor

from glmtts.checkpoint.model_info import fingerprint
from glmtts.config import GenerationConfig
from glmtts.models.encoders.speech_tokenizer import WhisperVQ, WhisperVQConfig
from scripts.nano import ar, features, flow, pretrained, tokens, vocabulary, vocoder, voices, whisper
from scripts.nano.training import averaged

VERSION = "0.1"
GENERATION: dict[str, Any] = {
    "min_ratio": 0.5,
    "max_ratio": 8.0,
    "phoneme": True,
    "temperature": 0.5,
    "tau_r": 0.5,
    # Slow frames are understood as well as those of speed 1; fast ones lose words at 1.2 already, more than a stretch.
    "min_speed": 0.7,
    "max_speed": 1.0,
    # Synthetic speech surprises it by 0.7 to 1.9 nats a token, and it follows; people's recordings by 3.5, and it loses
    # its place in the text; by a transcript of something else 5.6 and more.
    "max_prompt_nll": 2.5,
    # The end token behind a whole recording surprises it by 0.0 to 1.4 nats, behind one whose transcript goes on by 3
    # to 16, behind one that breaks off within a word by 10.
    "max_prompt_end_nll": 2.5,
    "min_prompt_ratio": 0.8,
    "max_prompt_seconds": 5.0,
    # One sentence a segment, and only the last one as history: what it was trained for.
    "segment_by": "sentence",
    "min_segment_weight": 4.0,
    "max_segment_weight": 40.0,
    "history_segments": 1,
    "min_tokens": 10,
    # No sentence of the corpus has fewer than 4.07 (songhe), 4.4 (mingyue), 5.06 (English). Below, a clause is missing.
    "min_tokens_per_weight": 3.9,
    "extra_tokens": 25,
    # Both languages together: Mandarin takes 2.4 tokens an id + 4, English 1.3 + 10. Right draws of 110 texts from one
    # word to a sentence, in four voices, have 0.66 to 1.52 times as many as expected, draws that go on with the
    # prompt's transcript mostly more than twice as many. Up to 8 ids, twice as many are at most 42.
    "tokens_per_id": 1.7,
    "base_tokens": 7.0,
    "min_length_ratio": 0.5,
    "max_length_ratio": 2.0,
    "max_redraws": 2,
    "max_redraw_tokens": 42,
    "alignment_heads": [[layer, head] for layer in ar.GUIDED_LAYERS for head in range(ar.GUIDED_HEADS)],
}
"""Colder than the published constants, and patient with repetition: a small model strays when it draws widely."""


def to_float16(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels in float16; vectors (norms, biases, statistics) are small and keep their precision."""
    return {
        name: (value.half() if value.ndim > 1 and value.dtype == torch.float32 else value).contiguous()
        for name, value in state.items()
    }


def _json(file: Path, value: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")


def write_llm(work: Path, folder: Path) -> None:
    """The AR model."""
    config = ar.config(vocabulary.load(work).size)
    _json(folder / "config.json", {**config.to_dict(), "model_type": "llama"})
    _json(folder / "generation.json", GENERATION)
    state = averaged(work, "ar", ar.Llama(config))
    save_file(to_float16(state), folder / "model.safetensors")


def write_flow(work: Path, folder: Path) -> None:
    """Tokens to mel."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(asdict(flow.CONFIG)), encoding="utf-8")
    torch.save({"model": to_float16(averaged(work, "flow", flow.new_flow()))}, folder / "flow.pt")


def write_vocoder(work: Path, folder: Path) -> None:
    """Mel to waveform; the config has only the values that differ from the published ones."""
    published = asdict(type(vocoder.CONFIG)())
    _json(folder / "config.json", {k: v for k, v in asdict(vocoder.CONFIG).items() if v != published[k]})
    torch.save(to_float16(averaged(work, "vocoder", vocoder.new_vocoder())), folder / "hift.pt")


def write_speech_tokenizer(work: Path, folder: Path) -> None:
    """Whisper's layers, the trained layer above them, and the codebook."""
    _json(folder / "config.json", {"model_type": "whisper", **features.TOKENIZER})
    WhisperFeatureExtractor(feature_size=features.TOKENIZER["num_mel_bins"]).save_pretrained(folder)
    codes = tokens.load_codebook(work)
    encoder = WhisperVQ(WhisperVQConfig.from_hf(features.TOKENIZER))
    whisper_state = whisper.encoder(pretrained.whisper_base(work) / "model.bin")
    own = encoder.state_dict()
    top = f"layers.{features.FROZEN_LAYERS}."
    trained_layer = {top + name: value for name, value in codes.layer.state_dict().items()}
    # The remaining weights belong to positions behind the quantiser, which are never used.
    known = {**whisper_state, **trained_layer, "codebook.weight": codes.book}
    state = {name: known.get(name, torch.zeros_like(value)) for name, value in own.items()}
    save_file(
        {f"model.encoder.{name}": value for name, value in to_float16(state).items()}, folder / "model.safetensors"
    )


def write_frontend(work: Path, folder: Path) -> None:
    """The speaker encoder and the English lexicon. able.json is empty, because the model reads only phonemes."""
    folder.mkdir(parents=True)
    shutil.copy(pretrained.campplus(work), folder / "campplus.pt")  # as published: the golden cases were made with it
    _json(folder / "able.json", [])
    lexicon = (work / "lexicon_en.json").read_bytes()
    (folder / "lexicon_en.json.gz").write_bytes(gzip.compress(lexicon, mtime=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("nano-work"))
    parser.add_argument("--to", type=Path, default=Path("checkpoints/nano"))
    args = parser.parse_args()
    fresh = args.to.with_name(args.to.name + ".partial")
    shutil.rmtree(fresh, ignore_errors=True)
    write_llm(args.work, fresh / "llm")
    write_flow(args.work, fresh / "flow")
    write_vocoder(args.work, fresh / "hift")
    write_speech_tokenizer(args.work, fresh / "speech_tokenizer")
    shutil.copytree(args.work / "vocabulary", fresh / "vq32k-phoneme-tokenizer")
    write_frontend(args.work, fresh / "frontend")
    voices.write(args.work, args.work / "voices", GenerationConfig(**GENERATION))
    shutil.copytree(args.work / "voices", fresh / "voices")
    _json(
        fresh / "model.json", {"name": "nano", "version": f"{VERSION}-{fingerprint(fresh)}", "languages": ["zh", "en"]}
    )
    for kept in ("README.md",):
        if (args.to / kept).exists():
            shutil.copy(args.to / kept, fresh / kept)
    shutil.rmtree(args.to, ignore_errors=True)
    fresh.rename(args.to)
    size = sum(file.stat().st_size for file in args.to.rglob("*") if file.is_file())
    print(f"{args.to}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
