"""Stage: the English pronunciation lexicon, `lexicon_en.json`, from words to phone tokens of the teacher's G2P.

    python -m scripts.nano.lexicon --work nano-work

It has the words of the sentences, of WordNet and of the held-out texts. A word of the corpus gets its most frequent
pronunciation there (in a sentence "a" is ɐ); any other word the one that it has in isolation.
"""

from __future__ import annotations

import argparse
import json
import re
import string
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from scripts.nano import phonemes
from scripts.nano.sentences import WORDNET, held_out

WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")


def wordnet_words() -> set[str]:
    """All single words of WordNet's index, and three plurals as models for possessives."""
    words = {"horses", "cats", "dogs"}
    for part in ("noun", "verb", "adj", "adv"):
        for line in (WORDNET / f"index.{part}").read_text(encoding="utf-8").splitlines():
            word = line.partition(" ")[0]
            if WORD.fullmatch(word):
                words.add(word)
    return words


def spoken_in(rows: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The most frequent phonemes of each word in (text, phonemes) rows; skips rows whose word counts differ."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for text, spoken in rows:
        words = re.sub(r"[^a-z' ]", " ", text.lower()).split()
        parts = re.sub(r"[.,?!;:]", " ", spoken).split()
        if len(words) == len(parts):
            for word, part in zip(words, parts, strict=True):
                seen[word][part] += 1
    return {word: counts.most_common(1)[0][0] for word, counts in seen.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("nano-work"))
    parser.add_argument("--limit", type=int, help="words of WordNet, at most (default: all)")
    args = parser.parse_args()
    from hibari import Hibari

    teacher = Hibari(threads=1)
    manifests = sorted((args.work / "corpus").glob("*.jsonl"))
    rows = [json.loads(line) for path in manifests for line in path.read_text(encoding="utf-8").splitlines()]
    known = spoken_in((row["text"], row["ph"]) for row in rows if row["lang"] == "en")
    evaluated = [text for kind in ("words", "sentences", "paragraphs") for text in held_out("en", kind)]
    texts = " ".join([(args.work / "sentences_en.txt").read_text(encoding="utf-8"), *evaluated]).lower()
    needed = set(WORD.findall(texts)) | set(string.ascii_lowercase) | set(sorted(wordnet_words())[: args.limit])
    for word in tqdm(sorted(needed - set(known)), desc="words", mininterval=5):
        known[word] = " ".join(teacher.phonemize(word))
    lexicon = {word: phonemes.english(spoken) for word, spoken in sorted(known.items())}
    spoken = {word: tokens for word, tokens in lexicon.items() if tokens.startswith("<|")}
    (args.work / "lexicon_en.json").write_text(json.dumps(spoken, ensure_ascii=False), encoding="utf-8")
    print(f"{len(spoken)} words")


if __name__ == "__main__":
    main()
