"""The program ffmpeg, which is used where no library with a fitting licence reads or writes a format.

It runs as a process of its own: nothing of it is linked, and a crash in it harms nobody else.
"""

from __future__ import annotations

import shutil

DEBIAN_PACKAGE = "ffmpeg"


def find_ffmpeg() -> str | None:
    """The path of the program; None where it is not installed."""
    return shutil.which("ffmpeg")
