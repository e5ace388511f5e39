"""Web and mail addresses, IP addresses, paths and file names in English: their signs by name."""

from __future__ import annotations

import re

from glmtts.text.en.numbers import decimal_words, digit_words
from glmtts.text.rules import Rule, rule

_SIGNS = {
    ".": "dot", "/": "slash", "\\": "backslash", "-": "dash", "_": "underscore", ":": "colon", "?": "question mark",
    "=": "equals", "&": "and", "#": "hash", "%": "percent", "~": "tilde", "@": "at", "+": "plus",
}  # fmt: skip
_EXTENSION = (
    "txt|pdf|docx?|xlsx?|pptx?|jpe?g|png|gif|bmp|svg|mp[34]|wav|avi|mkv|flac|zip|rar|7z|gz|tar|py|js|ts|html?|css|json|"
    "xml|csv|tsv|exe|md|java|cpp|go|rs|sh|bat|ya?ml|toml|ini|conf|log|sql|apk|iso|dll|jar"
)
_DOMAIN = "com|cn|net|org|edu|gov|io|ai|cc|tv|info|xyz|co\\.uk|co|uk|de|fr|jp|eu|dev|app"
_WORD = "A-Za-z0-9"
_PATH_END = rf"[{_WORD}._~:/?#@&=+%-]*[{_WORD}/]"
_OCTET = r"\d{1,3}"


def _spell(address: str) -> str:
    """An address with its signs by name; a slash behind it is not read."""
    parts = re.findall(r"[A-Za-z]+|\d+|.", address.rstrip("/"))
    return f" {' '.join(_SIGNS.get(part) or _part(part) for part in parts)} "


def _part(part: str) -> str:
    if part == "www":
        return "w w w"
    return (
        decimal_words(part) if part.isdecimal() and len(part) <= 2 else digit_words(part) if part.isdecimal() else part
    )


def _url(match: re.Match[str]) -> str:
    scheme, address = match[1], match[2]
    return f" {' '.join(scheme.lower())} {_spell(address)}"


def _ip(match: re.Match[str]) -> str:
    octets = " dot ".join(digit_words(octet) for octet in match[1].split("."))
    rest = f" {_SIGNS[match[2][0]]} {digit_words(match[2][1:])}" if match[2] else ""
    return octets + rest


def _address(match: re.Match[str]) -> str:
    return _spell(match[0])


RULES: tuple[Rule, ...] = (
    rule(
        rf"(?<![{_WORD}._+-])[{_WORD}][{_WORD}._+-]{{0,63}}@(?:[{_WORD}-]{{1,63}}\.){{1,5}}[A-Za-z]{{2,10}}", _address
    ),
    rule(rf"(?<![A-Za-z])((?i:https?|ftp))://({_PATH_END})", _url),
    rule(rf"(?<![{_WORD}.@-])(?i:www)\.{_PATH_END}", _address),
    rule(
        rf"(?<![{_WORD}.@/-])(?:[{_WORD}-]{{1,63}}\.){{1,4}}(?:{_DOMAIN})(?![{_WORD}-]|\.[{_WORD}])(?:/{_PATH_END})?",
        _address,
    ),
    rule(r"(?<![A-Za-z])[A-Za-z]:\\[\w\\.-]*\w|(?<![A-Za-z])[A-Za-z]:\\", _address),
    rule(rf"(?<![{_WORD}/.:~])(?:~|\.{{1,2}})(?:/[{_WORD}_.-]{{0,98}}[{_WORD}_-]){{1,20}}/?", _address),
    rule(r"(?<![^\s`\"'(])/[A-Za-z][\w-]{1,98}(?=[\s`\"').,;:!?]|$)", _address),
    rule(rf"(?<![{_WORD}/.:~])(?:/[{_WORD}_.-]{{0,98}}[{_WORD}_-]){{2,20}}/?", _address),
    rule(
        rf"(?<![{_WORD}/._-])[{_WORD}_-]{{1,99}}(?:/[{_WORD}_-]{{1,99}}){{0,20}}\.(?:{_EXTENSION})(?![{_WORD}])",
        _address,
    ),
    rule(rf"(?<![{_WORD}_])(?=[\d_]{{0,60}}[A-Za-z])[{_WORD}]{{1,60}}(?:_[{_WORD}]{{1,60}}){{1,20}}(?!_)", _address),
    rule(rf"(?<![\w.])\.(?=(?:{_EXTENSION}|{_DOMAIN})\b)", "dot "),
    rule(r"(?<!\S)--(?=[A-Za-z])", "dash dash "),
    rule(rf"(?<![\d.])({_OCTET}(?:\.{_OCTET}){{3}})([:/]\d{{1,5}})?(?![\d.]*\d)", _ip),
)
