"""ARPAbet and the phone tokens of a lexicon in the alphabet of misaki (`<|en:ˈA|>` for EY1)."""

from __future__ import annotations

import re

_SYMBOLS = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "W", "AY": "I", "EH": "ɛ", "ER": "ɜ", "EY": "A", "IH": "ɪ",
    "IY": "i", "OW": "O", "OY": "Y", "UH": "ʊ", "UW": "u", "B": "b", "CH": "ʧ", "D": "d", "DH": "ð", "F": "f",
    "G": "ɡ", "HH": "h", "JH": "ʤ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ", "P": "p", "R": "ɹ", "S": "s",
    "SH": "ʃ", "T": "t", "TH": "θ", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
_STRESSES = {"0": "", "1": "ˈ", "2": "ˌ"}
_NAMES = {symbol: name for name, symbol in _SYMBOLS.items()} | {"ə": "AH", "ᵊ": "AH", "ɐ": "AH", "ᵻ": "IH", "T": "T"}
_VOWELS = frozenset("ɑæʌɔWIɛɜAɪiOYʊuəᵊɐᵻ")
_TOKEN = re.compile(r"<\|(en:)?([^|<>]*)\|>")


def known(tokens: str) -> bool:
    """Whether phone tokens are written in the alphabet that `to_tokens` writes."""
    found = [match[1] for match in _TOKEN.finditer(tokens)]
    return bool(found) and all(found)


def is_phone(phone: str) -> bool:
    """Whether `to_tokens` knows a phone: a consonant, or a vowel with or without its stress 0, 1 or 2."""
    name, stress = (phone[:-1], phone[-1]) if phone[-1:].isdigit() else (phone, "")
    is_vowel = name == "ER" or _SYMBOLS.get(name, " ") in _VOWELS
    return is_vowel and stress in ("", *_STRESSES) if stress or is_vowel else name in _SYMBOLS


def to_tokens(phones: str) -> str:
    """Phone tokens of a pronunciation in ARPAbet: `"R EH1 D"` becomes `<|en:ɹ|><|en:ˈɛ|><|en:d|>`."""
    result: list[str] = []
    for phone in phones.split():
        name, stress = (phone[:-1], phone[-1]) if phone[-1].isdigit() else (phone, "")
        if name == "ER":
            result += [_STRESSES.get(stress, "") + ("ə" if stress == "0" else "ɜ"), "ɹ"]
        else:
            result.append(_STRESSES.get(stress, "") + ("ə" if phone == "AH0" else _SYMBOLS[name]))
    return "".join(f"<|en:{symbol}|>" for symbol in result)


def from_tokens(tokens: str) -> str:
    """The pronunciation in ARPAbet of phone tokens. Tokens in another alphabet are given by their own names."""
    symbols = [(bool(match[1]), match[2]) for match in _TOKEN.finditer(tokens)]
    phones: list[str] = []
    for at, (misaki, symbol) in enumerate(symbols):
        phone = symbol.lstrip("ˈˌ")
        if not misaki or phone not in _NAMES:
            phones.append(symbol)
        elif phone not in _VOWELS:
            phones.append(_NAMES[phone])
        else:
            stress = {"ˈ": "1", "ˌ": "2"}.get(symbol[0], "0")
            phones.append(_NAMES[phone] + stress)
        next_vowel = at + 1 < len(symbols) and symbols[at + 1][1].lstrip("ˈˌ") in _VOWELS
        _join_er(phones, next_vowel)
    return " ".join(phones)


def _join_er(phones: list[str], next_vowel: bool) -> None:
    """Writes a schwa and an R at the end of `phones` as ER, unless a vowel follows, and drops the R behind ER."""
    if phones[-1] != "R" or len(phones) < 2:
        return
    if phones[-2].startswith("ER"):
        phones.pop()
    elif phones[-2] == "AH0" and not next_vowel:
        phones[-2:] = ["ER0"]


def same(one: str, other: str) -> bool:
    """Whether two pronunciations in ARPAbet differ in nothing but unstressed vowels and secondary stress."""
    return _reduced(one) == _reduced(other)


def _reduced(phones: str) -> list[str]:
    weak = re.sub(r"\b(?:AH|IH|EH|AE|AO|AA|OW|IY|UH)[02]\b", "_0", phones)
    return re.sub(r"2\b", "0", weak.replace("ER0", "_0 R").replace("ER", "_1 R")).split()
