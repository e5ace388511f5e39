"""What says that audio is synthetic: tags in front of the samples, and a response header.

Every tag has the software, the model's version and a sentence for people. Streamed WAV has no place for it that all
readers skip, and PCM has none at all: there only the header says it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

AI_DISCLOSURE = "AI-Disclosure"
"""Response header of draft-abaris-aicdh (an Internet-Draft), a structured field."""
NOTICE = "AI-generated speech"
SOFTWARE = "glmtts-server"


@dataclass(frozen=True)
class Provenance:
    """Where speech comes from: name and version of the model."""

    model: str
    model_version: str

    @property
    def encoder(self) -> str:
        """Software and model in one line, ASCII."""
        line = f"{SOFTWARE}, {self.model} {self.model_version}"
        return line.encode("ascii", "replace").decode()

    def header(self) -> str:
        """The value of AI-Disclosure."""
        model = self.model.encode("ascii", "replace").decode().replace("\\", "").replace('"', "")
        return f'mode=machine-generated;model="{model}"'

    def id3(self) -> bytes:
        """An ID3v2.4 tag, as it stands in front of MP3 and ADTS: TSSE, and COMM with the notice."""
        frames = _id3_frame(b"TSSE", b"\0" + self.encoder.encode())
        frames += _id3_frame(b"COMM", b"\0eng\0" + NOTICE.encode())
        return b"ID3\x04\0\0" + _synchsafe(len(frames)) + frames

    def riff_list(self) -> bytes:
        """A LIST chunk of type INFO for RIFF WAVE: ISFT, and ICMT with the notice."""
        info = (
            b"INFO"
            + _riff_chunk(b"ISFT", self.encoder.encode() + b"\0")
            + _riff_chunk(b"ICMT", NOTICE.encode() + b"\0")
        )
        return _riff_chunk(b"LIST", info)


def _id3_frame(name: bytes, content: bytes) -> bytes:
    return name + _synchsafe(len(content)) + b"\0\0" + content


def _synchsafe(size: int) -> bytes:
    """Four bytes of seven bits each, so that no byte looks like the start of an audio frame."""
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def _riff_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack("<4sI", name, len(content)) + content + b"\0" * (len(content) % 2)
