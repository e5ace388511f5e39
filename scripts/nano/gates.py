"""How far each stage has come, judged on held-out utterances: what the later stages can reach at best.

    python -m scripts.nano.gates --work nano-work --stages teacher vocoder flow ar

teacher: the recordings themselves. vocoder: their mels through the vocoder. flow: their tokens through flow and
vocoder, prompted with another utterance of the voice. All three: word error (en), toneless-syllable error (zh).
ar: the AR model's tokens for their texts, read back by the tokenizer's CTC head: phone error.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from glmtts.config import GenerationConfig
from glmtts.models.counter import frame_noise, stream_keys
from glmtts.models.decode import Decoder, Row, speak
from glmtts.models.kv_cache import KVCache
from glmtts.models.llama import Llama
from glmtts.models.prompt import SpecialIds, length_bounds, prompt_layout
from scripts.judges import Recogniser, Wave, error_rate
from scripts.nano import ar, export, features, flow, phones, tokens, vocabulary, vocoder
from scripts.nano.data import RATE, Corpus, Utterance
from scripts.nano.training import arguments, start

Sound = Callable[[Utterance], Wave]
PROMPT_FRAMES = 200


def teacher(utterance: Utterance) -> Wave:
    """What was recorded."""
    return utterance.wave()


def vocoded(work: Path) -> tuple[Sound, Callable[[Tensor], Wave]]:
    """(utterance → its mel's sound, mel (1, 80, t) → sound)."""
    hift = vocoder.new_vocoder()
    hift.load_state_dict(export.averaged(work, "vocoder", hift))
    hift.fold_weight_norm().eval()

    def voice(mel: Tensor) -> Wave:
        made: Wave = hift(mel, stream_keys(torch.tensor([0]), torch.tensor([0])))[0].numpy()
        return made

    def sound(utterance: Utterance) -> Wave:
        return voice(torch.from_numpy(features.load(work, utterance)["mel"]).T[None])

    return sound, voice


def flowed(work: Path, voice: Callable[[Tensor], Wave], corpus: Corpus) -> Sound:
    """Utterance → its tokens' sound."""
    model = flow.new_flow()
    model.load_state_dict(export.averaged(work, "flow", model))
    model.eval()
    spoken = [u for u in corpus.train() if tokens.path_of(work, u).exists()]
    speakers = flow.speaker_vectors(work, spoken)
    prompts = {(u.voice, u.lang): u for u in spoken if 3.5 < u.seconds < 5}

    def ids(utterance: Utterance) -> Tensor:
        with np.load(tokens.path_of(work, utterance)) as arrays:
            return torch.from_numpy(arrays["ids"].astype(np.int64))[None]

    def sound(utterance: Utterance) -> Wave:
        prompt = prompts[utterance.voice, utterance.lang]
        prompt_ids = ids(prompt)
        prompt_mel = torch.from_numpy(features.load(work, prompt)["mel"])[None, : 2 * prompt_ids.shape[1]]
        own = ids(utterance)
        key = stream_keys(torch.tensor([1]), torch.tensor([0]))
        noise = frame_noise(key, -prompt_mel.shape[1], prompt_mel.shape[1] + 2 * own.shape[1], 80)
        speaker = F.normalize(speakers[utterance.voice].mean(0), dim=-1)[None]
        return voice(model.sample(own, prompt_ids, prompt_mel, speaker, noise, frames=2 * own.shape[1]))

    return sound


def ar_phone_error(work: Path, rows: list[Utterance]) -> float:
    """Phone error of tokens drawn for the utterances' own phonemes, as the CTC head reads them."""
    tokenizer = vocabulary.load(work)
    codes, heads, inventory = tokens.load_trained(work)
    config = ar.config(tokenizer.size)
    llama = Llama(config)
    llama.load_state_dict(export.averaged(work, "ar", llama))
    llama.eval().requires_grad_(False)
    llama.fuse()
    names = ("<|audio_0|>", f"<|audio_{features.CODES - 1}|>", "<|begin_of_audio|>", "<|user|>", "<|endoftext|>")
    special = SpecialIds(*(tokenizer.special_id(name) for name in names))
    generation = GenerationConfig(**export.GENERATION)
    decoder = Decoder(llama, special, generation, KVCache(config, 1, 2048, dtype=torch.float32, device="cpu"))
    examples = ar.Examples(work, tokenizer)
    wrong = total = 0
    for utterance in tqdm(rows, desc="ar", mininterval=5):
        text = examples.text_ids(phones.of(utterance))[0]
        ids = prompt_layout((), tuple(text), (), special)
        drawn = list(speak(decoder, Row(ids, length_bounds(len(text), generation), 0, 0)))
        truth = [inventory.get(p, 0) for p in phones.plain(phones.of(utterance))]
        read = tokens.read_phones(heads, codes, torch.tensor(drawn)) if drawn else []
        wrong, total = wrong + tokens.edit_distance(read, truth), total + len(truth)
    return wrong / total


@torch.inference_mode()
def main() -> None:
    parser = arguments(__doc__, steps=0)
    parser.add_argument("--stages", nargs="+", default=["teacher", "vocoder", "flow", "ar"])
    parser.add_argument("--utterances", type=int, default=20, help="a language")
    args = parser.parse_args()
    start(args)
    corpus = Corpus(args.work, args.extra)
    held_out = [u for u in corpus.test() if tokens.path_of(args.work, u).exists()]
    sounds: dict[str, Sound] = {"teacher": teacher}
    if {"vocoder", "flow"} & set(args.stages):
        sounds["vocoder"], voice = vocoded(args.work)
    if "flow" in args.stages:
        sounds["flow"] = flowed(args.work, voice, corpus)
    listening = set(args.stages) - {"ar"}
    judge = Recogniser(args.work, args.threads) if listening else None
    results: dict[str, dict[str, float]] = {}
    for lang in ("en", "zh"):
        rows = [u for u in held_out if u.lang == lang][: args.utterances]
        for stage in args.stages:
            if stage == "ar":
                figure = ar_phone_error(args.work, rows)
            else:
                assert judge is not None
                heard = [judge.hear(sounds[stage](u), RATE, lang) for u in tqdm(rows, desc=stage, mininterval=5)]
                figure = error_rate([u.text for u in rows], heard, lang)
            results.setdefault(stage, {})[lang] = figure
            print(f"{stage:8} {lang} {figure:6.1%}", flush=True)
    file = args.work / "results" / "gates.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
