"""Optional stage: imports a checkpoint as the initial states of the stages, to continue training from it.

    python -m scripts.nano.import_checkpoint --work nano-work --from checkpoints/nano

The reverse of export. The speech tokenizer stays as it is, so that tokens keep their meaning: `tokenizer` trains its
heads alone (they are not exported), `ear` begins anew, and the other stages go on from the exported averages, with
fresh optimizers. The stored voices, the vocabulary and the lexicon stay too.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from scripts.nano import ar, features, flow, tokenizer, vocabulary, vocoder
from scripts.nano.training import Average, save_state, state_path


def to_float32(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Float32 again."""
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def codebook_state(folder: Path, codes: tokenizer.Codebook) -> dict[str, Tensor]:
    """The trained layer and the codebook, as the tokenizer stage keeps them."""
    state = to_float32(load_file(folder / "model.safetensors"))
    prefix = f"model.encoder.layers.{features.FROZEN_LAYERS}."
    layer = {f"layer.{k.removeprefix(prefix)}": v for k, v in state.items() if k.startswith(prefix)}
    book = state["model.encoder.codebook.weight"]
    return {
        **{name: layer[name] for name in codes.state_dict() if name in layer},
        "counts": torch.full_like(codes.counts, tokenizer.INITIAL_COUNT),
        "sums": book * tokenizer.INITIAL_COUNT,
        "fixed": (book == book[0]).all(0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("nano-work"))
    parser.add_argument("--from", dest="source", type=Path, default=Path("checkpoints/nano"))
    args = parser.parse_args()
    source: Path = args.source
    shutil.copytree(source / "vq32k-phoneme-tokenizer", args.work / "vocabulary", dirs_exist_ok=True)
    shutil.copytree(source / "voices", args.work / "voices", dirs_exist_ok=True)
    lexicon = gzip.decompress((source / "frontend" / "lexicon_en.json.gz").read_bytes())
    (args.work / "lexicon_en.json").write_bytes(lexicon)
    codes = tokenizer.Codebook(args.work)
    codes.load_state_dict(codebook_state(source / "speech_tokenizer", codes))
    save_state(state_path(args.work, "tokenizer"), {"codes": codes})
    llama = ar.Llama(ar.config(vocabulary.load(args.work).size))
    llama.load_state_dict(to_float32(load_file(source / "llm" / "model.safetensors")))
    save_state(state_path(args.work, "ar"), {"llama": llama, "average": Average(llama, 0.0)})
    dit = flow.new_flow()
    dit.load_state_dict(to_float32(torch.load(source / "flow" / "flow.pt", weights_only=True)["model"]))
    save_state(state_path(args.work, "flow"), {"flow": dit, "average": Average(dit, 0.0)})
    hift = vocoder.new_vocoder()
    hift.load_state_dict(to_float32(torch.load(source / "hift" / "hift.pt", weights_only=True)))
    save_state(state_path(args.work, "vocoder"), {"vocoder": hift, "average": Average(hift, 0.0)})


if __name__ == "__main__":
    main()
