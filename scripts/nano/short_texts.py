"""Stage: short texts for the teacher to read: single words, replies, numbers, times and phrases, as people send them.

    python -m scripts.nano.short_texts --work nano-work

writes `short_en.txt` and `short_zh.txt`: replies.json first, then frequent words, numbers, times and short clauses in
random order. Each ends in a full stop or a question mark. The evaluation's texts (`held_out_*.txt`) are excluded.
Needs wordnet-base.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from glmtts.text.frontend.normalize import normalize

HERE = Path(__file__).parent
SENSE_COUNTS = Path("/usr/share/wordnet/cntlist.rev")
ENDS = {"en": (".", "?"), "zh": ("。", "？")}
QUESTION_SHARE = 0.15


def english_words(count: int) -> list[str]:
    """The lemmas of WordNet's tagged texts, of one or two words, the most frequent first."""
    frequency: Counter[str] = Counter()
    for line in SENSE_COUNTS.read_text(encoding="utf-8").splitlines():
        key, _, tagged = line.split()
        frequency[key.partition("%")[0].replace("_", " ")] += int(tagged)
    return [w for w, _ in frequency.most_common() if re.fullmatch(r"[a-z]+( [a-z]+)?", w) and w != "person"][:count]


def chinese_words(count: int) -> list[str]:
    """jieba's words of one to four characters, the most frequent first."""
    import jieba

    jieba.initialize()
    known = ((f, w) for w, f in jieba.dt.FREQ.items() if f and re.fullmatch(r"[一-鿿]{1,4}", w))
    return [word for _, word in sorted(known, reverse=True)[:count]]


def numbers(language: str, rng: random.Random) -> Iterator[str]:
    """Numbers, times and quantities."""
    slots = json.loads((HERE / "replies.json").read_text(encoding="utf-8"))[language]["counted"]
    while True:
        number = rng.choice([rng.randrange(13), rng.randrange(100), rng.randrange(1000), rng.randrange(10000)])
        yield rng.choice(slots).replace("{n}", str(number)).replace("{h}", str(1 + number % 12))


def clauses(language: str, rng: random.Random) -> Iterator[str]:
    """Everyday verb phrases and noun phrases."""
    if language == "zh":
        slots = json.loads((HERE / "templates_zh.json").read_text(encoding="utf-8"))
        patterns = ["{who}{do}", "去{place}", "在{place}", "{thing}", "{time}", "{time}{do}", "{who}的{thing}", "{do}"]
    else:
        slots = json.loads((HERE / "replies.json").read_text(encoding="utf-8"))["en"]["slots"]
        patterns = slots["patterns"]
    while True:
        yield re.sub(r"\{(\w+)\}", lambda match: rng.choice(slots[match[1]]), rng.choice(patterns))


def finish(text: str, language: str, rng: random.Random) -> str:
    """Normalised text with a capital letter and a full stop, or sometimes a question mark."""
    if text[-1] not in ".?。？":
        text += ENDS[language][rng.random() < QUESTION_SHARE]
    text = normalize(text)
    return text[0].upper() + text[1:]


def texts(language: str, count: int, rng: random.Random) -> list[str]:
    """All replies first, then the other texts in random order."""
    replies = json.loads((HERE / "replies.json").read_text(encoding="utf-8"))[language]["replies"]
    words = english_words(count) if language == "en" else chinese_words(count)
    counted, phrases = numbers(language, rng), clauses(language, rng)
    others = [*words, *(next(counted) for _ in range(count // 5)), *(next(phrases) for _ in range(count // 3))]
    rng.shuffle(others)
    lists = ("held_out_short.txt", f"held_out_words_{language}.txt")
    lines = [line for name in lists for line in (HERE / name).read_text(encoding="utf-8").splitlines()]
    held_out = {bare_text(line) for line in lines}
    kept = dict.fromkeys(finish(text, language, rng) for text in [*replies, *others])
    return [text for text in kept if bare_text(text) not in held_out]


def bare_text(text: str) -> str:
    """`text` without case and punctuation."""
    return re.sub(r"\W", "", text).lower()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("nano-work"))
    parser.add_argument(
        "--words", type=int, default=3000, help="frequent words of each language (default: %(default)s)"
    )
    args = parser.parse_args()
    for language in ("en", "zh"):
        lines = texts(language, args.words, random.Random(2))
        (args.work / f"short_{language}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{language}: {len(lines)} short texts")


if __name__ == "__main__":
    main()
