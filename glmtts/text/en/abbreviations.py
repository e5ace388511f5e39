"""Abbreviations and names with signs, in English."""

from __future__ import annotations

import re

from glmtts.text.en.numbers import digit_words
from glmtts.text.rules import Rule, rule

_TITLES = {
    "Dr": "doctor", "Prof": "professor", "Mr": "mister", "Mrs": "missus", "Ms": "miss", "Gov": "governor",
    "Gen": "general", "Col": "colonel", "Lt": "lieutenant", "Sgt": "sergeant", "Capt": "captain", "Cpt": "captain",
    "Maj": "major", "Cmdr": "commander", "Rev": "reverend", "Hon": "honorable", "Pres": "president", "Sen": "senator",
    "Rep": "representative", "Messrs": "messieurs", "Supt": "superintendent", "Det": "detective", "Sec": "secretary",
    "Msgr": "monsignor", "Insp": "inspector", "Pvt": "private", "Cpl": "corporal", "Adm": "admiral",
    "Amb": "ambassador", "Atty": "attorney",
}  # fmt: skip
_BEHIND_NAMES = {
    "Jr": "junior", "Sr": "senior", "Esq": "esquire", "Inc": "incorporated", "Ltd": "limited", "Corp": "corporation",
    "Co": "company", "Bros": "brothers", "Dept": "department", "Univ": "university", "Assn": "association",
}  # fmt: skip
_STREETS = {
    "Ave": "avenue", "Blvd": "boulevard", "Rd": "road", "Ln": "lane", "Pkwy": "parkway", "Hwy": "highway",
    "Sq": "square", "Ct": "court", "Pl": "place", "Apt": "apartment", "Ste": "suite", "Bldg": "building",
}  # fmt: skip
# Before a number only.
_NUMBERED = {
    "vols?": "volume", "pp": "pages", "pgs?": "page", "p": "page", "chaps?": "chapter", "ch": "chapter",
    "figs?": "figure", "secs?": "section", "eqs?": "equation", "nos": "numbers", "arts?": "article", "tbl": "table",
    "ed": "edition", "apt": "apartment", "ver": "version", "rm": "room", "ext": "extension", "ln": "line",
    "bk": "book", "rte?": "route", "hwy": "highway", "ep": "episode", "pt": "part", "ste": "suite",
}  # fmt: skip
_COMMON = {
    "approx": "approximately", "dept": "department", "est": "established", "govt": "government",
    "misc": "miscellaneous", "incl": "including", "excl": "excluding", "cont": "continued", "temp": "temperature",
    "avg": "average", "max": "maximum", "min": "minimum", "esp": "especially", "tel": "telephone", "vs": "versus",
    "etc": "et cetera", "ca": "circa", "hrs": "hours", "mins": "minutes", "acct": "account", "viz": "namely",
}  # fmt: skip
_MONTHS = {
    "Jan": "January", "Feb": "February", "Mar": "March", "Apr": "April", "Jun": "June", "Jul": "July", "Aug": "August",
    "Sept": "September", "Sep": "September", "Oct": "October", "Nov": "November", "Dec": "December",
}  # fmt: skip
_DAYS = {
    "Mon": "Monday", "Tues": "Tuesday", "Tue": "Tuesday", "Wed": "Wednesday", "Thurs": "Thursday", "Thur": "Thursday",
    "Thu": "Thursday", "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday",
}  # fmt: skip
_NAMES: tuple[Rule, ...] = (
    rule(r"(?<![A-Za-z])([A-Ga-gJjXx])[#♯](?![A-Za-z#])", r"\1 sharp"),
    rule(r"(?<![A-Za-z])C\+\+", "C plus plus", re.IGNORECASE),
    rule(r"(?<=[A-Za-z])\+\+", " plus plus"),
    rule(r"(?<=[A-Za-z])\+(?=\s|[,.;:!?)]|$)", " plus"),
    rule(r"(?<!\w)\.(?=NET(?![A-Za-z]))", "dot "),
    rule(r"(?<=[A-Za-z])\.(?=(?:js|JS|io|ai|NET|Net|net|py|ts)(?![A-Za-z]))", " dot "),
    rule(r"(?<=\bdot )(js|ts|py|io|ai)(?![A-Za-z])", lambda m: " ".join(m[0]), re.IGNORECASE),
    rule(r"(?<![A-Za-z])ASP dot NET", "a s p dot net"),
    rule(r"\b([A-D])-(?=[\s.,;!?)]|$)(?!\s-|\s\d)", r"\1 minus"),
    rule(r"\b([A-Z])\*(?=[\s.,;!?)]|$)", r"\1 star"),
    rule(r"\bWW(II?)\b", lambda m: f"World War {'one' if m[1] == 'I' else 'two'}"),
    rule(r"\s?&&?\s?", " and "),
    rule(r"\b7-(?:11|Eleven|ELEVEn)\b", "seven eleven"),
    rule(r"\b24/7/365\b", "twenty four seven three sixty five"),
    rule(r"\b24/7\b", "twenty four seven"),
    rule(r"\b9/11\b", "nine eleven"),
    rule(r"\b(?:50/50|50-50)\b", "fifty fifty"),
    rule(r"\b20/20\b", "twenty twenty"),
    rule(r"(?<![A-Za-z])[Ww]/o\b", "without"),
    rule(r"(?<![A-Za-z])[Ww]/\s?(?=\w)", "with "),
    rule(r"(?<![A-Za-z])b/c\b", "because"),
    rule(r"\bc/o\b", "care of"),
    rule(r"\b[Nn]/[Aa]\b", "n a"),
)


def _words(table: dict[str, str]) -> str:
    return "|".join(sorted(table, key=len, reverse=True))


def _look_up(table: dict[str, str]) -> Rule:
    return rule(rf"\b({_words(table)})\.(?=\s|[,;:!?)]|$)", lambda m: table[m[1]])


def _numbered(match: re.Match[str]) -> str:
    word = match[1].lower()
    spoken = next(spoken for pattern, spoken in _NUMBERED.items() if re.fullmatch(pattern, word))
    plural = word.endswith("s") and word != "nos"
    return f"{spoken}{'s' if plural else ''} "


def _title(match: re.Match[str]) -> str:
    return f"{_TITLES[match[1] or match[2]]} "


def _saint_or_street(match: re.Match[str]) -> str:
    """A saint stands before a name, a street behind one; behind a house number too it is a street."""
    before = match.string[max(match.start() - _ADDRESS_REACH, 0) : match.start()]
    if match[1]:
        return "street" if re.search(r"\d\w*\s+(?:\w+\s+)?\w+\s+$", before) else "saint"
    named = re.search(r"(?:[A-Z][\w']+|\d(?:st|nd|rd|th))\s+$", before)
    return "street" if named else match[0]


def _initials(match: re.Match[str]) -> str:
    """U.S. is spelled; a full stop behind it stays only where a sentence ends."""
    letters = " ".join(match[1].replace(".", ""))
    return letters + ("." if match[2] else "")


def _direction(match: re.Match[str]) -> str:
    return _COMPASS[match[1]]


def _zip_code(match: re.Match[str]) -> str:
    rest = f" dash {digit_words(match[3])}" if match[3] else ""
    return f"{' '.join(match[1])} {digit_words(match[2])}{rest}"


_LETTERED = (
    "plan|vitamin|type|grade|class|group|part|option|section|appendix|room|gate|model|point|team|hepatitis|step|"
    "exhibit|figure|table|letter|company|platform|side|block|building|unit|answer|question|item|level|product|"
    "variant|the|and|or|is|was"
)
"""Words that a single letter follows as a name of its own."""
_COMPASS = {
    "NE": "northeast", "NW": "northwest", "SE": "southeast", "SW": "southwest", "N": "north", "S": "south",
    "E": "east", "W": "west",
}  # fmt: skip
_ROAD = (
    "(?:St|Street|street|Ave|Avenue|avenue|Blvd|Boulevard|boulevard|Rd|Road|road|Dr|Drive|drive|Ln|Lane|Pl|Place|place)"
    r"\b"
)
_STATES = (
    "A[LKZR]|C[AOT]|D[CE]|FL|GA|HI|I[DLNA]|K[SY]|LA|M[EDAINSOT]|N[EVHJMYCD]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[TA]|W[AVIY]"
)
_MANY = {"10": "tens", "100": "hundreds", "1000": "thousands"}
_SAINTS = (
    "(?:Louis|Petersburg|Patrick|John|Paul|Peter|Mary|Nicholas|George|Andrew|James|Thomas|Francis|Helens|Helena|"
    "Lucia|Lawrence|Moritz|Martin|Kitts)"
)
_ADDRESS_REACH = 40
# "I said no. 5 people came."
_NOT_AN_ANSWER = "".join(
    f"(?<!{word} )" for word in ("said", "say", "says", "voted", "answered", "oh", "me", "him", "her", "them")
)
_ENDS_SENTENCE = (
    r"(?=\s*$|\s+(?:The|He|She|It|We|They|I|But|And|In|This|That|There|My|You|His|Her|Our|So|If|When|A|An|At|On|"
    r"What|Who|Why|How)\b)"
)

_DAY = "|".join([*_DAYS.values(), *sorted(_DAYS, key=len, reverse=True)])
_MONTH = "|".join([*_MONTHS.values(), "May", *sorted(_MONTHS, key=len, reverse=True)])

RULES: tuple[Rule, ...] = (
    *_NAMES,
    rule(rf"{_NOT_AN_ANSWER}\bno\.\s?(?=\d)|\bN[oO]\.\s?(?=\d)", "number "),
    rule(rf"\b({'|'.join(_NUMBERED)})\.\s?(?=\d)", _numbered, re.IGNORECASE),
    rule(r"\b(vols?|chaps?|ch|figs?|pt|bk|art|sec)\.\s?(?=[IVXLC]{1,9}\b)", _numbered, re.IGNORECASE),
    rule(r"№\s?", "number "),
    rule(r"#(?=\d)", "number "),
    rule(rf"\b({_words(_TITLES)})\.\s?(?=[A-Z]|and\s[A-Z])|\b(Dr|Mr|Mrs|Ms|Prof)\s(?=[A-Z][a-z])", _title),
    rule(r"(?<=[a-z\d] )Dr\.(?=,|\s*$|\s+[a-z])", "drive"),
    rule(r"\bMt\.\s?(?=[A-Z])", "mount "),
    rule(r"\bc\.\s(?=\d{3,4}\b)", "circa "),
    rule(r"\b(10|100|1000)s of\b", lambda m: f"{_MANY[m[1]]} of"),
    rule(rf"\bSt\.\s(?={_SAINTS}\b)", "saint "),
    rule(r"\bSt\b\.?(?=(\s+[A-Z])?)", _saint_or_street),
    rule(r"\bFt\.\s?(?=[A-Z])", "fort "),
    rule(rf"(?<=[\w] )({_words(_STREETS)})\.(?=\s|[,;:!?)]|$)", lambda m: _STREETS[m[1]]),
    _look_up(_BEHIND_NAMES),
    rule(rf"\b({_words(_DAYS)})\.?(?=,?\s(?:\d|{_words(_MONTHS)}))", lambda m: _DAYS[m[1]]),
    rule(
        rf"\b({_words(_DAYS)})\.(?=[,-]|\s(?:and|to|through|or|at|morning|afternoon|evening|night)\b)",
        lambda m: _DAYS[m[1]],
    ),
    rule(r"\b(Fri|Tues?|Thurs?|Wed)\.(?=\s*$)", lambda m: f"{_DAYS[m[1]]}."),
    rule(
        rf"\b([Oo]n|[Bb]y|[Uu]ntil|[Tt]ill|[Ee]very|[Nn]ext|[Ll]ast|[Tt]his|and|to)\s({_words(_DAYS)})\.(?=(\s*$)?)",
        lambda m: f"{m[1]} {_DAYS[m[2]]}" + ("." if m[3] is not None else ""),
    ),
    rule(rf"\b({_DAY})\s?[-–—]\s?({_DAY})\b\.?", lambda m: f"{_DAYS.get(m[1], m[1])} to {_DAYS.get(m[2], m[2])}"),
    rule(
        rf"\b({_MONTH})\s?[-–—]\s?({_MONTH})\b\.?", lambda m: f"{_MONTHS.get(m[1], m[1])} to {_MONTHS.get(m[2], m[2])}"
    ),
    rule(
        rf"\b({_words(_MONTHS)})\.?(?=\s\d)|\b({_words(_MONTHS)})\.(?=\s|[,;:!?)]|$)|(?<=\d )({_words(_MONTHS)})\b"
        r"(?!\w)",
        lambda m: _MONTHS[m[1] or m[2] or m[3]],
    ),
    rule(r"\b[Ee]\.\s?g\.,?", "for example"),
    rule(r"\b[Ii]\.\s?e\.,?", "that is"),
    rule(r"\bet al\.", "et al"),
    rule(r"\bcf\.\s", "compare "),
    rule(
        rf"(?<![\d.])(?<!\d\s)\b({_words(_COMMON)})\.(?=\s+(?-i:[^A-Z\s])|[,;:!?)])",
        lambda m: _COMMON[m[1].lower()],
        re.IGNORECASE,
    ),
    rule(r"\b(vs|approx)\.?(?=\s)", lambda m: _COMMON[m[1].lower()], re.IGNORECASE),
    rule(
        r"(?<!slash )\betc\b\.?(?=(\s*$|\s+(?-i:[A-Z]))?)",
        lambda m: "et cetera" + ("." if m[1] is not None else ""),
        re.IGNORECASE,
    ),
    rule(r"\b[Nn]o\.\s(?=[A-Z]{1,3}-?\d)", "number "),
    rule(r"\bPh\.?\s?D\b\.?", "p h d"),
    rule(r"\b([BM])\.\s?Sc\b\.?", lambda m: f"{m[1]} s c"),
    rule(
        r"(?:(?<=\d)\s?|\b)([AaPp])\.\s?[Mm]\.(?=(\s*$|\s+[A-Z])?)",
        lambda m: f" {m[1].lower()} m" + ("." if m[2] is not None else ""),
    ),
    rule(r"(?<![A-Za-z.])((?:[a-z]\.){1,5}[a-z])\.", lambda m: " ".join(m[1].replace(".", ""))),
    rule(rf"(?<![A-Za-z.])((?:[A-Z]\.\s?){{1,6}}[A-Z])\.({_ENDS_SENTENCE})?", _initials),
    # George W. Bush; but "Plan B. Then" ends a sentence.
    rule(
        rf"\b([A-Za-z][a-z]{{1,20}})\s([B-HJ-Z])\.(?=\s[A-Z][a-z])(?!{_ENDS_SENTENCE})",
        lambda m: m[0] if re.fullmatch(_LETTERED, m[1].lower()) else f"{m[1]} {m[2]}",
    ),
    rule(rf"^([A-Z])\.(?=\s[A-Z][a-z])(?!{_ENDS_SENTENCE})", r"\1"),
    rule(
        rf"(?<=\d )(?:({'|'.join(_COMPASS)})\.?)(?=\s(?:\d{{1,3}}(?:st|nd|rd|th)|[A-Z]\w{{2,20}})\s{_ROAD})", _direction
    ),
    rule(rf"(?<=\b)({_ROAD})\s({'|'.join(_COMPASS)})\b(?!\.?\w)", lambda m: f"{m[1]} {_COMPASS[m[2]]}"),
    rule(rf"\b({_STATES})\s(\d{{5}})(?:-(\d{{4}}))?(?![\d.,-]*\d)", _zip_code),
)
