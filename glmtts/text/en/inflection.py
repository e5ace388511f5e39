"""Forms of English words that a lexicon lacks, from their stems and from the endings of forms that it has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from glmtts.text.en import arpabet, heteronyms

Look = Callable[[str], "str | None"]
"""A lower-case word's phone tokens, or None."""

_SHORTEST = 3
_VOICELESS = ("P", "K", "F", "TH", "S", "SH", "CH")
# Each ending, and a pair of words that shows how it sounds.
_ENDINGS = {
    "ing": ("play", "playing"), "er": ("play", "player"), "est": ("small", "smallest"), "ly": ("bad", "badly"),
    "ness": ("sad", "sadness"), "less": ("home", "homeless"), "ful": ("hope", "hopeful"), "ment": ("pay", "payment"),
    "able": ("read", "readable"),
}  # fmt: skip
_VOWEL_ENDINGS = ("ing", "ed", "er", "est", "able")
_VERB_ENDINGS = ("ing", "ed", "able")
_LAST_L = re.compile(r"<\|[^|<>]*\bl\|>$")
"""An l that "-ly" doubles in writing alone."""
_PREFIXES = {
    "un": ("kind", "unkind"), "re": ("build", "rebuild"), "dis": ("like", "dislike"), "mis": ("read", "misread"),
    "non": ("stop", "nonstop"), "pre": ("school", "preschool"), "over": ("load", "overload"),
    "under": ("line", "underline"), "out": ("side", "outside"), "in": ("complete", "incomplete"),
}  # fmt: skip


_VERB_PREFIXES = dict.fromkeys(("un", "re", "mis", "over"), "ing")


def inflected(word: str, look: Look) -> str | None:
    """Phone tokens of a lower-case word as a form of one that `look` knows: "including", "stated", "libraries"."""
    return _with_ending(word, look) or _with_prefix(word, lambda stem: look(stem) or _with_ending(stem, look))


def _with_ending(word: str, look: Look) -> str | None:
    for ending in ("ies", "ed", *_ENDINGS):
        if not word.endswith(ending) or len(word) - len(ending) < _SHORTEST - 1:
            continue
        found = next(
            (tokens for stem in _stems(word, ending) if (tokens := _stem(stem, ending, look)) is not None), None
        )
        sound = None if found is None else _sound(ending, found, look)
        if found is not None and sound is not None:
            return _LAST_L.sub("", found) + sound if ending == "ly" else found + sound
    return None


def _stem(stem: str, ending: str, look: Look) -> str | None:
    """The tokens of a stem; of a heteronym's verb, where only a verb has that ending: "permitting"."""
    tokens = look(stem)
    if tokens is None or ending not in _VERB_ENDINGS or not arpabet.known(tokens):
        return tokens
    phones = heteronyms.reading(f"to {stem}", 3, 3 + len(stem))
    return tokens if phones is None or arpabet.same(phones, arpabet.from_tokens(tokens)) else arpabet.to_tokens(phones)


def _with_prefix(word: str, look: Look) -> str | None:
    for prefix, (stem, whole) in _PREFIXES.items():
        rest = word.removeprefix(prefix)
        if rest == word or len(rest) < _SHORTEST:
            continue
        tokens, short, long = _stem(rest, _VERB_PREFIXES.get(prefix, ""), look), look(stem), look(whole)
        if tokens is not None and short is not None and long is not None and long.endswith(short):
            return long.removesuffix(short) + tokens
    return None


def _stems(word: str, ending: str) -> Iterator[str]:
    """What may stand before an ending: "includ" is "include", "stopp" "stop", "librar" "library"."""
    stem = word.removesuffix(ending)
    if ending == "ies":
        yield stem + "y"
        return
    doubled = re.fullmatch(r".*[^aeiou][aeiou]([bdglmnprt])\1|.*[aeiou](l)\2", stem) is not None
    if ending in _VOWEL_ENDINGS:
        if doubled:
            yield stem[:-1]
        yield from (f"{stem}e", stem) if re.search(r"[aeiouy][^aeiouywx]$|[cgsvz]$|[^aeiou]l$|u$", stem) else (stem,)
    else:
        yield stem
    if stem.endswith("i"):
        yield stem[:-1] + "y"
    if ending == "ing" and stem.endswith("y"):
        yield stem[:-1] + "ie"


def _sound(ending: str, stem: str, look: Look) -> str | None:
    """The tokens of an ending behind the tokens of a stem."""
    if ending == "ies":
        one, form = "dog", "dogs"
    elif ending == "ed":
        last = arpabet.from_tokens(stem).split()[-1:]
        one, form = (
            ("want", "wanted") if last in (["T"], ["D"]) else ("walk", "walked") if last and last[0] in _VOICELESS
            else ("play", "played")
        )  # fmt: skip
    else:
        one, form = _ENDINGS[ending]
    short, long = look(one), look(form)
    if short is None or long is None or not long.startswith(short):
        return None
    return long.removeprefix(short)
