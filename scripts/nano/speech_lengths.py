"""How many speech tokens a checkpoint draws for how many text ids: what the values for redraws are chosen from.

    python -m scripts.nano.speech_lengths --checkpoint checkpoints/nano

Draws words and sentences in the checkpoint's voices, without redraws, and prints for each language and number of ids
the lengths, and how they compare with the length that `llm/generation.json` expects. Runs no flow and no vocoder.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from glmtts.checkpoint.loader import Model, load
from glmtts.models.llm.decoder import Decoder, DecodeRequest, generate_tokens
from glmtts.models.llm.history import History
from glmtts.models.llm.kv_cache import KVCache
from glmtts.models.llm.prompt import prompt_layout
from scripts.benchmarks.eval_cases import Row, load_prompts, rows


def draw_lengths(model: Model, row: Row, seeds: int) -> Iterator[tuple[int, int]]:
    """Text ids and speech tokens of the first segment of each text."""
    generation = replace(model.generation, tokens_per_id=None, max_redraws=0)
    cache = KVCache(model.llm.config, 1, model.max_positions)
    decoder = Decoder(model.llm, model.special, generation, cache)
    voice = model.voice_maker.make_voice(*row.recording())
    history = History(voice.prompt_text, voice.prompt_tokens.tolist(), generation, max_positions=model.max_positions)
    for text in tqdm(row.texts, desc=row.name, mininterval=5):
        segment = model.frontend.segments(text)[0]
        prompt = history.prompt(segment.ids)
        ids = prompt_layout(prompt.text, segment.ids, prompt.speech, model.special)
        for seed in range(seeds):
            drawn = generate_tokens(decoder, DecodeRequest(ids, prompt.bounds, seed))
            yield len(segment.ids), sum(1 for _ in drawn)


def print_lengths(lang: str, lengths: dict[int, list[int]], model: Model) -> None:
    for ids, tokens in sorted(lengths.items()):
        line = f"{lang} {ids:3} ids: {' '.join(map(str, sorted(tokens)))}"
        if (expected := model.generation.expected_tokens(ids)) is not None:
            line += f"   {min(tokens) / expected:.2f} to {max(tokens) / expected:.2f} × expected"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--texts", type=int, default=20, help="of each kind")
    parser.add_argument("--seeds", type=int, default=3, help="draws of each text")
    options = parser.parse_args()
    model = load(options.checkpoint, device="cpu")
    lengths: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    with torch.inference_mode():
        for prompt in load_prompts(options.checkpoint / "voices"):
            for kind in ("words", "sentences"):
                for row in rows(kind, prompt.lang, prompt, options.texts):
                    for ids, tokens in draw_lengths(model, row, options.seeds):
                        lengths[prompt.lang][ids].append(tokens)
    for lang, by_ids in lengths.items():
        print_lengths(lang, by_ids, model)


if __name__ == "__main__":
    main()
