"""Loads a checkpoint into an engine and warms it up."""

from __future__ import annotations

from pathlib import Path

import torch

from glmtts.checkpoint.loader import Model, load, pick_device
from glmtts.checkpoint.precision import cast_stages, llm_dtype
from glmtts.checkpoint.verify import explain
from glmtts.config import EXACT_FORMATS
from glmtts.dsp.audio import FRAMES_PER_TOKEN
from glmtts.engine.api import Job
from glmtts.engine.config import DEFAULT_OPTIONS, EngineOptions
from glmtts.engine.runtime.engine import BatchEngine
from glmtts.errors import CheckpointError
from glmtts.text.frontend.frontend import Segment
from glmtts.text.replacements import read_replacements
from glmtts.voice.voice import Voice

WARM_UP_PROMPT_TOKENS, WARM_UP_TEXT_IDS = 50, 20
"""Length of the prompt and of the text that are synthesised before the first request."""


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
    formats = EXACT_FORMATS if options.deterministic else options.formats
    target = pick_device(device)
    dtype = llm_dtype(formats, target)
    try:
        model = load(path, device=target, dtype=dtype, replace=replace_words, vocos_sha256=vocos_sha256)
    except CheckpointError as error:
        raise explain(Path(path), error) from error
    cast_stages(model, formats)
    model.frontend.warm()
    engine = BatchEngine(model, options)
    try:
        warm_up(engine, model)
    except BaseException:
        engine.close()
        raise
    return engine


def warm_up(engine: BatchEngine, model: Model) -> None:
    """Synthesises once at each sample rate, so that kernels are selected and memory pools filled."""
    for rate, mel in model.voice_maker.mels.items():
        voice = Voice(
            speaker=torch.ones(model.flow.config.spk_embed_dim),
            prompt_tokens=torch.zeros(WARM_UP_PROMPT_TOKENS, dtype=torch.int64),
            prompt_mels={rate: torch.zeros(WARM_UP_PROMPT_TOKENS * FRAMES_PER_TOKEN, mel.n_mels)},
            prompt_text=(model.special.pad,),
            reference_text="",
            digest="",
        )
        segment = Segment(0, "", (model.special.pad,) * WARM_UP_TEXT_IDS)
        for _ in engine.submit(Job((segment,), voice, rate, seed=0)).chunks():
            pass
