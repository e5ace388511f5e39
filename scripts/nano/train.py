"""Trains the nano checkpoint from an empty folder: every stage in order, each resumed where it stopped.

    python -m scripts.nano.train --work nano-work --to checkpoints/nano
    python -m scripts.nano.train --work /tmp/smoke --to /tmp/nano --smoke

The smoke run takes minutes, with next to no data and steps: its checkpoint loads, and makes noise. The full run takes
about twenty-five core-hours. On two cores, run `corpus` in parallel with the other stages, and `ar` (as soon as there
are tokens) in parallel with `flow` and `vocoder`, by hand. Needs the extras train and eval, and Debian's wordnet-base,
fortunes-zh and gimp-help-zh-cn.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Speech(NamedTuple):
    """Hours of a voice in a language, the index of its first sentence, and the list of texts (see corpus.py)."""

    voice: str
    lang: str
    hours: float
    first: int = 0
    texts: str = "sentences"


class Amounts(NamedTuple):
    """Amounts of data and training.

    `steps`: by stage. `words`: of WordNet (None: all). `resynthesised`: utterances that the flow synthesises for the
    vocoder. `augmented_minutes`: of each voice. `adversarial_from`: the step from which discriminators join, by stage.
    """

    speech: tuple[Speech, ...]
    steps: dict[str, int]
    words: int | None
    resynthesised: int
    augmented_minutes: float
    adversarial_from: dict[str, int]


FULL = Amounts(
    (
        Speech("hibari", "en", 5.2),
        Speech("hibari-calm", "en", 0.38, 10000),
        Speech("hibari-happy", "en", 0.38, 14000),
        Speech("am_michael", "en", 0.29, 20000),
        Speech("zf_xiaoxiao", "zh", 1.52),
        Speech("zf_xiaoxiao-calm", "zh", 0.06, 6000),
        Speech("zf_xiaoxiao", "en", 0.33),
        Speech("zm_yunxi", "zh", 0.97, 3000),
        Speech("hibari", "en", 0.7, texts="short"),
        Speech("hibari-calm", "en", 0.04, texts="short"),
        Speech("hibari-happy", "en", 0.04, texts="short"),
        Speech("am_michael", "en", 0.06, texts="short"),
        Speech("zf_xiaoxiao", "zh", 0.17, texts="short"),
        Speech("zf_xiaoxiao", "en", 0.06, texts="short"),
        Speech("zm_yunxi", "zh", 0.11, texts="short"),
    ),
    {"tokenizer": 1500, "phone_perceptual": 2150, "flow": 40700, "vocoder": 21100, "ar": 20600},
    None,
    2000,
    75.0,
    {"flow": 30000, "vocoder": 6000},
)
SMOKE = Amounts(
    (
        Speech("hibari", "en", 0.06),
        Speech("hibari-calm", "en", 0.01, 500),
        Speech("zf_xiaoxiao", "zh", 0.02),
        Speech("hibari", "en", 0.005, texts="short"),
    ),
    {"tokenizer": 12, "phone_perceptual": 3, "flow": 3, "vocoder": 3, "ar": 3},
    100,
    4,
    0.2,
    {"flow": 1, "vocoder": 1},
)


def commands(amounts: Amounts, work: Path, to: Path) -> list[list[str]]:
    """Module and arguments of each stage, in order."""
    corpora = [
        ["corpus", "--voice", voice, "--lang", lang, "--hours", str(hours), "--first", str(first), "--texts", texts]
        for voice, lang, hours, first, texts in amounts.speech
    ]
    trained = {stage: [stage, "--steps", str(steps)] for stage, steps in amounts.steps.items()}
    for stage, first in amounts.adversarial_from.items():
        trained[stage] += ["--adversarial-from", str(first)]
    words = [] if amounts.words is None else ["--limit", str(amounts.words)]
    return [
        ["sentences"],
        ["short_texts"],
        *corpora,
        ["augment", "--minutes", str(amounts.augmented_minutes)],
        ["features"],
        trained["tokenizer"],
        ["tokens"],
        ["lexicon", *words],
        ["vocabulary"],
        trained["phone_perceptual"],
        trained["flow"],
        ["resynthesised_mels", "--utterances", str(amounts.resynthesised)],
        trained["vocoder"],
        trained["ar"],
        ["export", "--to", str(to)],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("nano-work"))
    parser.add_argument("--to", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--smoke", action="store_true", help="take minutes; the result loads, and is of no other use")
    args = parser.parse_args()
    for stage, *options in commands(SMOKE if args.smoke else FULL, args.work, args.to):
        command = [sys.executable, "-m", f"scripts.nano.{stage}", "--work", str(args.work), *options]
        print("$", " ".join(command[1:]), flush=True)
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
