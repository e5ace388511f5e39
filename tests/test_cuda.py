"""On a CUDA device: the numbers of a CPU, no waiting within a step, many at once, and the program as it is started.

Skipped where there is none. `scripts/gpu_check.sh` runs them with a stand-in for the published checkpoint, and with
`GLMTTS_TEST_DEVICE=cpu` to see that they can be run.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
import soundfile
import torch
from torch import Tensor

import glmtts
from glmtts.checkpoint.loader import Model
from glmtts.engine.api import Job
from glmtts.engine.config import ChunkSchedule, EngineOptions
from glmtts.engine.runtime.engine import GPU_AUDIO_LIMITS, BatchEngine
from glmtts.engine.runtime.loading import load_engine
from glmtts.engine.runtime.offline import tokens_to_mel
from glmtts.engine.synthesis.audio_recordings import AudioRecordings
from glmtts.engine.synthesis.vocoder_batch import Window, render_windows
from glmtts.models.flow.flow_batch import FlowBatcher, FlowSequence
from glmtts.models.graphs import CudaGraphRecorder, RecordedSteps
from glmtts.models.llm.decoder import PREFILL_CHUNK, Decoder, DecodeRequest
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


PROMPT = DecodeRequest(tuple(range(20, 320)), LengthBounds(100, 150), seed=7)
"""Of 299 ids that are fed in three chunks, the last of them padded."""


def fed(decoder: Decoder, slot: int) -> Tensor:
    """Feeds PROMPT to a slot; the keys and values that it has left, on the CPU."""
    end = len(PROMPT.ids) - 1
    for start in range(0, end, PREFILL_CHUNK):
        decoder.prefill(slot, PROMPT, start, PREFILL_CHUNK)
    return decoder.cache.kv[slot, :, :, :end].float().cpu()


def recording_decoder(model: Model, rows: int) -> Decoder:
    """With a graph for each chunk of a prompt."""
    kv = KVCache(model.llm.config, rows, 512, dtype=model.dtype, device=model.device)
    steps = RecordedSteps(CudaGraphRecorder(model.device))
    made = Decoder(model.llm, model.special, model.generation, kv, steps=RecordedSteps(None), prefill_steps=steps)
    for shape in made.recorded_prefill.shapes:
        made.record_prefill(shape)
    return made


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
@torch.inference_mode()
def test_recorded_prompts_leave_what_a_cpu_does(pair: tuple[Model, Model]) -> None:
    """Keys and values of a prompt in the slot that it was meant for, and in no other; each chunk is one graph."""
    recorded = recording_decoder(pair[1], 3)
    assert len(recorded.recorded_prefill.steps) == 3 * 2  # of 32, 64 and 128 ids; 256 and 512 positions
    for slot in range(3):
        recorded.reserve(slot, PROMPT)
    others = recorded.cache.kv[[0, 2]].clone()
    plain = decoder(pair[0], 1)
    plain.reserve(0, PROMPT)
    torch.testing.assert_close(fed(recorded, 1), fed(plain, 0), atol=1e-3, rtol=1e-3)
    assert torch.equal(recorded.cache.kv[[0, 2]], others)
    assert (recorded.recorded_prefill.steps.replays, recorded.recorded_prefill.steps.plain) == (3, 0)


@of_cuda_alone
def test_a_recorded_prompt_never_waits_for_the_device(model: Model) -> None:
    """From its slot's reset to its first token, beside rows that decode."""
    drawing = recording_decoder(model, 2)
    for slot in range(2):  # what is allocated once is there
        drawing.add(slot, PROMPT, chunk=PREFILL_CHUNK)
    drawing.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        drawing.add(1, PROMPT, chunk=PREFILL_CHUNK)
        drawn = [drawing.step() for _ in range(5)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(0 <= int(token) <= drawing.end for step in drawn for token in step)
    assert drawing.recorded_prefill.steps.replays == 9


@of_cuda_alone
def test_recorded_blocks_make_what_launched_ones_do(pair: tuple[Model, Model]) -> None:
    """The flow in one graph a block, the vocoder in one a window: a CPU's numbers, and nothing waits within."""
    recordings = AudioRecordings(
        pair[1], CudaGraphRecorder(pair[1].device), ChunkSchedule(), GPU_AUDIO_LIMITS, max_rows=2, max_bytes=2**32
    )
    for recording in recordings.all():
        recording.record()
    streams = [[stream(model, seed) for seed in range(2)] for model in pair]
    shape = recordings.blocks.shape_for(streams[1])
    assert shape is not None
    with torch.inference_mode():
        recordings.blocks.solve(streams[1], shape)
        again = [stream(pair[1], seed) for seed in range(2)]
        recordings.blocks.solve(again, shape)
        batcher = FlowBatcher(pair[0].flow, "cpu")
        while not batcher.is_done(streams[0][0]):
            batcher.step(streams[0])
        for cpu, gpu, repeated in zip(streams[0], streams[1], again, strict=True):
            assert torch.equal(gpu.x_tm, repeated.x_tm)
            torch.testing.assert_close(cpu.x_tm, gpu.x_tm.cpu(), atol=2e-3, rtol=1e-3)
            assert cpu.cache is not None
            assert gpu.cache is not None
            torch.testing.assert_close(cpu.cache.keys, gpu.cache.keys.cpu(), atol=2e-3, rtol=1e-3)
        windows = [[window(row.x_tm, seed) for seed, row in enumerate(rows)] for rows in streams]
        plain = render_windows(pair[0].vocoders[24000], windows[0])
        recorded = render_windows(pair[1].vocoders[24000], windows[1], recordings.windows[24000])
    for (cpu_wave, _), (gpu_wave, _) in zip(plain, recorded, strict=True):
        inner = slice(pair[0].vocoders[24000].context_frames * 480, -pair[0].vocoders[24000].context_frames * 480)
        difference = (cpu_wave[inner] - gpu_wave.cpu()[inner]).abs().mean()
        assert float(difference) < 1e-3 * float(cpu_wave.abs().max())
    assert (recordings.flow_steps.replays, recordings.vocoder_steps.replays) == (2, 1)
    assert recordings.flow_steps.plain == recordings.vocoder_steps.plain == 0


def stream(model: Model, seed: int) -> FlowSequence:
    """A chunk of arbitrary tokens after an empty context."""
    draw = torch.Generator().manual_seed(seed)
    frames = 60 + 20 * seed
    tokens, noise = torch.randint(0, 1000, (frames,), generator=draw), torch.randn(frames, 80, generator=draw)
    parts = (tokens, torch.zeros(frames, 80), torch.randn(192, generator=draw), noise)
    return FlowBatcher(model.flow, model.device).new_sequence(
        *(part.to(model.device) for part in parts), cache_frames=range(frames - 50, frames - 10)
    )


def window(mel_tm: Tensor, seed: int) -> Window:
    """The middle of an utterance."""
    key, phase = torch.tensor(seed, device=mel_tm.device), torch.zeros((), dtype=torch.float64, device=mel_tm.device)
    return Window(mel_tm, key, 100, history=19, new=len(mel_tm) - 38, phase=phase, includes_last=False)


@of_cuda_alone
def test_an_engine_records_before_it_serves() -> None:
    """The whole ladder; then streams are made of graphs alone, and none is recorded any more."""
    engine = load_engine(CHECKPOINT, device=DEVICE, options=EngineOptions(max_num_seqs=4, graph_seconds=120.0))
    try:
        before = engine.stats().recorded_steps
        planned = Counter(recording.stage for recording in engine._loop.recordings())
        assert {stage: counts.shapes for stage, counts in before.items()} == planned
        assert planned["decode"] == 3 * 4  # rows 1, 2, 4; 256, 512, 1024, 2048 positions
        assert planned["prefill"] == 3 * 4  # 32, 64, 128 ids
        voice = voice_of(engine._model)
        with ThreadPoolExecutor(4) as pool:
            waves = list(pool.map(lambda seed: spoken(engine, voice, seed), range(4)))
        after = engine.stats().recorded_steps
    finally:
        engine.close()
    assert all(len(wave) > 24000 // 2 and np.isfinite(wave).all() for wave in waves)
    for stage, counts in after.items():
        assert counts.shapes == before[stage].shapes
        assert counts.plain == before[stage].plain, stage
        assert counts.replayed > before[stage].replayed


@of_cuda_alone
@pytest.mark.parametrize("fixed_shape", [True, False])
def test_recorded_steps_draw_what_launched_ones_do(model: Model, fixed_shape: bool) -> None:
    """Token by token, past the end of a row and of a length; a slot that is given to another row draws that one."""
    recorded, launched = (decoder(model, 3, fixed_shape=fixed_shape) for _ in range(2))
    launched.steps = RecordedSteps(None)
    launched._padded_length = recorded._padded_length  # type: ignore[method-assign]  # the same shapes, so the same last digits
    for number in range(240):
        if number == 120:
            for either in (recorded, launched):
                either.add(1, DecodeRequest(tuple(range(30, 90)), LengthBounds(10, 50), seed=9))
        assert torch.equal(recorded.step(), launched.step())
    assert len(recorded.steps) == (1 if fixed_shape else 2)  # of 256 and 512 positions
    assert recorded.steps.replays == 240 - len(recorded.steps)  # each shape is launched the first time


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
