"""Keeps the stored voices of all nodes the same: each node asks a few others what they have, and takes what is newer.

Nobody is in charge and nothing is pushed. A node that was away, or is new, asks like the others; a deletion is a change
like an enrolment. With a shared folder there is never anything to take.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from server.errors import ApiError
from server.voices.peer_client import PeerClient, PeerError
from server.voices.store import VoiceStore
from server.voices.stored_voice import features_file

log = logging.getLogger(__name__)

INTERVAL = 2.0
"""Seconds between two rounds, give or take a quarter."""
PEERS_PER_ROUND = 3
"""How many nodes are asked in a round. With more nodes a change needs some rounds, and each round costs no more."""
ROUNDS_UNTIL_RETRY = 30
"""Rounds after which a difference that stayed is looked at again, and a problem that stayed is reported again."""


class VoiceReplicator:
    """Brings the voices of `peers()`, URLs of nodes, into `store`. `key_file` has the API key for them, `ca`
    the certificates that theirs are checked with.
    """

    def __init__(
        self, store: VoiceStore, peers: Callable[[], list[str]], key_file: Path | None, ca: Path | None = None
    ) -> None:
        self._store = store
        self._peers = peers
        self._client = PeerClient(key_file, ca)
        self._fingerprint = ""
        self._looked_at: set[tuple[str, str, str]] = set()
        self._problems: set[str] = set()
        self._asked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="voice-sync", daemon=True)

    def start(self, fingerprint: str, timeout: float) -> None:
        """Starts, and waits at most `timeout` seconds for the first round: a new node then has what the others have.

        `fingerprint`: of the checkpoint whose prompt features are of use here.
        """
        self._fingerprint = fingerprint
        self._thread.start()
        self._asked.wait(timeout)

    def _run(self) -> None:
        pause = threading.Event()
        rounds = 0
        while True:
            self.ask_peers()
            self._asked.set()
            rounds += 1
            if rounds % ROUNDS_UNTIL_RETRY == 0:
                self._looked_at.clear()
                self._problems.clear()
            pause.wait(INTERVAL * random.uniform(0.75, 1.25))

    def ask_peers(self) -> None:
        """One round. Reports problems, and raises nothing."""
        with self._reporting():
            urls = self._peers()
            for url in random.sample(urls, min(PEERS_PER_ROUND, len(urls))):
                with self._reporting():
                    self._ask(url)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # without this thread no change would ever come here again
            problem = str(error) if isinstance(error, PeerError | ApiError) else repr(error)
            if problem not in self._problems:
                self._problems.add(problem)
                log.warning("stored voices of other nodes: %s", problem)

    def _ask(self, url: str) -> None:
        mine = self._store.index()
        theirs = self._client.index(url, mine)
        for name, digest in (theirs or {}).items():
            difference = (name, mine.get(name, ""), digest)
            if difference[1] != digest and difference not in self._looked_at:
                self._looked_at.add(difference)
                self._take(url, name)

    def _take(self, url: str, name: str) -> None:
        voice = self._client.voice(url, name)
        files = {file: self._client.recording(url, name, file) for file in self._store.new_files(voice)}
        if not self._store.merge(voice, files):
            return
        log.info("stored voice %s: changed as on %s", name, url)
        for recording in voice.recordings.values():
            if recording.file in files:
                file = features_file(recording.digest, self._fingerprint)
                if (features := self._client.features(url, name, file)) is not None:
                    self._store.write_features(name, file, features)
