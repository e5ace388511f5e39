"""Web and mail addresses, IP addresses, paths and file names in Chinese: their signs by name, digits one by one."""

from __future__ import annotations

import re

from glmtts.text.characters import HANZI
from glmtts.text.rules import Rule, rule
from glmtts.text.zh.numbers import read

_SIGNS = {
    ".": "点", "/": "斜杠", "\\": "反斜杠", "-": "杠", "_": "下划线", ":": "冒号", "?": "问号", "=": "等于", "&": "和",
    "#": "井号", "%": "百分号", "~": "波浪号", "@": "艾特", "+": "加",
}  # fmt: skip
_EXTENSION = (
    "txt|pdf|docx?|xlsx?|pptx?|jpe?g|png|gif|bmp|svg|mp[34]|wav|avi|mkv|flac|zip|rar|7z|gz|tar|py|js|ts|html?|css|json|"
    "xml|csv|tsv|exe|md|java|cpp|go|rs|sh|bat|ya?ml|toml|ini|conf|log|sql|apk|iso|dll|jar"
)
_DOMAIN = "com|cn|net|org|edu|gov|io|ai|cc|tv|me|info|top|xyz|co|uk|jp|hk|tw|dev|app"
_WORD = "A-Za-z0-9"
_OCTET = r"\d{1,3}"


def _spell(match: re.Match[str]) -> str:
    """An address with its signs by name. A scheme before it and a slash behind it are not read."""
    address = re.sub(r"^(?:https?|ftp)://", "", match[0], flags=re.IGNORECASE).rstrip("/")
    return read("".join(_SIGNS.get(char, char) for char in address))


def _drive(match: re.Match[str]) -> str:
    return f"{match[1]}盘" + read("".join(_SIGNS.get(char, char) for char in match[2]))


RULES: tuple[Rule, ...] = (
    rule(r"(?<=localhost):(\d{2,5})(?!\d)", lambda m: f"冒号{read(m[1])}"),
    rule(rf"(?<![{_WORD}._+-])[{_WORD}][{_WORD}._+-]{{0,63}}@(?:[{_WORD}-]{{1,63}}\.){{1,5}}[A-Za-z]{{2,10}}", _spell),
    rule(rf"(?i:https?|ftp)://[{_WORD}._~:/?#@&=+%-]*[{_WORD}/]", _spell),
    rule(rf"(?<![{_WORD}.@-])(?i:www)\.[{_WORD}._~:/?#@&=+%-]*[{_WORD}]/?", _spell),
    rule(
        rf"(?<![{_WORD}.@/-])(?:[{_WORD}-]{{1,63}}\.){{1,4}}(?:{_DOMAIN})(?![{_WORD}-]|\.[{_WORD}])"
        rf"(?:/[{_WORD}._/?=&%-]*[{_WORD}]/?)?",
        _spell,
    ),
    rule(rf"(?<![A-Za-z])([A-Za-z]):(\\[\w\\.-]{{0,200}}\.(?:{_EXTENSION})(?![{_WORD}]))", _drive),
    rule(r"(?<![A-Za-z])([A-Za-z]):(\\(?:[\w\\.-]*\w)?)", _drive, re.ASCII),
    rule(r"(?<![A-Za-z])([A-Za-z]):(\\(?:[\w\\.-]*\w)?)", _drive),
    rule(rf"(?<![{_WORD}/.:~])(?:~|\.{{1,2}})(?:/[{_WORD}_.-]{{0,98}}[{_WORD}_-]){{1,20}}/?", _spell),
    rule(rf"(?<![{_WORD}/.:~])(?:/[{_WORD}_.-]{{0,98}}[{_WORD}_-]){{2,20}}/?", _spell),
    rule(
        rf"(?<![{_WORD}/._-])[{_WORD}_-]{{1,99}}(?:/[{_WORD}_-]{{1,99}}){{0,20}}\.(?:{_EXTENSION})(?![{_WORD}])", _spell
    ),
    rule(rf"(?<=[{HANZI}])\.(?=(?:{_EXTENSION})(?![{_WORD}]))", "点"),
    rule(
        rf"(?<![{_WORD}_])(?!T_T)(?=[\d_]{{0,60}}[A-Za-z])[{_WORD}]{{1,60}}(?:_[{_WORD}]{{1,60}}){{1,20}}(?!_)", _spell
    ),
    rule(rf"(?<![\d.]){_OCTET}(?:\.{_OCTET}){{3}}(?:[:/]\d{{1,5}})?(?![\d.]*\d)", _spell),
)
