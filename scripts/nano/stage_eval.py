"""How far each stage has come, judged on held-out utterances: what the later stages can reach at best.

    python -m scripts.nano.stage_eval --work nano-work --stages teacher vocoder flow ar

teacher: the recordings themselves. vocoder: their mels through the vocoder. flow: their tokens through flow and
vocoder, prompted with another utterance of the voice. All three: word error (en), toneless-syllable error (zh).
ar: the AR model's tokens for their texts, read back by the tokenizer's CTC head: phone error. With the extra `judges`,
DNSMOS of what is heard as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from glmtts.config import GenerationConfig
from glmtts.models.rng import frame_noise, stream_keys
from scripts.benchmarks.speech_metrics import Recogniser, Wave, error_rate, overall_quality
from scripts.nano import export, features, flow, resynthesised_mels, tokens, vocoder
from scripts.nano.data import RATE, Corpus, Utterance
from scripts.nano.prompt_eval import Reading
from scripts.nano.training import arguments, averaged, start

Sound = Callable[[Utterance], Wave]


def teacher(utterance: Utterance) -> Wave:
    """What was recorded."""
    return utterance.wave()


def vocoded(work: Path) -> tuple[Sound, Callable[[Tensor], Wave]]:
    """(utterance → its mel's sound, mel (1, 80, t) → sound)."""
    hift = vocoder.new_vocoder()
    hift.load_state_dict(averaged(work, "vocoder", hift))
    hift.fold_weight_norm().eval()

    def voice(mel: Tensor) -> Wave:
        made: Wave = hift(mel, stream_keys(torch.tensor([0]), torch.tensor([0])))[0].numpy()
        return made

    def sound(utterance: Utterance) -> Wave:
        return voice(torch.from_numpy(features.load(work, utterance)["mel"]).T[None])

    return sound, voice


def flowed(work: Path, voice: Callable[[Tensor], Wave], corpus: Corpus) -> Sound:
    """Utterance → its tokens' sound."""
    model = flow.finished_flow(work)
    spoken = tokens.tokenised(work, corpus.train())
    speakers = flow.speaker_vectors(work, spoken)
    prompts = {(u.voice, u.lang): u for u in spoken if 3.5 < u.seconds < 5}

    def sound(utterance: Utterance) -> Wave:
        prompt_ids, prompt_mel = resynthesised_mels.read(work, prompts[utterance.voice, utterance.lang])
        own, _ = resynthesised_mels.read(work, utterance)
        key = stream_keys(torch.tensor([1]), torch.tensor([0]))
        noise = frame_noise(key, -prompt_mel.shape[1], prompt_mel.shape[1] + 2 * own.shape[1], 80)
        speaker = F.normalize(speakers[utterance.voice].mean(0), dim=-1)[None]
        return voice(model.sample(own, prompt_ids, prompt_mel, speaker, noise, frames=2 * own.shape[1]))

    return sound


@torch.inference_mode()
def main() -> None:
    parser = arguments(__doc__, steps=0)
    parser.add_argument("--stages", nargs="+", default=["teacher", "vocoder", "flow", "ar"])
    parser.add_argument("--utterances", type=int, default=20, help="a language")
    args = parser.parse_args()
    start(args)
    corpus = Corpus(args.work, args.extra)
    held_out = tokens.tokenised(args.work, corpus.test())
    sounds: dict[str, Sound] = {"teacher": teacher}
    if {"vocoder", "flow"} & set(args.stages):
        sounds["vocoder"], voice = vocoded(args.work)
    if "flow" in args.stages:
        sounds["flow"] = flowed(args.work, voice, corpus)
    judge = Recogniser(args.work, args.threads) if set(args.stages) - {"ar"} else None
    rated = find_spec("speechmos") is not None
    results: dict[str, dict[str, dict[str, float]]] = {}
    for lang in ("en", "zh"):
        rows = [u for u in held_out if u.lang == lang][: args.utterances]
        for stage in args.stages:
            if stage == "ar":
                figures = {"error": Reading(args.work, GenerationConfig(**export.GENERATION)).error(tqdm(rows))}
            else:
                assert judge is not None
                waves = [sounds[stage](u) for u in tqdm(rows, desc=stage, mininterval=5)]
                heard = [judge.hear(wave, RATE, lang) for wave in waves]
                figures = {"error": error_rate([u.text for u in rows], heard, lang)}
                if rated:
                    figures["dnsmos"] = float(np.mean([overall_quality(wave, RATE) for wave in waves]))
            results.setdefault(stage, {})[lang] = figures
            shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
            print(f"{stage:8} {lang}  {shown}", flush=True)
    file = args.work / "results" / "gates.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
