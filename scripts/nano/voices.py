"""The nano checkpoint's stored voices: held-out recordings, selected by how well the model continues after them.

Each candidate is used as the prompt of other held-out sentences, and the one with the lowest phone error rate is taken:
a small model does badly after some recordings (verse, rare words).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import soundfile

from glmtts.config import GenerationConfig
from scripts.nano import tokens
from scripts.nano.data import RATE, Corpus, Utterance
from scripts.nano.prompt_eval import PromptEvaluator

SECONDS = (2.2, 6.0)
CANDIDATES, TEST_SENTENCES = 8, 8


class StoredVoice(NamedTuple):
    """Where a stored voice comes from.

    `voice`: in the corpus. `recorded`: the language of its recordings. `speaks`: the languages it is tested in.
    `styles`: voices of the corpus by style, besides neutral. `transcript`: selects the neutral recording ("": by test).
    """

    voice: str
    recorded: str
    speaks: tuple[str, ...]
    styles: dict[str, str] = {}  # noqa: RUF012  # a NamedTuple's default, never modified
    transcript: str = ""


VOICES = {
    # Prompted in English this voice speaks both languages well; prompted in Mandarin its English is poor.
    "default": StoredVoice(
        "zf_xiaoxiao", "en", ("en", "zh"), transcript="She finally broke herself of smoking cigarettes."
    ),
    "mingyue": StoredVoice(
        "zf_xiaoxiao",
        "zh",
        ("zh",),
        {"calm": "zf_xiaoxiao-calm"},
        "医生不但会打篮球，而且会拍照片。",
    ),
    "songhe": StoredVoice("zm_yunxi", "zh", ("zh",)),
    "hibari": StoredVoice(
        "hibari",
        "en",
        ("en",),
        {"calm": "hibari-calm", "happy": "hibari-happy"},
        "He sat on the floor cross-legged and meditated.",
    ),
    "michael": StoredVoice("am_michael", "en", ("en",)),
}


def select(evaluator: PromptEvaluator, held_out: list[Utterance], stored: StoredVoice) -> Utterance:
    """The recording with the transcript, or else the one whose worst language has the lowest error rate.

    In a corpus too small to have held-out recordings of the voice in that language, any other recording is used.
    """
    tests = {lang: [u for u in held_out if u.lang == lang][-TEST_SENTENCES:] for lang in stored.speaks}
    voices = [u for u in held_out if u.voice == stored.voice]
    own = [u for u in voices if u.lang == stored.recorded] or voices or held_out
    if named := [u for u in own if u.text == stored.transcript]:
        return named[0]
    used = [u for rows in tests.values() for u in rows]
    candidates = [u for u in own if SECONDS[0] <= u.seconds <= SECONDS[1] and u not in used][:CANDIDATES]
    return min(candidates or own, key=lambda u: max(evaluator.error(rows, prompt=u) for rows in tests.values()))


def write(work: Path, folder: Path, generation: GenerationConfig) -> None:
    """Writes `folder`/NAME/voice.json and STYLE.flac for every voice that is missing."""
    evaluator = PromptEvaluator(work, generation)
    held_out = tokens.tokenised(work, Corpus(work).test())
    for name, stored in VOICES.items():
        if (folder / name).exists():
            continue
        styles = {"neutral": stored}
        styles |= {style: stored._replace(voice=voice, transcript="") for style, voice in stored.styles.items()}
        selected = {style: select(evaluator, held_out, source) for style, source in styles.items()}
        transcripts = {style: utterance.text for style, utterance in selected.items()}
        about = {"name": name, "language": stored.speaks[-1], "transcripts": transcripts, "default_style": "neutral"}
        (folder / name).mkdir(parents=True)
        text = json.dumps(about, indent=1, ensure_ascii=False)
        (folder / name / "voice.json").write_text(text, encoding="utf-8")
        for style, utterance in selected.items():
            soundfile.write(folder / name / f"{style}.flac", utterance.wave(), RATE)
