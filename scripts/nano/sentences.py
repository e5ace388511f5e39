"""Stage: sentences for the teacher to read: natural text from Debian packages, and templates with everyday words.

    python -m scripts.nano.sentences --work nano-work

writes `sentences_en.txt` and `sentences_zh.txt`, shuffled, without duplicates. The evaluation's sentences
(`held_out_*.txt`) are excluded. Needs wordnet-base, fortunes-zh and gimp-help-zh-cn.
"""

from __future__ import annotations

import argparse
import html
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
WORDNET = Path("/usr/share/wordnet")
FORTUNES = Path("/usr/share/games/fortunes")
GIMP_HELP = Path("/usr/share/gimp/2.0/help/zh_CN")
ZH_SENTENCE = re.compile(r"[一-鿿，、：；]{5,30}[。！？]")


def wordnet_examples() -> Iterator[str]:
    """The quoted usage examples of WordNet's glosses, as sentences of 3 to 14 words."""
    for part in ("verb", "noun", "adj", "adv"):
        for line in (WORDNET / f"data.{part}").read_text(encoding="utf-8").splitlines():
            for example in re.findall(r'"([^"]+)"', line.partition("|")[2]):
                text = re.sub(r"\s+", " ", example).strip(" ;,.")
                if re.fullmatch(r"[A-Za-z][A-Za-z ,'?!-]*", text) and 3 <= len(text.split()) <= 14:
                    yield text[0].upper() + text[1:] + ("" if text[-1] in "?!" else ".")


def chinese_prose() -> Iterator[str]:
    """Sentences of 6 to 31 characters from a manual and from classical verse."""
    for page in sorted(GIMP_HELP.glob("*.html")):
        text = html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))
        yield from (match.group() for match in ZH_SENTENCE.finditer(re.sub(r"\s+", "", text)))
    for name in ("tang300", "song100"):
        text = re.sub(r"\x1b\[[0-9;]*m", "", (FORTUNES / name).read_text(encoding="utf-8"))
        yield from (match.group() for match in ZH_SENTENCE.finditer(re.sub(r"\s+", "", text)))


def chinese_templates(count: int, rng: random.Random) -> Iterator[str]:
    """Patterns filled with everyday words and words of jieba's dictionary."""
    import jieba

    slots = json.loads((HERE / "templates_zh.json").read_text(encoding="utf-8"))
    patterns = slots.pop("patterns")
    jieba.initialize()
    common = [w for w, f in jieba.dt.FREQ.items() if f > 300 and re.fullmatch(r"[一-鿿]{2,4}", w)]
    slots["w"] = sorted(common)
    for _ in range(count):
        yield re.sub(r"\{(\w+)\}", lambda match: rng.choice(slots[match.group(1)]), rng.choice(patterns))


def held_out(language: str, kind: str = "sentences") -> set[str]:
    """The evaluation's texts of a kind: words, sentences or paragraphs."""
    return set((HERE / f"held_out_{kind}_{language}.txt").read_text(encoding="utf-8").splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("nano-work"))
    parser.add_argument("--templates", type=int, default=6000)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    sources = {
        "en": list(wordnet_examples()),
        "zh": list(chinese_prose()) + list(chinese_templates(args.templates, rng)),
    }
    for language, sentences in sources.items():
        unique = sorted(set(sentences) - held_out(language))
        rng.shuffle(unique)
        (args.work / f"sentences_{language}.txt").write_text("\n".join(unique) + "\n", encoding="utf-8")
        print(f"{language}: {len(unique)} sentences")


if __name__ == "__main__":
    main()
