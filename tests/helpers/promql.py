"""Finds the metrics that a PromQL expression reads, by the prefixes of their names."""

from __future__ import annotations

import re

_OURS = re.compile(r"(?<![\w:])(?:glmtts[_:][\w:]+|process_\w+|consul_\w+|up|ALERTS)(?![\w:(])")
_MATCHERS = re.compile(r"\{[^}]*\}")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")


def series(expression: str) -> set[str]:
    """The names of the metrics in an expression, without those of labels."""
    bare = _MATCHERS.sub("", re.sub(r'"[^"]*"', '""', expression))
    return set(_OURS.findall(_GROUPING.sub("", bare)))
