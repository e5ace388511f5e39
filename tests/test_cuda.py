"""On a CUDA device: the numbers of a CPU, no waiting within a step, many at once, and the program as it is started.

Skipped where there is none. `scripts/gpu_check.sh` runs them with a stand-in for the published checkpoint, and with
`GLMTTS_TEST_DEVICE=cpu` to see that they can be run.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
import soundfile
import torch

import glmtts
from glmtts.checkpoint.loader import Model
from glmtts.engine.api import Job
from glmtts.engine.config import EngineOptions
from glmtts.engine.runtime.engine import BatchEngine
from glmtts.engine.runtime.offline import tokens_to_mel
from glmtts.models.llm.decoder import Decoder, DecodeRequest
from glmtts.models.llm.kv_cache import KVCache
from glmtts.models.llm.prompt import LengthBounds
from glmtts.models.llm.prompt_score import score_prompt
from glmtts.models.rng import stream_keys
from glmtts.voice.voice import Voice
from server.voices.builtin_voices import BUILTIN_VOICES
from tests.helpers.server import ROOT, Server

DEVICE = os.environ.get("GLMTTS_TEST_DEVICE", "cuda")
CHECKPOINT = Path(os.environ.get("GLMTTS_TEST_CHECKPOINT", ROOT / "checkpoints" / "nano"))
ON_CUDA = DEVICE.startswith("cuda")

pytestmark = pytest.mark.skipif(ON_CUDA and not torch.cuda.is_available(), reason="needs a CUDA device")
of_cuda_alone = pytest.mark.skipif(not ON_CUDA, reason="a CPU has neither graphs nor a queue")

TEXTS = (
    "The children are singing happily on the playground.",
    "今天天气很好，我们一起去公园散步吧。",
    "We will meet in the conference room tomorrow afternoon.",
    "春天来了，山上的花都开了。",
)
STREAMS = 16 if ON_CUDA else 2


def voice_of(model: Model) -> Voice:
    folder = BUILTIN_VOICES / "default"
    said = json.loads((folder / "voice.json").read_text(encoding="utf-8"))["transcripts"]["neutral"]
    return model.voice_maker.make_voice((folder / "neutral.flac").read_bytes(), said)


@pytest.fixture(scope="module", autouse=True)
def exact() -> Iterator[None]:
    """Convolutions of all tests here in full float32: by default a GPU rounds their factors to 10 bits."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def pair() -> tuple[Model, Model]:
    """The same checkpoint on the CPU and on the GPU, both in float32."""
    return glmtts.load(CHECKPOINT, device="cpu"), glmtts.load(CHECKPOINT, device=DEVICE, dtype=torch.float32)


@pytest.fixture(scope="module")
def model() -> Model:
    """As a server loads it."""
    return glmtts.load(CHECKPOINT, device=DEVICE)


def decoder(model: Model, rows: int, *, fixed_shape: bool = False) -> Decoder:
    made = Decoder(
        model.llm,
        model.special,
        model.generation,
        KVCache(model.llm.config, rows, 512, dtype=model.dtype, device=model.device),
        fixed_shape=fixed_shape,
    )
    for slot in range(rows):
        made.add(slot, DecodeRequest(tuple(range(20 + slot, 60 + slot)), LengthBounds(300, 400), seed=slot))
    return made


@torch.inference_mode()
def test_each_stage_computes_what_a_cpu_does(pair: tuple[Model, Model]) -> None:
    """A voice, logits, NLL, mel and waveform of the same input: equal but for the last digits."""
    voices = [voice_of(model) for model in pair]
    assert voices[0].prompt_tokens.tolist() == voices[1].prompt_tokens.tolist()
    torch.testing.assert_close(voices[0].speaker.cpu(), voices[1].speaker.cpu(), atol=1e-3, rtol=1e-3)
    scores = [decoder(model, 3).logits().cpu() for model in pair]
    torch.testing.assert_close(*scores, atol=1e-3, rtol=1e-3)
    key = stream_keys(torch.tensor([5]), torch.tensor([0]))
    tokens = tuple(voices[0].prompt_tokens.tolist())
    nats = [score_prompt(m.llm, m.special, voices[0].prompt_text, tokens).nll for m in pair]
    assert nats[0] == pytest.approx(nats[1], abs=1e-3)
    mels = [tokens_to_mel(m, tokens, voices[0], 24000, key.to(m.device), 2 * len(tokens)) for m in pair]
    torch.testing.assert_close(mels[0], mels[1].cpu(), atol=2e-3, rtol=1e-3)
    waves = [m.vocoders[24000](mels[0].to(m.device), key.to(m.device)).cpu() for m in pair]
    assert float((waves[0] - waves[1]).abs().mean()) < 1e-3 * float(waves[0].abs().max())


@of_cuda_alone
def test_a_decode_step_never_waits_for_the_device(model: Model) -> None:
    """Every call that would make the host wait is an error meanwhile."""
    drawing = decoder(model, 4)
    drawing.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        drawn = [drawing.step() for _ in range(20)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(0 <= int(token) <= drawing.end for step in drawn for token in step)


@of_cuda_alone
@pytest.mark.parametrize("fixed_shape", [True, False])
def test_recorded_steps_draw_what_launched_ones_do(model: Model, fixed_shape: bool) -> None:
    """Token by token, past the end of a row and of a length; a slot that is given to another row draws that one."""
    recorded, launched = (decoder(model, 3, fixed_shape=fixed_shape) for _ in range(2))
    launched._cuda_graphs.enabled = False
    launched._padded_length = recorded._padded_length  # type: ignore[method-assign]  # the same shapes, so the same last digits
    for number in range(240):
        if number == 120:
            for either in (recorded, launched):
                either.add(1, DecodeRequest(tuple(range(30, 90)), LengthBounds(10, 50), seed=9))
        assert torch.equal(recorded.step(), launched.step())
    lengths = {shape[2] for shape in recorded._cuda_graphs._graphs}
    assert lengths == ({512} if fixed_shape else {256, 512})
    assert not launched._cuda_graphs._graphs


def spoken(engine: BatchEngine, voice: Voice, seed: int) -> np.ndarray:
    """A stream's sound, as it came."""
    text = TEXTS[seed % len(TEXTS)]
    handle = engine.submit(Job(tuple(engine.segments(text)), voice, 24000, seed=seed))
    return np.concatenate(list(handle.chunks()))


def test_many_at_once_get_what_each_gets_alone(model: Model) -> None:
    """All shapes fixed, so that a row's numbers cannot depend on its neighbours: the same length, the same sound."""
    engine, voice = BatchEngine(model, EngineOptions(max_num_seqs=STREAMS, deterministic=True)), voice_of(model)
    try:
        alone = [spoken(engine, voice, seed) for seed in range(min(4, STREAMS))]
        with ThreadPoolExecutor(STREAMS) as pool:
            together = list(pool.map(lambda seed: spoken(engine, voice, seed), range(STREAMS)))
    finally:
        engine.close()
    for one, other in zip(alone, together, strict=False):
        assert len(one) == len(other) > 24000 // 2
        assert float(np.abs(one - other).mean()) < 0.01 * float(np.abs(one).max())
    assert all(np.isfinite(wave).all() and np.abs(wave).max() > 0.05 for wave in together)


def test_the_program_serves_from_it() -> None:
    """Found by itself, told by /info; a wav and a stream of the same request are as long."""
    with Server(str(CHECKPOINT), env={"GLMTTS_DEVICE": DEVICE}) as server:
        info = requests.get(server.url + "/info", timeout=10).json()
        assert DEVICE in str(info)
        body = {"text": TEXTS[0], "voice": "hibari", "seed": 1}
        whole = requests.post(server.url + "/tts", json=body, timeout=120)
        stream = requests.post(server.url + "/tts/stream", json={**body, "format": "wav"}, timeout=120)
    waves = [soundfile.read(io.BytesIO(answer.content), dtype="float32") for answer in (whole, stream)]
    assert [rate for _, rate in waves] == [24000, 24000]
    assert len(waves[0][0]) == len(waves[1][0]) > 24000
