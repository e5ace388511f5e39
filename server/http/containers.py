"""Audio files of 16-bit mono samples, written piece by piece: WAV, PCM, FLAC, MP3 and Opus.

One container writes one file from its first sample to its last. Files that are joined from separately encoded pieces
click at every seam, and MP3 and Opus lose what their encoders still hold.
"""

from __future__ import annotations

import io
import struct
from typing import Protocol

import lameenc
import numpy as np
import soundfile
from numpy.typing import NDArray

from server.http.provenance import NOTICE, Provenance

BYTES_PER_SAMPLE = 2
WAV_HEADER_BYTES = 44
UNKNOWN_SIZE = (0xFFFFFFFF - (WAV_HEADER_BYTES - 8)) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE
"""Size of the data in a streamed WAV's header: the most whole samples for which the RIFF size also fits 32 bits."""
UNKNOWN_RIFF_SIZE = 0xFFFFFFFF
"""What readers of streams take for a size that is not known yet."""
MP3_KBPS = 96
MP3_KBPS_BELOW_22050_HZ = 64
"""The highest constant rate at 8 kHz; at 24 kHz and above it would make frames wait for their bits, for 24 ms more."""
OGG_PAGE_MS = 50.0
"""libsndfile's shortest page: 60 ms, as a page has whole packets of 20 ms. Its default is a second."""
_SET_OGG_PAGE_LATENCY_MS = 0x1302

Samples = NDArray[np.int16]


class Container(Protocol):
    """Writes one file of 16-bit mono samples."""

    content_type: str

    def write(self, samples: Samples) -> bytes:
        """The bytes that can leave now; may be none."""
        ...

    def finish(self) -> bytes:
        """The rest of the file."""
        ...

    def close(self) -> None:
        """Releases what the container holds; whether it is finished or not, and any number of times."""
        ...


class PcmContainer:
    """Little-endian signed 16-bit samples without a header."""

    content_type = "audio/pcm"

    def write(self, samples: Samples) -> bytes:
        return samples.astype("<i2").tobytes()

    def finish(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


class WavContainer:
    """RIFF WAVE. Streamed, its header has 44 bytes and the largest possible size; else the file leaves at its end."""

    content_type = "audio/wav"

    def __init__(self, sample_rate: int, provenance: Provenance, *, streamed: bool) -> None:
        self._sample_rate = sample_rate
        self._streamed = streamed
        self._tags = provenance.riff_list()
        self._pending = wav_header(sample_rate, UNKNOWN_SIZE) if streamed else b""
        self._chunks: list[bytes] = []

    def write(self, samples: Samples) -> bytes:
        data = samples.astype("<i2").tobytes()
        if not self._streamed:
            self._chunks.append(data)
            return b""
        header, self._pending = self._pending, b""
        return header + data

    def finish(self) -> bytes:
        if self._streamed:
            return self._pending
        data = b"".join(self._chunks)
        return wav_header(self._sample_rate, len(data), self._tags) + data

    def close(self) -> None:
        self._chunks.clear()


def wav_header(sample_rate: int, data_bytes: int, chunks: bytes = b"") -> bytes:
    """What stands in front of `data_bytes` of 16-bit mono samples: 44 bytes and further `chunks`."""
    size = UNKNOWN_RIFF_SIZE if data_bytes == UNKNOWN_SIZE else data_bytes + len(chunks) + WAV_HEADER_BYTES - 8
    riff = struct.pack("<4sI4s", b"RIFF", size, b"WAVE")
    byte_rate = sample_rate * BYTES_PER_SAMPLE
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate, byte_rate, BYTES_PER_SAMPLE, 16)
    return riff + fmt + chunks + struct.pack("<4sI", b"data", data_bytes)


class SndfileContainer:
    """A file that libsndfile writes. Streamed, its header lacks what is known at the end only."""

    def __init__(
        self, sample_rate: int, provenance: Provenance, *, file_format: str, subtype: str, streamed: bool
    ) -> None:
        self._buffer = io.BytesIO()
        self._streamed = streamed
        self._num_sent = 0
        self._file = soundfile.SoundFile(
            self._buffer, "w", samplerate=sample_rate, channels=1, format=file_format, subtype=subtype
        )
        self._file.comment = NOTICE
        self._file.software = provenance.encoder

    def write(self, samples: Samples) -> bytes:
        self._file.write(samples)
        return self._unsent() if self._streamed else b""

    def finish(self) -> bytes:
        # Closing may seek back to complete the header: too late if the header has left.
        self._file.close()
        return self._unsent()

    def close(self) -> None:
        self._file.close()

    def _unsent(self) -> bytes:
        with self._buffer.getbuffer() as written:
            unsent = bytes(written[self._num_sent :])
        self._num_sent += len(unsent)
        return unsent


class FlacContainer(SndfileContainer):
    """FLAC. Streamed, its header leaves length and checksum unset, which the format allows."""

    content_type = "audio/flac"

    def __init__(self, sample_rate: int, provenance: Provenance, *, streamed: bool) -> None:
        super().__init__(sample_rate, provenance, file_format="FLAC", subtype="PCM_16", streamed=streamed)


class OpusContainer(SndfileContainer):
    """Opus in Ogg, at one of OPUS_RATES. Its pages say how many samples count, so nothing is added at either end."""

    content_type = "audio/ogg"

    def __init__(self, sample_rate: int, provenance: Provenance, *, streamed: bool) -> None:
        super().__init__(sample_rate, provenance, file_format="OGG", subtype="OPUS", streamed=streamed)
        # soundfile has no public function for libsndfile's commands.
        milliseconds = soundfile._ffi.new("double *", OGG_PAGE_MS)
        soundfile._snd.sf_command(self._file._file, _SET_OGG_PAGE_LATENCY_MS, milliseconds, 8)


class Mp3Container:
    """MP3 with a constant bit rate and without an Info frame, which would lie in files that clients join.

    So a decoder gives 1105 samples before the first one, and up to two frames of silence after the last.
    """

    content_type = "audio/mpeg"

    def __init__(self, sample_rate: int, provenance: Provenance) -> None:
        self._pending = provenance.id3()
        self._encoder = lameenc.Encoder()
        self._encoder.silence()
        self._encoder.set_channels(1)
        self._encoder.set_in_sample_rate(sample_rate)
        self._encoder.set_bit_rate(MP3_KBPS if sample_rate >= 22050 else MP3_KBPS_BELOW_22050_HZ)

    def write(self, samples: Samples) -> bytes:
        tag, self._pending = self._pending, b""
        return tag + bytes(self._encoder.encode(samples.astype("=i2").tobytes()))

    def finish(self) -> bytes:
        return self._pending + bytes(self._encoder.flush())

    def close(self) -> None:
        pass
