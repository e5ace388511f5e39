"""Evaluates each stage on held-out utterances: an upper bound for the stages after it.

    python -m scripts.nano.stage_eval --work nano-work --stages teacher vocoder flow ar

teacher: the recordings. vocoder: their mels through the vocoder. flow: their tokens through flow and vocoder, prompted
with another utterance of the voice. These three have a word error rate (en) or toneless-syllable error rate (zh), and
DNSMOS if the extra `metrics` is installed. ar: the phone error rate of the AR model's tokens for their texts,
transcribed by the speech tokenizer's CTC head.
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
from scripts.benchmarks.speech_metrics import Recogniser, Wave, dnsmos_overall, error_rate
from scripts.nano import export, features, flow, resynthesised_mels, tokens, vocoder
from scripts.nano.data import RATE, Corpus, Utterance
from scripts.nano.prompt_eval import PromptEvaluator
from scripts.nano.training import arguments, averaged, configure_torch

Render = Callable[[Utterance], Wave]


def teacher(utterance: Utterance) -> Wave:
    """The recording."""
    return utterance.wave()


def vocoder_renderers(work: Path) -> tuple[Render, Callable[[Tensor], Wave]]:
    """Waveforms (n,) of an utterance's mel, and of a mel (1, 80, t)."""
    hift = vocoder.new_vocoder()
    hift.load_state_dict(averaged(work, "vocoder", hift))
    hift.fold_weight_norm().eval()

    def render_mel(mel: Tensor) -> Wave:
        wave: Wave = hift(mel, stream_keys(torch.tensor([0]), torch.tensor([0])))[0].numpy()
        return wave

    def render(utterance: Utterance) -> Wave:
        return render_mel(torch.from_numpy(features.load(work, utterance)["mel"]).T[None])

    return render, render_mel


def flow_renderer(work: Path, render_mel: Callable[[Tensor], Wave], corpus: Corpus) -> Render:
    """Waveforms of an utterance's tokens."""
    model = flow.load_trained_flow(work)
    spoken = tokens.tokenised(work, corpus.train())
    speakers = flow.speaker_vectors(work, spoken)
    prompts = {(u.voice, u.lang): u for u in spoken if 3.5 < u.seconds < 5}

    def render(utterance: Utterance) -> Wave:
        prompt_ids, prompt_mel = resynthesised_mels.read(work, prompts[utterance.voice, utterance.lang])
        own, _ = resynthesised_mels.read(work, utterance)
        key = stream_keys(torch.tensor([1]), torch.tensor([0]))
        noise = frame_noise(key, -prompt_mel.shape[1], prompt_mel.shape[1] + 2 * own.shape[1], 80)
        speaker = F.normalize(speakers[utterance.voice].mean(0), dim=-1)[None]
        return render_mel(model.sample(own, prompt_ids, prompt_mel, speaker, noise, frames=2 * own.shape[1]))

    return render


@torch.inference_mode()
def main() -> None:
    parser = arguments(__doc__, steps=0)
    parser.add_argument("--stages", nargs="+", default=["teacher", "vocoder", "flow", "ar"])
    parser.add_argument("--utterances", type=int, default=20, help="of each language (default: %(default)s)")
    args = parser.parse_args()
    configure_torch(args)
    corpus = Corpus(args.work, args.extra)
    held_out = tokens.tokenised(args.work, corpus.test())
    renderers: dict[str, Render] = {"teacher": teacher}
    if {"vocoder", "flow"} & set(args.stages):
        renderers["vocoder"], render_mel = vocoder_renderers(args.work)
    if "flow" in args.stages:
        renderers["flow"] = flow_renderer(args.work, render_mel, corpus)
    recogniser = Recogniser(args.work, args.threads) if set(args.stages) - {"ar"} else None
    has_dnsmos = find_spec("speechmos") is not None
    results: dict[str, dict[str, dict[str, float]]] = {}
    for lang in ("en", "zh"):
        rows = [u for u in held_out if u.lang == lang][: args.utterances]
        for stage in args.stages:
            if stage == "ar":
                figures = {"error": PromptEvaluator(args.work, GenerationConfig(**export.GENERATION)).error(tqdm(rows))}
            else:
                assert recogniser is not None
                waves = [renderers[stage](u) for u in tqdm(rows, desc=stage, mininterval=5)]
                hypotheses = [recogniser.transcribe(wave, RATE, lang) for wave in waves]
                figures = {"error": error_rate([u.text for u in rows], hypotheses, lang)}
                if has_dnsmos:
                    figures["dnsmos"] = float(np.mean([dnsmos_overall(wave, RATE) for wave in waves]))
            results.setdefault(stage, {})[lang] = figures
            shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
            print(f"{stage:8} {lang}  {shown}", flush=True)
    file = args.work / "results" / "stage_eval.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
