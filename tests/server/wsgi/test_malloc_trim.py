"""Freed memory is returned to the operating system."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import torch
from hypothesis import given
from hypothesis import strategies as st

from server.wsgi.malloc_trim import IDLE_SECONDS, MAX_INTERVAL, POLL_INTERVAL, TrimSchedule, free_mkl_buffers
from tests.helpers.server import ROOT, Server, wait_until

pytestmark = pytest.mark.processes

glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library is not glibc")

FRAGMENTS = """
import re, time
from pathlib import Path
from server.wsgi import malloc_trim

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

working = True
malloc_trim.start_trimming(lambda: working)
pieces = [bytes(4000) for _ in range(50000)]
kept = pieces[::50]
del pieces
time.sleep(3 * malloc_trim.POLL_INTERVAL)
full, working = resident(), False
end = time.monotonic() + 60
while resident() > full - 100 and time.monotonic() < end:
    time.sleep(0.1)
print(full - resident())
"""

ARENAS = """
import ctypes, sys, threading
from server.wsgi import malloc_trim

if sys.argv[1:]:
    malloc_trim.limit_arenas()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
together = threading.Barrier(8)

def allocate():
    together.wait(60)
    blocks = [bytes(4000) for _ in range(1000)]
    together.wait(60)

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(0, 200)), max_size=10))
def test_memory_is_trimmed_once_when_idle_and_seldom_during_work(periods: list[tuple[int, int]]) -> None:
    """After IDLE_SECONDS without work, once; before that only MAX_INTERVAL after the last trim."""
    schedule, now, last, worked = TrimSchedule(0.0), 0.0, 0.0, False
    for work, idle in periods:
        for quiet in (*[0] * work, *range(1, idle + 1)):
            now += POLL_INTERVAL
            worked = worked or not quiet
            trims = schedule.poll(now, busy=not quiet)
            assert trims == (worked and (quiet * POLL_INTERVAL >= IDLE_SECONDS or now - last >= MAX_INTERVAL))
            if trims:
                last, worked = now, not quiet


def test_growth_without_work_is_trimmed_but_not_all_the_time() -> None:
    schedule, now, trims = TrimSchedule(0.0), 0.0, []
    while now < 10 * IDLE_SECONDS:
        now += POLL_INTERVAL
        if schedule.poll(now, busy=False, grown=True):
            trims.append(now)
    assert trims == [IDLE_SECONDS * (n + 1) for n in range(10)]


@glibc
def test_memory_between_blocks_in_use_is_returned() -> None:
    """Of 200 MiB in small blocks, every fiftieth of which stays in use, most is returned once there is no work."""
    done = subprocess.run([sys.executable, "-c", FRAGMENTS], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_mkl_s_buffers_are_freed() -> None:
    """Even while another thread multiplies, whose products stay right."""
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    if not hasattr(library, "mkl_serv_mem_stat"):
        pytest.skip("this PyTorch has no MKL")
    library.mkl_serv_mem_stat.restype = ctypes.c_int64
    buffers = ctypes.c_int()
    left, right = torch.randn(700, 600), torch.randn(600, 800)
    product = left @ right
    assert library.mkl_serv_mem_stat(ctypes.byref(buffers)) > 0
    free_mkl_buffers()
    assert library.mkl_serv_mem_stat(ctypes.byref(buffers)) == 0
    with ThreadPoolExecutor(1) as executor:
        others = executor.submit(lambda: [left @ right for _ in range(50)])
        while not others.done():
            free_mkl_buffers()
    assert all(torch.equal(other, product) for other in others.result())


@glibc
def test_all_threads_share_one_arena() -> None:
    """By default eight threads have several."""
    arenas = []
    for arguments in ([], ["limited"]):
        command = [sys.executable, "-c", ARENAS, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
        arenas.append(done.stdout.count("<heap nr="))
    assert arenas[0] > 1
    assert arenas[1] == 1


@glibc
def test_the_server_trims_after_a_request(voices: Path) -> None:
    """The worker does so by itself, after its first request."""
    with Server("fake:delay=0.05", voices=voices, env={"GLMTTS_LOG_LEVEL": "debug"}) as server:
        assert not server.log("Returned freed memory")
        answer = requests.post(server.url + "/tts", json={"text": "a" * 100}, timeout=60)
        assert answer.status_code == 200
        wait_until(lambda: server.log("Returned freed memory"), "memory to be returned")
