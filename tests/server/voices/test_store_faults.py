"""Stored voices when the disk is full or fails, the process dies, or several write at once."""

import errno
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from server.errors import ApiError
from server.voices.files import UNFINISHED
from server.voices.store import VoiceStore
from tests.helpers.server import ROOT

Styles = Mapping[str, tuple[str, bytes]]
"""Text and recording by style."""
Fault = Literal["full", "error", "crash"]


class Crash(BaseException):
    """The process is dead: nothing that it would have done later happens."""


class FaultyDisk:
    """The real disk, until the operation whose number `fail` has been told."""

    OPERATIONS = (
        (tempfile, "mkstemp"), (tempfile, "mkdtemp"), (os, "fsync"), (shutil, "rmtree"),
        (Path, "replace"), (Path, "rename"), (Path, "unlink"), (Path, "chmod"),
    )  # fmt: skip
    TAKE_SPACE = ("mkstemp", "mkdtemp", "rename")
    """They, and the fsync of a file, fail on a full disk."""

    def __init__(self) -> None:
        self._fault: Fault | None = None
        self._left = 0
        self._patches = ExitStack()
        for owner, name in self.OPERATIONS:
            self._patches.enter_context(mock.patch.object(owner, name, self._wrap(getattr(owner, name), name)))

    def fail(self, fault: Fault | None, number: int) -> None:
        self._fault, self._left = fault, number

    def repair(self) -> bool:
        """Ends the fault, and returns whether it struck."""
        struck = self._fault is not None and self._left < 0
        self._fault = None
        return struck

    def close(self) -> None:
        self._patches.close()

    def _wrap(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def operation(*arguments: Any, **options: Any) -> Any:
            takes_space = name in self.TAKE_SPACE or (name == "fsync" and not _is_folder(arguments[0]))
            if self._fault is not None and (self._fault != "full" or takes_space):
                self._left -= 1
                if self._fault == "crash" and self._left < 0:
                    raise Crash
                if self._fault == "full" and self._left < 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if self._fault == "error" and self._left == -1:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
            # The machine does not crash, so the test need not wait for its disk.
            return None if name == "fsync" else real(*arguments, **options)

        return operation


def _is_folder(number: int) -> bool:
    return Path(f"/proc/self/fd/{number}").is_dir()


names, styles = st.sampled_from(["ann", "bob", "eve"]), st.sampled_from(["calm", "happy", "sad"])
faults = st.none() | st.tuples(st.sampled_from(["full", "error", "crash"]), st.integers(0, 12))


class StoredVoices(RuleBasedStateMachine):
    """The store beside a dictionary: after every call, failed or not, it has the old state or the one asked for."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.disk = FaultyDisk()
        self.store = VoiceStore([self.folder], self.folder, max_voices=2, max_bytes=10**6)
        self.voices: dict[str, Styles] = {}
        self.clean = True

    def teardown(self) -> None:
        if hasattr(self, "disk"):
            self.disk.close()
            shutil.rmtree(self.folder)

    @rule(name=names, style=styles, text=st.text("ab", max_size=2), flac=st.binary(max_size=3), fault=faults)
    def put(self, name: str, style: str, text: str, flac: bytes, fault: tuple[Fault, int] | None) -> None:
        wanted = {**self.voices, name: {**self.voices.get(name, {}), style: (text, flac)}}
        if len(wanted) > 2:
            with pytest.raises(ApiError, match="at most 2"):
                self.store.put(name, style, text, flac, "en")
            return
        if not fault:
            self.clean = True
        self._change(wanted, lambda: self.store.put(name, style, text, flac, "en"), fault)

    @rule(name=names, style=styles | st.none(), fault=faults)
    def delete(self, name: str, style: str | None, fault: tuple[Fault, int] | None) -> None:
        old = self.voices.get(name, {})
        if not old or style not in (None, *old):
            with pytest.raises(ApiError, match="expected"):
                self.store.delete(name, style)
            return
        rest = {key: value for key, value in old.items() if style not in (None, key)}
        others = {key: value for key, value in self.voices.items() if key != name}
        self._change({**others, name: rest} if rest else others, lambda: self.store.delete(name, style), fault)

    def _change(self, wanted: dict[str, Styles], change: Callable[[], object], fault: tuple[Fault, int] | None) -> None:
        before = self.voices
        self.disk.fail(*(fault or (None, 0)))
        try:
            change()
            possible = [wanted]
        except ApiError as error:
            if error.code != "storage":
                raise
            # When even the last step fails, that the folder is on the disk, the change has been made.
            possible = [before] if fault and fault[0] == "full" else [before, wanted]
        except Crash:
            possible = [before, wanted]
        struck = self.disk.repair()
        self.voices = self._read()
        assert self.voices in possible
        if struck and fault and fault[0] != "full":
            self.clean = False

    def _read(self) -> dict[str, Styles]:
        """What a server that starts now finds."""
        store = VoiceStore([self.folder])
        return {
            voice.name: {style: store.reference(voice.name, style)[1::-1] for style in voice.recordings}  # type: ignore[misc]
            for voice in store.all()
        }

    @invariant()
    def the_index_is_that_of_the_disk(self) -> None:
        """However it was changed."""
        assert self.store.index() == VoiceStore([self.folder], self.folder).index()

    @invariant()
    def nothing_is_left(self) -> None:
        """Files of changes that did not happen are removed at once, or after a crash by the next enrolment."""
        if not self.clean:
            return
        files = {file.relative_to(self.folder).as_posix() for file in self.folder.rglob("*") if file.is_file()}
        used = {
            f"{name}/{style}.{hashlib.sha256(flac).hexdigest()}.flac"
            for name, recordings in self.voices.items()
            for style, (_, flac) in recordings.items()
        }
        assert {file for file in files if not file.endswith("/voice.json")} - {".lock"} == used
        assert not list(self.folder.glob(f"{UNFINISHED}*"))


StoredVoices.TestCase.settings = settings(max_examples=100, stateful_step_count=15)
test_every_change_is_whole_or_not_at_all = StoredVoices.TestCase


def test_an_enrolment_beside_a_deletion_is_kept(tmp_path: Path) -> None:
    """Whichever comes first: the new style is there, the old one is not."""
    store = VoiceStore([tmp_path], tmp_path)
    with ThreadPoolExecutor(2) as threads:
        for number in range(20):
            store.put("bob", "old", "Old.", b"old", "en")
            enrolment = threads.submit(store.put, "bob", f"new{number}", "New.", b"new", "en")
            threads.submit(store.delete, "bob", "old").result()
            assert enrolment.result()
            assert set(store.get("bob").recordings) == {f"new{number}"}
            store.delete("bob", f"new{number}")


WRITER = """
import hashlib, random, sys
from pathlib import Path
from server.voices.store import VoiceStore
folder, name, styles = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
store = VoiceStore([folder], folder)
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[4])):
    flac = random.randbytes(2000)
    store.put(name, styles[number % len(styles)], hashlib.sha256(flac).hexdigest(), flac, "en")
"""


def writer(folder: Path, name: str, styles: str, times: int) -> subprocess.Popen[str]:
    """A process that stores recordings whose text is their hash, once it is told to begin."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, folder, name, styles, str(times)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.processes
def test_processes_that_share_a_folder_lose_nothing(tmp_path: Path) -> None:
    """Two servers enrol styles of one voice at the same time: all are there."""
    writers = [writer(tmp_path, "bob", ",".join(f"{letter}{n}" for n in range(20)), 20) for letter in "ab"]
    for process in writers:
        begin(process)
    for process in writers:
        process.communicate()
        assert process.returncode == 0
    assert len(VoiceStore([tmp_path]).get("bob").recordings) == 40


@pytest.mark.processes
def test_a_killed_writer_leaves_a_whole_voice(tmp_path: Path) -> None:
    """kill -9 at any moment: every recording has its own text, and the next server can write."""
    moments = random.Random(1)
    VoiceStore([tmp_path], tmp_path).put("bob", "calm", hashlib.sha256(b"first").hexdigest(), b"first", "en")
    for _ in range(3):
        process = writer(tmp_path, "bob", "calm,happy", 10**6)
        begin(process)
        time.sleep(moments.uniform(0.02, 0.2))
        process.kill()
        process.communicate()
        store = VoiceStore([tmp_path], tmp_path)
        for style in store.get("bob").recordings:
            reference = store.reference("bob", style)
            assert hashlib.sha256(reference.audio).hexdigest() == reference.text
        assert store.put("bob", "mine", "Mine.", b"mine", "en")
        store.delete("bob", "mine")
