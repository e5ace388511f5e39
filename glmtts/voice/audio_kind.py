"""Which kind of file a recording is, by its first bytes, and which decoder reads it.

Only files of a listed kind reach a decoder: libsndfile and ffmpeg know many old formats whose readers nobody attacks
and mends any more.
"""

from __future__ import annotations

from typing import NamedTuple


class AudioKind(NamedTuple):
    """A kind of file. `demuxer`: ffmpeg's name of its reader; None: libsndfile reads it."""

    name: str
    demuxer: str | None = None


WAV, AIFF, FLAC, OGG, MP3 = map(AudioKind, ("WAV", "AIFF", "FLAC", "OGG", "MP3"))
WEBM = AudioKind("WebM or Matroska", "matroska")
MP4 = AudioKind("MP4, M4A or 3GP", "mov")
AMR = AudioKind("AMR", "amr")
AAC = AudioKind("AAC", "aac")

READABLE = "WAV, FLAC, OGG, MP3, AIFF, WebM, MP4, M4A, 3GP, AMR or AAC"
"""For messages."""

_ID3_HEADER_BYTES = 10


def audio_kind(data: bytes) -> AudioKind | None:
    """The kind of an encoded recording; None if it is of no listed kind."""
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return WEBM
    if data[4:8] == b"ftyp":
        return MP4
    if data.startswith((b"#!AMR\n", b"#!AMR-WB\n")):
        return AMR
    if data.startswith(b"RIFF") and data[8:12] == b"WAVE":
        return WAV
    if data.startswith(b"FORM") and data[8:12] in (b"AIFF", b"AIFC"):
        return AIFF
    if data.startswith(b"OggS"):
        return OGG
    data = data[_id3_bytes(data) :]
    return FLAC if data.startswith(b"fLaC") else _mpeg_kind(data[:2])


def _mpeg_kind(sync: bytes) -> AudioKind | None:
    """MP3 or AAC by the start of a frame: 11 or 12 set bits, the version, and the layer, which is 0 in AAC."""
    if len(sync) < 2 or sync[0] != 0xFF or sync[1] & 0xE0 != 0xE0:
        return None
    if sync[1] & 0x06:
        return MP3
    return AAC if sync[1] & 0xF0 == 0xF0 else None


def _id3_bytes(data: bytes) -> int:
    """The size of the ID3v2 tag at the start; 0 if there is none."""
    if not data.startswith(b"ID3") or len(data) < _ID3_HEADER_BYTES:
        return 0
    size = 0
    for byte in data[6:_ID3_HEADER_BYTES]:
        size = size << 7 | byte & 0x7F
    return _ID3_HEADER_BYTES + size
