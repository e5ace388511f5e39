"""Memory is planned: fewer listeners and voices where it is short, and an error with numbers where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from glmtts.checkpoint.loader import Model, load
from glmtts.checkpoint.model_sizes import read_sizes
from glmtts.config import EXACT_FORMATS, StageFormats
from glmtts.engine.config import EngineOptions
from glmtts.engine.runtime import loading
from glmtts.engine.runtime import memory_plan as memory
from glmtts.engine.runtime.engine import BatchEngine
from glmtts.engine.runtime.loading import load_engine, pick_formats, plan_memory
from glmtts.engine.runtime.memory_plan import MemoryNeeds, MemoryPlan, weight_bytes
from glmtts.errors import DeviceMemoryError
from scripts.plan_memory import main, published_sizes
from tests.glmtts.engine.test_engine import job, wave_of
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint
from tests.helpers.voices import made_up_voice

GIB = 2**30
CUDA, CPU = torch.device("cuda"), torch.device("cpu")
FORMATS = StageFormats("bfloat16", "float32", "float32")
NEEDS = MemoryNeeds(weights=100, slot=10, positions=8, stream=5, voice=20, temporary=50)


def plan(budget: int | None, wanted: int = 16) -> MemoryPlan:
    return NEEDS.plan(CPU, wanted, 0, budget)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its AR model is stored in bfloat16."""
    root = write_tiny_checkpoint(tmp_path_factory.mktemp("memory") / "tiny")
    file = root / "llm" / "model.safetensors"
    save_file({name: value.bfloat16() for name, value in load_file(file).items()}, file)
    return root


@pytest.fixture
def unknown_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a given budget limits a plan."""
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)


@pytest.mark.usefixtures("unknown_memory")
@pytest.mark.parametrize(("card_gib", "listeners", "voices"), [(80, 16, 16), (23.4, 16, 4), (11.4, 4, 1)])
def test_the_published_sizes_fit_cards(card_gib: float, listeners: int, voices: int) -> None:
    """80 GB, 24 GB (4090, L4) and 12 GB: what is planned stays within what a card has free."""
    options = EngineOptions(max_num_seqs=16, max_memory_bytes=int(card_gib * GIB))
    planned = plan_memory(published_sizes(), CUDA, options, FORMATS)
    assert (planned.listeners, planned.voices) == (listeners, voices)
    assert planned.total_bytes <= card_gib * GIB


@pytest.mark.usefixtures("unknown_memory")
def test_a_card_without_room_for_graphs_serves_without_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """12 GB with the flow in float32; in bfloat16 there is room, for fewer listeners than without graphs."""
    options = EngineOptions(max_num_seqs=16, max_memory_bytes=int(11.4 * GIB))
    planned = plan_memory(published_sizes(), CUDA, options, FORMATS)
    assert planned.graph_bytes == 0
    assert planned.missing_graph_bytes == int(options.graph_memory * (options.max_memory_bytes or 0))
    planned.log(16)
    assert "expected room for CUDA graphs, got none" in caplog.text
    narrow = replace(FORMATS, flow="bfloat16")
    with_graphs = plan_memory(published_sizes(), CUDA, options, narrow)
    without = plan_memory(published_sizes(), CUDA, replace(options, graph_seconds=0), narrow)
    assert with_graphs.graph_bytes > 0 == with_graphs.missing_graph_bytes == without.missing_graph_bytes
    assert with_graphs.listeners < without.listeners


@pytest.mark.usefixtures("unknown_memory")
def test_a_card_that_is_too_small_is_refused_with_numbers() -> None:
    words = r"weights 5702 MiB, KV cache of 1 slots .*: \d+ MiB, but cuda has 6144 MiB"
    with pytest.raises(DeviceMemoryError, match=words):
        plan_memory(published_sizes(), CUDA, EngineOptions(max_memory_bytes=6 * GIB), FORMATS)


def test_the_command_prints_a_row_for_each_card(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a GPU and without files; a card that is too small is said to be."""
    main(["--gib", "80", "24", "6", "--listeners", "64"])
    rows = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert len({len(row) for row in cells}) == 1
    large, middle, small = cells[2:]
    assert large[0] == "80 GB"
    assert 64 >= int(large[-3]) >= int(large[-2]) > 0
    assert 64 >= int(large[-1]) > int(middle[-1]) > 0
    assert small[1].startswith("refused: weights")
    assert small[-3:] == ["0", "0", "0"]


def test_every_plan_fits_its_budget_and_more_memory_never_means_fewer() -> None:
    before = (0, 0)
    for budget in range(205, 1000):
        planned = plan(budget)
        assert planned.total_bytes <= budget
        assert planned.voice_cache_bytes >= NEEDS.voice
        assert 4 * planned.voices >= planned.listeners >= before[0]
        assert planned.describe()["planned_bytes"] == sum(planned.parts.values())
        before = planned.listeners, planned.voices
    assert before == (16, 16)
    assert plan(None).listeners == plan(None).voices == 16
    with pytest.raises(DeviceMemoryError):
        plan(204)


def test_sizes_from_the_files_are_those_of_the_loaded_model(tiny: Path) -> None:
    """But for the vocoder, whose weight norm is folded, and what is computed at the start."""
    sizes, model = read_sizes(tiny), load(tiny, device="cpu")
    assert sizes.llm_numbers == sum(value.numel() for value in model.llm.state_dict().values())
    planned = sizes.llm_numbers * 4 + sizes.other_bytes
    assert planned == pytest.approx(weight_bytes(model), rel=0.01)


def test_an_engine_serves_fewer_where_memory_is_short(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    """Three jobs in three voices, where two listeners and one voice fit: they take turns, and all are spoken."""
    options = EngineOptions(max_num_seqs=8)
    whole = BatchEngine(model, options)
    needs = memory.MemoryNeeds.of(
        weight_bytes(model), model.llm.config, model.flow.config, options, whole._loop.audio._limits, CPU, model.dtype
    )
    whole.close()
    engine = BatchEngine(model, replace(options, max_memory_bytes=needs._least(2)))
    try:
        assert (engine.info.max_streams, engine.info.memory["voices_at_once"]) == (2, 1)
        assert "expected what fits into" in caplog.text
        jobs = [job(model, voice=replace(made_up_voice(model), digest=name)) for name in ("a", "b", "c")]
        handles = [engine.submit(each) for each in jobs]
        assert engine.num_running() <= 1
        for handle in handles:
            assert sum(len(chunk) for chunk in handle.chunks()) > 0
        assert len(wave_of(engine, jobs[0])) > 0
    finally:
        engine.close()


@pytest.mark.parametrize("faster", [True, False])
def test_bfloat16_weights_stay_so_on_a_cpu(tiny: Path, monkeypatch: pytest.MonkeyPatch, faster: bool) -> None:
    """Unless float32 is measured to be faster, and fits; they are spoken with in either."""
    monkeypatch.setattr(loading, "bfloat16_decodes_faster", lambda: faster)
    sizes = read_sizes(tiny)
    assert sizes.llm_dtype == torch.bfloat16
    wanted = torch.bfloat16 if faster else torch.float32
    engine = load_engine(tiny, device="cpu", options=EngineOptions(max_num_seqs=2))
    try:
        assert {parameter.dtype for parameter in engine._model.llm.parameters()} == {wanted}
        assert engine._loop.decode.decoder.cache.kv.dtype == wanted
    finally:
        engine.close()
    tight = EngineOptions(max_num_seqs=2, max_memory_bytes=1)
    assert pick_formats(sizes, CPU, tight).llm == "bfloat16"
    assert pick_formats(sizes, CPU, replace(tight, deterministic=True)) == EXACT_FORMATS


def test_layers_in_int8_are_planned_and_spoken_with(tiny: Path) -> None:
    """The plan counts a byte a weight for them, and what is loaded takes no more."""
    formats = StageFormats("int8", "float32", "float32")
    engine = load_engine(tiny, device="cpu", options=EngineOptions(max_num_seqs=2, formats=formats))
    try:
        planned = engine.info.memory["parts"]["weights"]
        assert planned == pytest.approx(weight_bytes(engine._model), rel=0.01)
        assert any(tensor.dtype == torch.int8 for tensor in engine._model.llm.buffers())
    finally:
        engine.close()
    other = plan_memory(read_sizes(tiny), CPU, EngineOptions(max_num_seqs=2), FORMATS)
    assert planned < other.parts["weights"]
