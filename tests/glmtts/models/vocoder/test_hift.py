from __future__ import annotations

import math
from dataclasses import asdict, replace

import pytest
import torch
from torch import Tensor

from glmtts.config import HiFTConfig
from glmtts.errors import CheckpointError
from glmtts.models.vocoder.hift import STFT, HiFT, hift_config_from_reference
from glmtts.models.vocoder.interface import Vocoder
from tests.helpers.golden import load_case

TINY = HiFTConfig(in_channels=8, base_channels=16, f0_cond_channels=8)
CORRECTED = replace(TINY, in_channels=80, mel_corrections=1)
either = pytest.mark.parametrize("config", [TINY, CORRECTED], ids=["plain", "corrected"])


@pytest.fixture(autouse=True)
def _fixed_weights() -> None:
    torch.manual_seed(5)


def voiced(config: HiFTConfig = TINY) -> HiFT:
    """A random vocoder in float64 whose f0 is about 200 Hz and whose output is well within its limits."""
    model = HiFT(config).double()
    with torch.no_grad():
        model.f0_predictor.classifier.weight.mul_(300.0)
        model.f0_predictor.classifier.bias.fill_(200.0)
    return model.fold_weight_norm().eval()


def mel(batch: int, frames: int, channels: int = 8) -> Tensor:
    return torch.randn(batch, channels, frames, dtype=torch.float64)


def test_golden() -> None:
    """f0 and waveform equal the published ones; this waveform is so soft that 2e-4 would pass a wrong one."""
    info, tensors, state = load_case("hift")
    config = hift_config_from_reference({**info["config"], "f0_cond_channels": info["f0_cond_channels"]})
    model = HiFT(config)
    model.load_state_dict(state, strict=True)
    torch.testing.assert_close(model.f0(tensors["mel"]), tensors["f0"], rtol=0, atol=2e-4)
    torch.testing.assert_close(model.decode(tensors["mel"], tensors["source"]), tensors["wav"], rtol=0, atol=2e-6)


def test_reference_config() -> None:
    """The published nested istft_params become flat names; an unknown key is an error with its name."""
    flat = asdict(TINY)
    nested = {"n_fft": flat.pop("istft_n_fft"), "hop_len": flat.pop("istft_hop_len")}
    assert hift_config_from_reference({**flat, "istft_params": nested}) == TINY
    with pytest.raises(CheckpointError, match="istft_window"):
        hift_config_from_reference({**flat, "istft_params": {**nested, "window": "hann"}})


def test_lists_that_do_not_pair_up() -> None:
    """A config whose per-stage lists have different lengths is an error with the lengths."""
    with pytest.raises(CheckpointError, match="'source_resblock_kernel_sizes': 2"):
        HiFT(HiFTConfig(source_resblock_kernel_sizes=(7, 7)))


def test_corrections_need_a_known_mel() -> None:
    """A mel of eight bands is an error with expected and actual values."""
    with pytest.raises(CheckpointError, match=r"mel_corrections: expected .* got \(24000, 480, 8\)"):
        HiFT(replace(TINY, mel_corrections=1))


def test_other_sizes() -> None:
    """Hop and length follow the config: two stages, an odd hop of 63, 5 harmonics, one kernel."""
    config = HiFTConfig(
        in_channels=8,
        base_channels=8,
        nb_harmonics=4,
        upsample_rates=(7, 3),
        upsample_kernel_sizes=(15, 7),
        istft_n_fft=12,
        istft_hop_len=3,
        resblock_kernel_sizes=(3,),
        resblock_dilation_sizes=((1, 2),),
        source_resblock_kernel_sizes=(7, 11),
        source_resblock_dilation_sizes=((1,), (1,)),
        f0_cond_channels=8,
    )
    model: Vocoder = HiFT(config)
    assert model.hop == 63
    assert model(mel(2, 5).float(), torch.tensor([1, 2])).shape == (2, 5 * 63)


def test_folded_equals_unfolded() -> None:
    """Folding weight norm changes parameter names and nothing else, and may be done twice."""
    model = HiFT(TINY)
    x, seeds = mel(1, 4).float(), torch.tensor([3])
    before = model(x, seeds)
    assert any("parametrizations" in name for name in model.state_dict())
    folded = model.fold_weight_norm().fold_weight_norm()
    assert not any("parametrizations" in name for name in folded.state_dict())
    torch.testing.assert_close(folded(x, seeds), before, rtol=0, atol=1e-6)


@either
def test_gradients(config: HiFTConfig) -> None:
    """All parameters get a finite gradient, from the waveform or from f0, even where the magnitude is clamped."""
    model = HiFT(config)
    with torch.no_grad():
        model.conv_post.bias[:3] = 200.0  # exp would be inf
    x = mel(1, 4, config.in_channels).float()
    f0 = model.f0(x)
    source, _ = model.source(f0, torch.tensor([1]))
    torch.autograd.backward([model.decode(x, source).square().mean(), f0.mean()])
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_audio_limit() -> None:
    """A generator that is too loud is clipped at the config's limit."""
    model = voiced()
    with torch.no_grad():
        model.conv_post.bias[:9] = 8.0
    assert model(mel(1, 4), torch.tensor([1])).abs().max().item() == pytest.approx(TINY.audio_limit)


def test_rows_and_seeds() -> None:
    """A row equals the row alone, whatever its neighbours; only its seed determines its noise."""
    model, x = voiced(), mel(2, 6)
    both = model(x, torch.tensor([11, 12]))
    torch.testing.assert_close(model(x[1:], torch.tensor([12])), both[1:], rtol=0, atol=1e-9)
    assert (model(x[1:], torch.tensor([11])) - both[1:]).abs().max() > 1e-6


@pytest.mark.parametrize(("n_fft", "hop"), [(16, 4), (12, 3), (20, 10)])
def test_stft_and_inverse_are_torchs(n_fft: int, hop: int) -> None:
    """Analysis and synthesis equal torch.stft and torch.istft with a periodic Hann window, edges included."""
    transform, window = STFT(n_fft, hop), torch.hann_window(n_fft)
    wave = torch.randn(2, hop * 9)
    spectrum = torch.stft(wave, n_fft, hop, window=window, return_complex=True)
    ours = transform.analyse(wave[:, None])
    torch.testing.assert_close(ours, torch.cat([spectrum.real, spectrum.imag], 1), rtol=0, atol=1e-5)

    magnitude, phase = torch.rand(2, n_fft // 2 + 1, 10), torch.randn(2, n_fft // 2 + 1, 10)
    theirs = torch.istft(torch.polar(magnitude, phase), n_fft, hop, window=window)
    torch.testing.assert_close(transform.synthesise(magnitude, phase), theirs, rtol=0, atol=1e-5)


@either
def test_joined_windows_equal_the_whole(config: HiFTConfig) -> None:
    """Windows of 20 new frames with context on both sides and carried phase, joined, equal the whole utterance."""
    model, x, seeds = voiced(config), mel(2, 90, config.in_channels), torch.tensor([1, 2])
    context, step, pieces = model.context_frames, 20, []
    phase: Tensor | None = None
    for begin in range(0, 90, step):
        end, start = min(begin + step, 90), max(begin - context, 0)
        wave, phases = model.render_window(
            x[:, :, start : end + context], seeds, start_frame=start, history=begin - start, phase_b=phase
        )
        pieces.append(wave[:, (begin - start) * model.hop : (end - start) * model.hop])
        phase = phases[:, end - start - 1]
    torch.testing.assert_close(torch.cat(pieces, 1), model(x, seeds), rtol=0, atol=1e-5)


@either
def test_context_frames_is_the_receptive_field(config: HiFTConfig) -> None:
    """A frame's mel changes no sample `context_frames` earlier, but does change one 3 frames closer."""
    model, x, seeds = voiced(config), mel(1, 60, config.in_channels), torch.tensor([1])
    changed = x.clone()
    changed[:, :, 40] += 3.0
    difference = (model(changed, seeds) - model(x, seeds))[0].abs()
    first = difference.nonzero()[0].item() / model.hop
    assert 40 - model.context_frames <= first <= 40 - model.context_frames + 3


def test_a_batch_of_windows_at_different_places() -> None:
    """Rows of a batch may start at different samples of their utterances: each is its own utterance's window."""
    model = voiced()
    f0, seeds = 150.0 + 100.0 * torch.rand(2, 12), torch.tensor([7, 8])
    whole, phases = model.source(f0, seeds)
    starts = torch.tensor([3, 5])
    window, _ = model.source(
        torch.stack([f0[0, 3:8], f0[1, 5:10]]),
        seeds,
        start_sample=starts * model.hop,
        start_phase=torch.stack([phases[0, 2], phases[1, 4]]),
    )
    kept = 5 * model.hop - model.hop // 2
    for row, start in enumerate(starts.tolist()):
        expected = whole[row, 0, start * model.hop :][:kept]
        torch.testing.assert_close(window[row, 0, :kept], expected, rtol=0, atol=1e-5)


def test_sine_of_a_steady_pitch() -> None:
    """Steady f0 gives sines of f0 and its harmonics, after half a frame in which the phase is held."""
    model = voiced(HiFTConfig(in_channels=8, base_channels=16, f0_cond_channels=8, nsf_sigma=0.0))
    hop, f0 = model.hop, 230.0
    source, phases = model.source(torch.full((1, 6), f0), torch.tensor([1]))
    samples = torch.arange(6 * hop, dtype=torch.float64)
    from_centre = (samples + 0.5 - hop / 2).clamp(0, 5 * hop)
    turns = (hop + from_centre) * f0 / 24000  # one hop has been summed at the first centre
    sines = 0.1 * torch.sin(2 * math.pi * turns[:, None] * torch.arange(1, 10))
    expected = torch.tanh(model.m_source.l_linear(sines))[:, 0]
    torch.testing.assert_close(source[0, 0], expected, rtol=0, atol=1e-5)
    at_centres = torch.arange(1, 7, dtype=torch.float64) * hop * f0 / 24000
    apart = (phases[0] - at_centres + 0.5) % 1.0 - 0.5  # turns: 0.999999 is next to 0
    assert apart.abs().max() < 1e-5


@pytest.mark.parametrize(("f0", "amplitude"), [(10.0, 0.1 / 3), (200.0, 0.003)])
def test_noise_level(f0: float, amplitude: float) -> None:
    """Noise has amplitude 0.1/3 up to 10 Hz, where there is no sine at all, and 0.003 above."""
    model = voiced()
    pitch = torch.full((1, 100), f0)
    noises = [torch.atanh(model.source(pitch, torch.tensor([seed]))[0]) for seed in (1, 2)]
    # Two seeds share sines and bias: their difference is noise alone, of twice the variance.
    level = (noises[0] - noises[1]).std() / math.sqrt(2) / model.m_source.l_linear.weight.norm()
    assert level.item() == pytest.approx(amplitude, rel=0.03)
    if f0 <= 10.0:
        alone = (
            noises[0] - model.m_source.l_linear.bias
        ).square().mean().sqrt() / model.m_source.l_linear.weight.norm()
        assert alone.item() == pytest.approx(amplitude, rel=0.03)


def test_f0_is_a_magnitude() -> None:
    """f0 is the absolute value of the predictor's output."""
    model, x = voiced(), mel(1, 4)
    f0 = model.f0(x)
    with torch.no_grad():
        model.f0_predictor.classifier.weight.neg_()
        model.f0_predictor.classifier.bias.neg_()
    assert f0.min() > 0.0
    assert torch.equal(model.f0(x), f0)
