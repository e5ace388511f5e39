"""HTTPS of the server's own, and what stands in front of it."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from glmtts_client import Cluster
from glmtts_client.speech import SpeechOptions

from server.keys.__main__ import add_key
from server.wsgi.tls import Certificate
from tests.helpers.certificates import make_certificate
from tests.helpers.consul import eventually, running_agent
from tests.helpers.server import Server, recording, wait_until

pytestmark = pytest.mark.processes

TEXT = "Hello there. How are you?"


class SecureServer(Server):
    """A server with a certificate; its own client does not check it."""

    def __init__(self, certificate: Path, key: Path, *, voices: Path, **env: str) -> None:
        env |= {"GLMTTS_TLS_CERTIFICATE": str(certificate), "GLMTTS_TLS_KEY": str(key)}
        super().__init__("fake:delay=0.02", voices=voices, env=env)
        self.url = f"https://127.0.0.1:{self.port}"
        self.ca = str(certificate)

    def status(self, path: str) -> int:
        try:
            return requests.get(self.url + path, timeout=5, verify=self.ca).status_code
        except requests.RequestException:
            return 0


@pytest.fixture
def secure(tmp_path: Path, voices: Path) -> Iterator[SecureServer]:
    with SecureServer(*make_certificate(tmp_path), voices=voices, GLMTTS_WRITE_TIMEOUT="2") as server:
        yield server


def serial(server: SecureServer) -> bytes:
    """What the server presents now."""
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain,
        ssl._create_unverified_context().wrap_socket(plain) as connection,
    ):
        return connection.getpeercert(binary_form=True) or b""


def test_https(secure: SecureServer) -> None:
    """Whole and streamed speech; what is not TLS is cut, and nobody waits for it."""
    answer = requests.post(f"{secure.url}/tts", json={"text": TEXT}, timeout=30, verify=secure.ca)
    body = {"text": TEXT, "format": "pcm", "seed": 1}
    with requests.post(f"{secure.url}/tts/stream", json=body, timeout=30, verify=secure.ca, stream=True) as streamed:
        assert len(streamed.content) > 40_000
    assert (answer.status_code, answer.content[:4]) == (200, b"RIFF")
    with socket.create_connection(("127.0.0.1", secure.port), timeout=20) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"200" not in plain.recv(4096)
    with socket.create_connection(("127.0.0.1", secure.port), timeout=20) as silent:
        assert silent.recv(1) == b""  # after the time for a handshake
    assert secure.status("/health") == 200
    assert not [line for line in secure.lines if '"level": "error"' in line]


def test_a_stream_that_nobody_reads_ends(secure: SecureServer) -> None:
    """The least rate of reading holds under TLS too."""
    context = ssl.create_default_context(cafile=secure.ca)
    body = b'{"text": "%s", "format": "pcm", "sample_rate": 48000}' % (b"a" * 3000)
    head = (
        b"POST /tts/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect(("127.0.0.1", secure.port))
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            connection.sendall(head % len(body) + body)
            wait_until(lambda: in_flight(secure) == 1, "the stream")
            wait_until(lambda: in_flight(secure) == 0, "its end")


def in_flight(server: SecureServer) -> float:
    text = requests.get(f"{server.url}/metrics", timeout=5, verify=server.ca).text
    return float(next(line for line in text.splitlines() if line.startswith("glmtts_in_flight ")).split()[1])


def test_a_new_certificate_is_used_without_a_restart(tmp_path: Path, secure: SecureServer) -> None:
    """A broken one is not, nor a certificate without its key."""
    first, (other, other_key) = serial(secure), make_certificate(tmp_path, name="other")
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    shutil.copy(other, certificate)
    wait_until(lambda: any("TLS certificate unusable" in line for line in secure.lines), "the warning")
    assert serial(secure) == first
    shutil.copy(other_key, key)
    wait_until(lambda: serial(secure) != first, "the new certificate")
    assert secure.status("/health") == 200


def test_files_that_do_not_fit_keep_the_server_from_starting(tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path)
    _, other_key = make_certificate(tmp_path, name="other")
    with pytest.raises(OSError, match=r"(?i)key.values.mismatch"):
        Certificate(certificate, other_key)
    with pytest.raises(FileNotFoundError):
        Certificate(certificate, tmp_path / "none")


def test_clients_find_https_and_use_their_key_through_consul(tmp_path: Path, voices: Path) -> None:
    """Nodes say that they serve HTTPS; a stream of several segments reads its continuation with the same key."""
    keys = tmp_path / "keys.yaml"
    key, files = add_key(keys, "client", ["speak"]), make_certificate(tmp_path)
    (tmp_path / "consul").mkdir()
    with running_agent(tmp_path / "consul") as agent:
        env = {"GLMTTS_CONSUL": "on", "CONSUL_HTTP_ADDR": agent.address, "GLMTTS_LOOPBACK_CLUSTER": "on"}
        env |= {"GLMTTS_API_KEYS_FILE": str(keys), "GLMTTS_HEALTH_INTERVAL": "1"}
        with SecureServer(*files, voices=voices, **env) as server:
            eventually(lambda: agent.passing(), what="the node to pass its checks")
            cluster = Cluster(agent.address, api_key=key, ca=str(files[0]))
            assert [node.url for node in cluster.nodes()] == [server.url]
            assert cluster.synthesize(TEXT).audio[:4] == b"RIFF"
            with cluster.stream(f"{TEXT} {TEXT}", SpeechOptions(seed=1)) as stream:
                assert sum(map(len, stream)) > 40_000
            assert all(segment.used_history for segment in stream.segments)


def test_forwarded_headers_count_from_listed_proxies_only(tmp_path: Path, voices: Path) -> None:
    """The client's address is in the audit log."""
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    for proxies, expected in (("127.0.0.0/8", "203.0.113.7"), ("10.0.0.1", "127.0.0.1"), ("", "127.0.0.1")):
        log = tmp_path / f"audit-{proxies.replace('/', '-')}.jsonl"
        env = {"GLMTTS_TRUSTED_PROXIES": proxies, "GLMTTS_AUDIT_LOG": str(log)}
        with Server(voices=voices, env=env) as server:
            files = {"reference_audio": ("a.wav", recording())}
            answer = requests.post(f"{server.url}/tts", data={"text": TEXT}, files=files, headers=headers, timeout=60)
        assert answer.status_code == 200
        assert f'"address": "{expected}"' in log.read_text()
