"""The nano checkpoint's stored voices: recordings that no stage was trained on, chosen by how well the model goes on.

A recording is tried as the prompt of other held-out sentences, and the one after which fewest phones go wrong is taken:
some recordings (verse, rare words) lead a small model astray.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import soundfile

from glmtts.config import GenerationConfig
from scripts.nano import tokens
from scripts.nano.data import RATE, Corpus, Utterance
from scripts.nano.prompt_eval import Reading

SECONDS = (2.2, 6.0)
CANDIDATES, TRIED_ON = 8, 8


class Stored(NamedTuple):
    """Whose recordings, in which language, which languages they must carry, the styles besides neutral by the corpus's
    voice that has them, and what is said in the neutral one if that is settled.
    """

    voice: str
    recorded: str
    speaks: tuple[str, ...]
    styles: dict[str, str] = {}  # noqa: RUF012  # a NamedTuple's default; nobody changes it
    said: str = ""


VOICES = {
    # After its English recordings this voice speaks both languages; after the Mandarin ones its English is poor.
    "default": Stored("zf_xiaoxiao", "en", ("en", "zh"), said="She finally broke herself of smoking cigarettes."),
    "xiaoxiao": Stored("zf_xiaoxiao", "zh", ("zh",), said="医生不但会打篮球，而且会拍照片。"),
    "yunxi": Stored("zm_yunxi", "zh", ("zh",)),
    "hibari": Stored(
        "hibari",
        "en",
        ("en",),
        {"calm": "hibari-calm", "happy": "hibari-happy"},
        "He sat on the floor cross-legged and meditated.",
    ),
    "michael": Stored("am_michael", "en", ("en",)),
}


def choose(reading: Reading, held_out: list[Utterance], stored: Stored) -> Utterance:
    """The recording that is settled, else that after which the worse of its languages goes best.

    Where the corpus is too small to have held one of the voice out in that language, another one stands in.
    """
    tried = {lang: [u for u in held_out if u.lang == lang][-TRIED_ON:] for lang in stored.speaks}
    voices = [u for u in held_out if u.voice == stored.voice]
    own = [u for u in voices if u.lang == stored.recorded] or voices or held_out
    if settled := [u for u in own if u.text == stored.said]:
        return settled[0]
    taken = [u for rows in tried.values() for u in rows]
    fitting = [u for u in own if SECONDS[0] <= u.seconds <= SECONDS[1] and u not in taken][:CANDIDATES]
    return min(fitting or own, key=lambda u: max(reading.error(rows, prompt=u) for rows in tried.values()))


def write(work: Path, folder: Path, generation: GenerationConfig) -> None:
    """`folder`/NAME/voice.json and STYLE.flac for every voice that is not there yet."""
    reading = Reading(work, generation)
    held_out = tokens.tokenised(work, Corpus(work).test())
    for name, stored in VOICES.items():
        if (folder / name).exists():
            continue
        styles = {"neutral": stored}
        styles |= {style: stored._replace(voice=voice, said="") for style, voice in stored.styles.items()}
        chosen = {style: choose(reading, held_out, one) for style, one in styles.items()}
        transcripts = {style: utterance.text for style, utterance in chosen.items()}
        about = {"name": name, "language": stored.speaks[-1], "transcripts": transcripts, "default_style": "neutral"}
        (folder / name).mkdir(parents=True)
        text = json.dumps(about, indent=1, ensure_ascii=False)
        (folder / name / "voice.json").write_text(text, encoding="utf-8")
        for style, utterance in chosen.items():
            soundfile.write(folder / name / f"{style}.flac", utterance.wave(), RATE)
