"""How well a checkpoint speaks: held-out sentences, its voices, three judges. A table, and JSON.

    python -m scripts.evaluate --checkpoint checkpoints/nano --json result.json
    python -m scripts.evaluate --prompts nano-work/clones       # recordings of others instead of its stored voices

Speaks offline, one sentence at a time, with a fixed seed each; the same call gives the same figures. Errors are counted
by a recogniser. With the extra `metrics` also: `likeness`, the speaker vector's cosine to the voice's own recording;
`above_others`, how far that is above its mean to the recordings of other people; `dnsmos`, quality from 1 to 5.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from tqdm import tqdm

import glmtts
from glmtts.checkpoint.loader import Model
from scripts.benchmarks.speech_metrics import Recogniser, SpeakerSimilarity, Wave, dnsmos_overall, error_rate
from scripts.nano.sentences import held_out

SILENT_RMS, CLIPPED = 0.003, 0.985
SAME_PERSON = 0.75
"""Two recordings whose vectors are this near are not "others" to each other: one person may have several voices."""
UNIT = {"en": "word error", "zh": "toneless-syllable error"}
COLUMNS = ("error", "likeness", "above_others", "dnsmos", "rtf", "cut_at_the_maximum", "silent", "clipped")


@dataclass(frozen=True)
class Prompt:
    """A voice: its recording, and what is said in it."""

    name: str
    lang: str
    recording: Path
    said: str


@dataclass(frozen=True)
class Spoken:
    """One sentence, as it was asked for and as it was judged."""

    lang: str
    voice: str
    text: str
    heard: str
    seconds: float
    finish: str
    stages: dict[str, float]
    rms: float
    peak: float
    likeness: float | None
    above_others: float | None
    dnsmos: float | None


def prompts_of(folder: Path) -> list[Prompt]:
    """The voices that are stored in `folder`, each in its default style."""
    found = []
    for file in sorted(folder.glob("*/voice.json")):
        about = json.loads(file.read_text(encoding="utf-8"))
        style = about["default_style"]
        recording = file.with_name(f"{style}.flac")
        found.append(Prompt(file.parent.name, about["language"], recording, about["transcripts"][style]))
    return found


class Judges:
    """All that listen. `prompts` are the recordings that speech is compared with."""

    def __init__(self, work: Path, threads: int, prompts: list[Prompt]) -> None:
        self._recogniser = Recogniser(work, threads)
        self._likeness = SpeakerSimilarity() if find_spec("resemblyzer") and find_spec("speechmos") else None
        self._vectors: dict[str, NDArray[np.float32]] = {}
        if self._likeness is None:
            print("no likeness and no DNSMOS: pip install -e '.[metrics]'")
            return
        for prompt in prompts:
            wave, rate = soundfile.read(prompt.recording, dtype="float32")
            self._vectors[prompt.name] = self._likeness.embed(wave, rate)

    def hear(self, wave: Wave, rate: int, lang: str) -> str:
        """What is said."""
        return self._recogniser.transcribe(wave, rate, lang) if len(wave) else ""

    def sound(self, wave: Wave, rate: int, voice: str) -> tuple[float | None, float | None, float | None]:
        """likeness, above_others and dnsmos; None where no judge is installed or nothing can be compared."""
        if self._likeness is None or len(wave) < rate // 2:
            return None, None, None
        own, vector = self._vectors[voice], self._likeness.embed(wave, rate)
        others = [other for other in self._vectors.values() if float(own @ other) < SAME_PERSON]
        likeness = float(own @ vector)
        above = likeness - float(np.mean([other @ vector for other in others])) if others else None
        return likeness, above, dnsmos_overall(wave, rate)


def speak(model: Model, prompt: Prompt, lang: str, judges: Judges, args: argparse.Namespace) -> list[Spoken]:
    """Every held-out sentence of the language in one voice."""
    voice = model.voice_maker.make_voice(prompt.recording.read_bytes(), prompt.said)
    sentences = sorted(filter(None, held_out(lang)))[: args.sentences]
    results = []
    for number, text in enumerate(tqdm(sentences, desc=f"{lang} {prompt.name}", mininterval=5)):
        speech = glmtts.synthesize(model, text, voice, seed=number)
        wave, rate, report = speech.wave, speech.sample_rate, speech.report
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            soundfile.write(args.out / f"{lang}-{prompt.name}-{number:02}.flac", wave, rate)
        level, peak = (float(np.sqrt(np.mean(wave**2))), float(np.abs(wave).max())) if len(wave) else (0.0, 0.0)
        heard, sound = judges.hear(wave, rate, lang), judges.sound(wave, rate, prompt.name)
        facts = (report.audio_seconds, str(report.finish_reason), report.stage_seconds, level, peak)
        results.append(Spoken(lang, prompt.name, text, heard, *facts, *sound))
    return results


def mean(values: list[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def summary(results: list[Spoken]) -> dict[str, Any]:
    """Figures of one language in one voice."""
    lang = results[0].lang
    audio = sum(r.seconds for r in results)
    stages: dict[str, float] = defaultdict(float)
    for result in results:
        for stage, seconds in result.stages.items():
            stages[stage] += seconds / audio
    return {
        "sentences": len(results),
        "measure": UNIT[lang],
        "error": error_rate([r.text for r in results], [r.heard for r in results], lang),
        "likeness": mean([r.likeness for r in results]),
        "above_others": mean([r.above_others for r in results]),
        "dnsmos": mean([r.dnsmos for r in results]),
        "audio_seconds": audio,
        "rtf": sum(stages.values()),
        "rtf_by_stage": dict(stages),
        "cut_at_the_maximum": sum(r.finish == "length" for r in results),
        "silent": sum(r.rms < SILENT_RMS for r in results),
        "clipped": sum(r.peak > CLIPPED for r in results),
    }


def show(table: dict[str, dict[str, Any]]) -> None:
    """The table on the terminal."""
    print(f"{'language, voice':24}" + "".join(f"{column:>20}" for column in COLUMNS))
    for row, figures in table.items():
        cells = ("–" if figures[column] is None else f"{figures[column]:.3g}" for column in COLUMNS)
        print(f"{row:24}" + "".join(f"{cell:>20}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--work", type=Path, default=Path("nano-work"), help="where the judges' weights are kept")
    parser.add_argument("--prompts", type=Path, help="folder of voices to speak in (default: the checkpoint's own)")
    parser.add_argument("--sentences", type=int, help="at most so many a language and voice")
    parser.add_argument("--voices", nargs="*", help="names of some of the voices; each speaks its own language")
    parser.add_argument("--both", nargs="*", default=["default"], help="voices that speak both (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write all figures, and what was heard, here")
    parser.add_argument("--out", type=Path, help="keep the speech in this folder, as FLAC")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = glmtts.load(args.checkpoint)
    prompts = prompts_of(args.prompts or args.checkpoint / "voices")
    judges = Judges(args.work, args.threads, prompts)
    wanted = [prompt for prompt in prompts if args.voices is None or prompt.name in args.voices]
    everything: list[Spoken] = []
    table = {}
    for lang in model.info.languages:
        for prompt in wanted:
            if lang == prompt.lang or prompt.name in args.both:
                results = speak(model, prompt, lang, judges, args)
                table[f"{lang} {prompt.name}"] = summary(results)
                everything += results
    show(table)
    if args.json:
        rows = [vars(result) for result in everything]
        args.json.write_text(json.dumps({"figures": table, "rows": rows}, ensure_ascii=False, indent=1), "utf-8")


if __name__ == "__main__":
    main()
