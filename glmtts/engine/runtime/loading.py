"""Loads a checkpoint into an engine and warms it up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from glmtts.checkpoint.loader import Model, checkpoint_folder, load, pick_device
from glmtts.checkpoint.model_sizes import ModelSizes, read_sizes
from glmtts.checkpoint.part_times import PartTimes
from glmtts.checkpoint.precision import bfloat16_decodes_faster, cast_stages, flow_dtype, llm_dtype
from glmtts.checkpoint.verify import explain
from glmtts.config import EXACT_FORMATS, StageFormats
from glmtts.dsp.audio import FRAMES_PER_TOKEN
from glmtts.engine.api import Job, Report
from glmtts.engine.config import DEFAULT_OPTIONS, ChunkSchedule, EngineOptions
from glmtts.engine.runtime.engine import BatchEngine, audio_limits_of
from glmtts.engine.runtime.memory_plan import MemoryNeeds, MemoryPlan, budget
from glmtts.engine.scheduling.chunking import Chunker
from glmtts.engine.scheduling.pace import Pace
from glmtts.errors import CheckpointError, DeviceMemoryError
from glmtts.models.llm.int8 import int8_bytes
from glmtts.text.frontend.frontend import Segment
from glmtts.text.replacements import read_replacements
from glmtts.voice.voice import Voice

WARM_UP_PROMPT_TOKENS, WARM_UP_TOKENS = 50, 60
"""Speech tokens of the prompt, and about as many as are synthesised before the first request, at most."""


def load_engine(
    path: str | Path,
    *,
    device: str = "auto",
    replacements: Path | None = None,
    vocos_sha256: str | None = None,
    options: EngineOptions = DEFAULT_OPTIONS,
) -> BatchEngine:
    """Loads the checkpoint in `path` and its dictionaries, and synthesises once, so that the first request is fast.

    Args:
        replacements: file of pronunciation overrides, see `glmtts.text.replacements.read_replacements`.
        vocos_sha256: hash that the 32 kHz vocoder's file must have; without it that vocoder is left out.
        options: their `formats` say in which number format each stage computes; with `deterministic` it is float32.

    Raises CheckpointError with all problems of the checkpoint and what to do about each, or if `replacements` can't be
    read, and DeviceMemoryError when the engine does not fit into memory.
    """
    replace_words = read_replacements(replacements) if replacements is not None else {}
    target, times = pick_device(device), PartTimes()
    try:
        with times.part("plan"):
            sizes = read_sizes(checkpoint_folder(path))
            formats = pick_formats(sizes, target, options)
            plan = plan_memory(sizes, target, options, formats)
        with times.part("checkpoint"):
            model = load(
                path, device=target, dtype=llm_dtype(formats, target), replace=replace_words, vocos_sha256=vocos_sha256
            )
    except CheckpointError as error:
        raise explain(Path(path), error) from error
    cast_stages(model, formats)
    with times.part("dictionaries"):
        model.frontend.warm()
    with times.part("engine"):
        engine = BatchEngine(model, options, plan)
    _prepare(engine, model, options, times)
    times.log("Engine started")
    return engine


def _prepare(engine: BatchEngine, model: Model, options: EngineOptions, times: PartTimes) -> None:
    """Records steps and warms up. If that raises, the engine is closed."""
    try:
        with times.part("CUDA graphs"):
            engine.record_steps()
        with times.part("warm-up"):
            warm_up(engine, model)
            if adapts_chunks(model, options):
                engine.adapt_chunks(measured_pace(warm_up(engine, model), options.chunk_schedule))
    except BaseException:
        engine.close()
        raise


def pick_formats(sizes: ModelSizes, device: torch.device, options: EngineOptions) -> StageFormats:
    """The stages' number formats. On a CPU, the AR model's `auto` is that of the files if that is bfloat16, unless
    float32 is measured to be faster and lets in as many listeners."""
    if options.deterministic:
        return EXACT_FORMATS
    if options.formats.llm != "auto" or device.type != "cpu" or sizes.llm_dtype != torch.bfloat16:
        return options.formats
    half, full = (replace(options.formats, llm=name) for name in ("bfloat16", "float32"))
    if bfloat16_decodes_faster():
        return half
    try:
        listeners = plan_memory(sizes, device, options, full).listeners
    except DeviceMemoryError:
        return half
    return full if listeners == options.max_num_seqs else half


def plan_memory(sizes: ModelSizes, device: torch.device, options: EngineOptions, formats: StageFormats) -> MemoryPlan:
    """The plan for a checkpoint of these sizes. Raises DeviceMemoryError if not even one listener fits."""
    cache_bytes = audio_limits_of(options, device).voice_cache_bytes
    needs = memory_needs(sizes, device, options, formats)
    return needs.plan(device, options.max_num_seqs, cache_bytes, budget(device, options))


def memory_needs(sizes: ModelSizes, device: torch.device, options: EngineOptions, formats: StageFormats) -> MemoryNeeds:
    """Those of a checkpoint of these sizes on the device, which need not be there."""
    limits, dtype = audio_limits_of(options, device), llm_dtype(formats, device)
    numbers, llm_config, flow_config = sizes.llm_numbers, sizes.llm_config, sizes.flow_config
    quantised = formats.llm == "int8"
    weights = int8_bytes(llm_config, numbers, dtype) if quantised else numbers * dtype.itemsize
    weights += sizes.other_bytes
    dtypes = dtype, flow_dtype(formats, device)
    return MemoryNeeds.of(weights, llm_config, flow_config, options, limits, device, *dtypes)


def adapts_chunks(model: Model, options: EngineOptions) -> bool:
    """Whether chunk sizes follow the measured pace: on a GPU, unless all must be the same at any load.

    A checkpoint that holds back a segment's first tokens, in case it is drawn again, would gain nothing.
    """
    return model.device.type == "cuda" and not options.deterministic and model.generation.tokens_per_id is None


def measured_pace(report: Report, schedule: ChunkSchedule) -> Pace:
    """That of a job with nothing beside it."""
    chunks = len(list(Chunker(schedule).remaining(report.speech_tokens)))
    seconds = report.stage_seconds
    return Pace(
        seconds["decode"] / max(1, report.speech_tokens), (seconds["flow"] + seconds["vocoder"]) / max(1, chunks)
    )


def warm_up(engine: BatchEngine, model: Model) -> Report:
    """Synthesises once at each sample rate, so that kernels are selected and memory pools filled.

    Returns the last report.
    """
    report = Report()
    generation = model.generation
    text_ids = max(1, int((WARM_UP_TOKENS - generation.extra_tokens) / max(1.0, generation.max_ratio)))
    for rate, mel in model.voice_maker.mels.items():
        voice = Voice(
            speaker=torch.ones(model.flow.config.spk_embed_dim),
            prompt_tokens=torch.zeros(WARM_UP_PROMPT_TOKENS, dtype=torch.int64),
            prompt_mels={rate: torch.zeros(WARM_UP_PROMPT_TOKENS * FRAMES_PER_TOKEN, mel.n_mels)},
            prompt_text=(model.special.pad,),
            reference_text="",
            digest="",
        )
        segment = Segment(0, "", (model.special.pad,) * text_ids)
        handle = engine.submit(Job((segment,), voice, rate, seed=0))
        for _ in handle.chunks():
            pass
        report = handle.report
    return report
