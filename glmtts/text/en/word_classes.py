"""The class of an English word that may be a verb or a noun, by the words around it.

The closed classes (determiners, pronouns, auxiliaries, prepositions) decide most cases; suffixes stand for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

WordClass = Literal["verb", "noun", "adjective"]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_DETERMINERS = _set("""a an the my your his its our their whose no some any every each either neither another such what
    one two three four five six seven eight nine ten many several few all both more most less other this these those""")
_OBJECTS = _set("me him them us it myself yourself himself herself itself ourselves themselves everyone everything you")
_SUBJECTS = _set("i you we they he she it who people everyone nobody somebody anyone everybody someone")
_QUANTITIES = _set("many some few all both most more these those several that what")
_SINGULAR = _set("he she it everyone nobody somebody anyone everybody someone one")
_BEFORE_VERB = _set("""to will would can could shall should may might must cannot do does did let's please 'll 'd
    don't doesn't didn't won't wouldn't can't couldn't shouldn't mustn't mightn't i'll you'll he'll she'll we'll they'll
    it'll i'd you'd he'd she'd we'd they'd helped help helps gonna ought dare""")
_AUXILIARIES = _set("do does did will would can could should don't doesn't didn't won't can't")
_BE = _set("""be am is are was were been being i'm you're we're they're he's she's it's that's isn't aren't wasn't
    weren't seem seems seemed become became becomes feel feels felt look looks looked remain remains remained very so
    too quite extremely completely perfectly how get got getting""")
_HAVE = _set("has have had having i've you've we've they've")
_PREPOSITIONS = _set("""of in on at by with for from into about under during without after before between against over
    through per as than like since until within upon above below beyond despite among behind near via off toward""")
_CONJUNCTIONS = _set("and or but nor")
_RELATIVES = _set("who which that")
_SKIPPED = _set("""not also always never just even ever still often then now soon only all both again sometimes rather
    usually already almost once twice first""")
_ADJECTIVES = _set("""new old good bad big small great little best last next high low long short large strong free full
    whole same own main major young early late poor rich real true clear easy hard open public world police school army
    government trade business personal""")
_PLURALS = _set("people children men women police parents teachers you we they")
_TAKES_NOUN = _set("""make makes made making take takes took taking give gives gave giving break breaks broke broken
    set sets setting sign signs signed signing hold holds held keep keeps kept show shows showed see saw
    find found lose lost got get gets need needs want wants buy bought sell sold use uses used pay paid hit won win
    wins cause caused""")
_CAUSES = _set("let make makes made help helps helped watch watched see saw hear heard")
_PLURAL_MODIFIERS = _set("sales sports news arms goods customs savings business series years months weeks days")
_SIGNS = _set('. , ; : ! ? " ( ) - — …')
_ADJECTIVE_ENDING = re.compile(r"(?:al|ous|ive|ful|less|ic|able|ible|ary|ish|ent|ant|ian|ese|est|less|ern)$")


def word_class(left: Sequence[str], word: str, right: Sequence[str]) -> WordClass:
    """The class of `word` between the lower-case words and signs on its left and right, both in reading order."""
    before = [other for other in left if not _skipped(other)]
    skipped = len(before) < len(left)
    previous = before[-1] if before else "."
    following = right[0] if right else "."
    found = _by_previous(previous, word, following)
    if found is None:
        found = _by_both(before, word, following, adverb=skipped and left[-1] != previous)
    return found


def _skipped(word: str) -> bool:
    return word in _SKIPPED or (word.endswith("ly") and word not in ("only", "family", "july", "reply", "supply"))


def _by_previous(previous: str, word: str, following: str) -> WordClass | None:
    """The class where the word before decides alone."""
    if previous in _BEFORE_VERB and following not in _BE:
        return "verb"
    if previous in _DETERMINERS or previous.endswith(("'s", "s'")) or previous.isdecimal():
        return "verb" if previous in _SINGULAR | _QUANTITIES and following in _DETERMINERS else "noun"
    if previous == "her":
        return "noun"
    if previous in _RELATIVES:
        signs_noun = following in _BE or following in _HAVE or following in _SIGNS
        return "noun" if signs_noun and previous != "who" else "verb"
    if previous in _SUBJECTS:
        return "verb"
    if previous in _BE:
        return "adjective"
    if previous in _HAVE or previous in _PREPOSITIONS:
        return "noun"
    return None


def _by_both(before: Sequence[str], word: str, following: str, *, adverb: bool) -> WordClass:
    """The class by the words on both sides. adverb: whether an adverb stands before the word."""
    previous = before[-1] if before else "."
    opens_object = following in _DETERMINERS or following in _OBJECTS or following in ("her", "that", "your")
    if following in _BE or following in _HAVE or following == "of":
        return "noun"
    if _in_question(before) or (following.endswith("ly") and len(before) > 1 and before[-2] == "and"):
        return "verb"
    if previous in _SIGNS or previous in _CONJUNCTIONS:
        return "verb" if opens_object or (previous in _CONJUNCTIONS and _after_verb(before)) else "noun"
    if previous in _ADJECTIVES or _ADJECTIVE_ENDING.search(previous):
        return "noun"
    if previous in _TAKES_NOUN:
        return "noun"
    if previous in _OBJECTS:
        return "verb" if len(before) > 1 and before[-2] in _CAUSES else "noun"
    third_person = word.endswith("s") and not word.endswith("ss")
    if third_person == (previous in _PLURALS or re.search(r"[^s]s$", previous) is not None):
        return "noun"
    if opens_object or adverb:
        return "verb"
    if third_person or previous in _PLURAL_MODIFIERS:
        return "noun"
    has_subject = len(before) == 1 or before[-2] in _DETERMINERS or before[-2] in _SIGNS
    return "verb" if has_subject or following not in _SIGNS else "noun"


def _in_question(before: Sequence[str]) -> bool:
    """Whether `before` ends in an auxiliary and its subject: "does the bank"."""
    subject = 3 if len(before) > 2 and before[-2] in _DETERMINERS else 2
    return len(before) >= subject and before[-subject] in _AUXILIARIES and before[-1] not in _SIGNS


def _after_verb(before: Sequence[str]) -> bool:
    """Whether the conjunction that ends `before` joins to an infinitive: "to find and record"."""
    return any(word in _BEFORE_VERB for word in before[-4:-1])
