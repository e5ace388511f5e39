"""One tiny checkpoint for all tests of the engine, and engines that leave no thread and no slot behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest
import torch

from glmtts.checkpoint.loader import Model, load
from glmtts.config import HiFTConfig
from glmtts.engine.config import EngineOptions
from glmtts.engine.runtime.engine import BatchEngine
from glmtts.models.vocoder.hift import HiFT
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint

MakeEngine: TypeAlias = Callable[..., BatchEngine]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Speaks 3 to 6 tokens a text id: it never ends by itself before."""
    ratios = {"min_ratio": 3.0, "max_ratio": 6.0}
    return load(write_tiny_checkpoint(tmp_path_factory.mktemp("engine") / "tiny", generation=ratios), device="cpu")


@pytest.fixture(scope="session")
def vocoder() -> HiFT:
    """A small random one with a pitch of about 150 Hz, for mels of 8 bins."""
    torch.manual_seed(0)
    hift = HiFT(HiFTConfig(in_channels=8, base_channels=16, f0_cond_channels=8)).fold_weight_norm().eval()
    with torch.no_grad():
        hift.f0_predictor.classifier.bias.fill_(150.0)
        hift.f0_predictor.classifier.weight.mul_(20.0)
    return hift


@pytest.fixture
def make_engine(model: Model) -> Iterator[MakeEngine]:
    """Makes engines with the given options; at the end no slot is in use and no thread of theirs is left."""
    before = set(threading.enumerate())
    engines: list[BatchEngine] = []

    def make(of: Model = model, **options: object) -> BatchEngine:
        engine = BatchEngine(of, EngineOptions(**options))  # type: ignore[arg-type]  # tests give each its own type
        engine._loop.decode.decoder.cache.fill_nan()  # whoever reads what no row has written gets NaN
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.close()
        assert engine.stats().slots_used == 0
        assert len(engine._scheduler._slots._free) == engine.info.max_streams
    assert set(threading.enumerate()) <= before
