"""Numbers that name things, in English: telephones, accounts, aircraft, versions, rulers and chapters."""

from __future__ import annotations

import re

from glmtts.text import roman
from glmtts.text.en.numbers import NUMBER, decimal_words, digit_words, number_words, ordinal_words, plural, short_words
from glmtts.text.rules import Rule, rule

_PHONE = (
    r"(?<![\d-])(?:\+?(1)[-. ])?\(?(\d{3})(?:\)[-. ]?|[-. ])(\d{3})[-.\s](\d{4})(?![\d-])|"
    r"(?<![\d-])(\d{3})-(\d{4})(?![\d-])|"
    r"(?<![\d-])(1)-(\d{3})-(?=[A-Z]{3,7}\b)"
)
_FOREIGN = r"(?<!\w)\+(\d{1,3})((?:[- .]?\(?\d{1,5}\)?){2,6})(?![\d-])"
_EXTENSION = r"(?i:\b(extension|ext\.?)|(?<=\d{3}-\d{4})(?:\s?x))\s?(\d{1,6})\b"
_NAMED = (
    r"\b((?:account|acct|order|tracking|serial|pin|code|password|passcode|id|passport|invoice|ticket|zip|postcode|"
    r"case|confirmation|booking|"
    r"reference|ref|card|routing|license|licence|membership|member|policy|claim|badge|locker|model|part|phone|fax|"
    r"tel|telephone|ssn|isbn|otp|extension|"
    r"serial)(?:\s(?:number|numbers|code|no|id))?\.?(?:\s(?:is|was|are))?[:#]?\s?(?:number\s)?#?)("
    r"(?:[A-Z]{1,4}-?)?\d[\d -]{1,30}\d)(?![\w.,]\d|%|\s(?:items|orders|people|times|dollars|points)|\w)"
)
_CALL = (
    r"\b((?:call|dial|dialed|dialled|called|phone|ring|text|texted|press)\s)(\d{3,6})(?![\d.,]\d|%|\s(?:people|"
    r"times|of|more|men|women|customers|witnesses))\b"
)
_THREE_DIGITS = (
    r"\b((?:Boeing|Airbus|Route|Highway|Hwy|Interstate|Flight|Bus|Model|Ferrari|Porsche|BMW|Section|Channel|"
    r"Studio|Peugeot|Cessna|Xbox)\s)(A(?=\d))?(\d{3})\b(?:-(\d{1,4})\b)?(?![.,-]\d)"
)

# Behind these a letter at a number is no unit: seat 14A.
_SPOTS = (
    "seat|row|room|gate|apt|apartment|unit|suite|section|class|exhibit|figure|fig|platform|berth|cabin|flight|building|"
    "block|bus|line|track|bay|dock|door|hall|appendix|table|terminal|zone|question|part|step|level|form|stand|box"
)
_CODES = (
    "USD|EUR|GBP|JPY|CNY|RMB|AUD|CAD|CHF|HKD|INR|NYSE|BC|AD|PO|ID|PIN|ZIP|ISBN|SSN|OTP|IN|AT|OF|BY|TO|ON|IS|ALL|THE|AND"
)

_RULERS = (
    "Louis|Henry|Elizabeth|Charles|George|Edward|William|James|Richard|John|Paul|Pope|King|Queen|Emperor|Tsar|"
    "Czar|Mary|Philip|Francis|Ferdinand|"
    "Catherine|Peter|Alexander|Nicholas|Frederick|Leo|Pius|Benedict|Gregory|Innocent|Napoleon|Ramesses|Ramses|"
    "Otto|Karl|Umberto|Victoria|Isabella|"
    "Alfonso|Carlos|Felipe|Gustav|Christian|Harald|Olaf|Ivan|Leopold|Maximilian|Rudolf|Wilhelm|Albert|Robert|"
    "David|Stephen|Edmund|Clement|Urban|"
    "Sixtus|Julius|Adrian|Boniface|Celestine|Thutmose|Amenhotep|Cleopatra|Ptolemy|Darius|Xerxes|Theodosius|"
    "Constantine|Justinian|Mehmed|Suleiman|"
    "Murad|Selim|Charlemagne|Joseph|Haakon|Margaret|Margrethe|Anne|Beatrix|Ludwig|Friedrich|Sigismund|Emmanuel|"
    "Pedro|Manuel|Rama"
)
_PARTS = (
    "Chapter|Part|Book|Volume|Act|Scene|Section|Phase|Type|Class|Title|Article|War|Bowl|Stage|Level|Grade|"
    "Appendix|Table|Figure|Episode|Round|Unit|Mark|"
    "Step|Category|Tier|Apollo|Saturn|Fantasy|Rocky|Division|Group|Section|Lesson|Page|Question|Problem|Theorem|"
    "GTA|Area|Zone|Sector|Schedule|Exhibit|Annex|Form|Factor|Season|Canto|Sonata|Symphony|Movement|Photosystem|Mach"
)
_ENDS = r"[^\w\s]|\s*$|\s[A-Z]|\s(?:of|and|error|errors|diabetes|collagen|trial|study)\b"
# A single I is mostly the pronoun: "the part I wrote".
_LETTERS = rf"(?:[VX]|[IVXLC]{{2,9}}|I(?={_ENDS}))"
_RULER_LETTERS = rf"(?:[VX]|[IVXLC]{{2,9}}|I(?={_ENDS}|\s(?:was|ruled|reigned|died)\b))"


def _phone(match: re.Match[str]) -> str:
    words = ", ".join(digit_words(part) for part in match.groups() if part)
    return ("plus " if match[0][0] == "+" else "") + words + (" " if match[7] else "")


def _named(match: re.Match[str]) -> str:
    letters = re.match(r"[A-Z]*", match[2])
    return f"{match[1]}{' '.join(letters[0]) + ' ' if letters and letters[0] else ''}{digit_words(match[2])}"


def _three_digits(match: re.Match[str]) -> str:
    """Boeing 787-9, Airbus A380."""
    rest = f" {decimal_words(match[4])}" if match[4] else ""
    return f"{match[1]}{'a ' if match[2] else ''}{short_words(match[3])}{rest}"


def _version(match: re.Match[str]) -> str:
    return f"{match[1]}{' point '.join(decimal_words(part) for part in match[2].split('.'))}"


def _regnal(match: re.Match[str]) -> str:
    number = roman.value(match[2])
    return match[0] if number is None else f"{match[1]} the {ordinal_words(number)}"


def _counted(match: re.Match[str]) -> str:
    number = roman.value(match[2])
    return match[0] if number is None else f"{match[1]}{number_words(number)}"


def _century(match: re.Match[str]) -> str:
    number = roman.value(match[1])
    return match[0] if number is None else ordinal_words(number)


def _sign(match: re.Match[str]) -> str:
    number = roman.value(match[0])
    return match[0] if number is None else f" {number_words(number)} "


NUMERALS: tuple[Rule, ...] = (
    rule(
        rf"\b({_RULERS})\s({_RULER_LETTERS}|{roman.SIGNS}{{1,9}})(?!\w|\.[A-Z]|-)",
        _regnal,
    ),
    rule(
        rf"\b((?i:{_PARTS})s?\s)({_LETTERS})(?![\w]|\.[A-Z])",
        _counted,
    ),
    rule(r"(?<=\bWorld War )I\b", "one"),
    rule(
        r"(\b[A-Z][A-Za-z]{2,20}\s)(II|III|IV|VI|VII|VIII|IX|XI|XII|XIII|XIV|XV|XVI|XVII|XVIII|XIX|XX|XXI|XXX|XL|"
        r"LX)(?![\w-]|\.[A-Z])",
        _counted,
    ),
    rule(
        r"\b((?i:chapter|page|section|part|act|scene|volume|book|article|figure|appendix|table)\s)"
        r"(ii|iii|iv|vi|vii|viii|ix|xi|xii|xiii|xiv|xv|xvi)\b",
        _counted,
    ),
    rule(rf"\b({_LETTERS})(?=\s(?:[Cc]entur|Olympi|Amendment|Dynasty|Congress))", _century),
    rule(f"{roman.SIGNS}{{1,9}}", _sign),
)

RULES: tuple[Rule, ...] = (
    rule(rf"(?i:\b(?:{_SPOTS})\s)\d{{1,4}}(?=[A-Z]\b)", lambda m: f"{m[0]} "),
    rule(
        r"\b911(?=\s(?:calls?|operators?|dispatch|dispatchers?|emergency|emergencies|hotline|line)\b)", "nine one one"
    ),
    rule(_EXTENSION, lambda m: f" extension {digit_words(m[2])}"),
    rule(_PHONE, _phone),
    rule(_FOREIGN, lambda m: f"plus {digit_words(m[1])}, {digit_words(m[2])}"),
    rule(r"(?<![\d.-])0\d{2,4}(?: \d{3,4}){1,2}(?![\d-]|\.\d)", lambda m: ", ".join(map(digit_words, m[0].split()))),
    rule(r"(?<=\blocalhost):(\d{2,5})\b", lambda m: f" colon {digit_words(m[1])}"),
    rule(r"(?<![\d-])\d{2,12}(?:-\d{2,12}){2,5}(?![\d-]|\.\d)", lambda m: ", ".join(map(digit_words, m[0].split("-")))),
    rule(r"(?<![\d.])\d{4}(?: \d{4}){2,4}(?![\d.]*\d)", lambda m: ", ".join(map(digit_words, m[0].split()))),
    rule(
        r"(?<![\w.,$€£¥-])\d{7,40}(?<!000)(?![\d.,]*\d|[\w%])", lambda m: digit_words(m[0]) if len(m[0]) > 9 else m[0]
    ),
    rule(_NAMED, _named, re.IGNORECASE),
    rule(_CALL, lambda m: m[1] + digit_words(m[2]), re.IGNORECASE),
    rule(_THREE_DIGITS, _three_digits),
    rule(
        rf"\b(?!(?:{_CODES})\s)([A-Z]{{2,5}}\s)(\d{{4}})\b(?![.,]\d|-\d|\s?[%$€£])", lambda m: m[1] + short_words(m[2])
    ),
    rule(r"(?<=[A-Za-z]\d-)(\d{3,5})(?=[A-Z]{0,2}\b)", lambda m: f" {digit_words(m[1])} "),
    rule(r"(?:(?<=[A-Za-z]\d)|(?<=[A-Za-z]\d\d))-(?=\d{1,2}\b)", " "),
    rule(r"(?<=[A-Z])-?(\d{1,3})s\b", lambda m: f" {plural(decimal_words(m[1]))}"),
    rule(r"(?<![A-Za-z])([A-Z]{1,2})-?([1-9]0?00)\b(?![.,-]\d)", lambda m: f"{' '.join(m[1])} {short_words(m[2])}"),
    # The 49ers, the 76ers.
    rule(r"(?<![\w.,$])(\d[1-9])er(?=s?\b)", lambda m: f"{decimal_words(m[1]).removesuffix('e')}er"),
    rule(r"\bv\.?\s?(?=\d)|\bV(?=\d{1,4}\.\d)", "version "),
    rule(r"(?<![\w.$€£])()(\d{1,9}(?:\.\d{1,9}){2,4})(?![\d.]*\d)", _version),
    rule(r"(?<=\bversion )()(\d{1,4}(?:\.\d{1,4}){1,4})(?![\d.]*\d)", _version),
    rule(r"(?<=[A-Za-z])-?(\d{3,20})(?![\d.,]*\d|%)", lambda m: f" {digit_words(m[1])} "),
    rule(rf"(?<=[A-Za-z])-({NUMBER})", r" \1"),
)
