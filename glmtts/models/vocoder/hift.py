"""HiFT vocoder (HiFTNet, Li et al. 2023, arXiv:2309.09493): log-mel to waveform, 24 kHz if official.

An f0 predictor, a harmonic-plus-noise source, and a generator that ends in an inverse STFT.
All methods are differentiable; weight norm stays parametrised until `fold_weight_norm`.
Dimension names: b batch, c channels, t mel frames, s samples, n window samples, k frequency bins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from glmtts.config import MEL_BY_RATE, HiFTConfig, from_mapping
from glmtts.errors import CheckpointError
from glmtts.models.vocoder.hift_source import HarmonicSource
from glmtts.models.vocoder.mel_correction import MelCorrection
from glmtts.models.vocoder.snake import Snake

_MAX_MAGNITUDE = 100.0
_F0_LAYERS = 5


def hift_config_from_reference(values: Mapping[str, Any], *, where: str = "hift config") -> HiFTConfig:
    """HiFTConfig from the published code's arguments, whose `istft_params` is nested. Raises CheckpointError."""
    flat = {key: value for key, value in values.items() if key != "istft_params"}
    flat.update({f"istft_{key}": value for key, value in values.get("istft_params", {}).items()})
    return from_mapping(HiFTConfig, flat, where=where)


class HiFT(nn.Module):
    """Mel (b, in_channels, t) to waveform (b, t × hop) in [−audio_limit, audio_limit]."""

    is_windowable = True

    def __init__(self, config: HiFTConfig) -> None:
        super().__init__()
        _check(config)
        self.config = c = config
        self.sample_rate = c.sampling_rate
        self.hop = math.prod(c.upsample_rates) * c.istft_hop_len
        self.correction = MelCorrection(MEL_BY_RATE[c.sampling_rate]) if c.mel_corrections else None
        receptive_field = self.correction.context_frames if self.correction is not None else 0
        self.context_frames = _context_frames(c) + c.mel_corrections * receptive_field
        self.f0_predictor = F0Predictor(c.in_channels, c.f0_cond_channels)
        self.m_source = HarmonicSource(c, self.hop)
        self.stft = STFT(c.istft_n_fft, c.istft_hop_len)
        self.conv_pre = weight_norm(nn.Conv1d(c.in_channels, c.base_channels, 7, padding=3))
        self.ups = nn.ModuleList()
        self.source_downs = nn.ModuleList()
        self.source_resblocks = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        channels, remaining = c.base_channels, math.prod(c.upsample_rates)
        stages = zip(c.upsample_rates, c.upsample_kernel_sizes, strict=True)
        sources = zip(c.source_resblock_kernel_sizes, c.source_resblock_dilation_sizes, strict=True)
        for (rate, kernel), (source_kernel, source_dilations) in zip(stages, sources, strict=True):
            self.ups.append(
                weight_norm(nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2))
            )
            channels, remaining = channels // 2, remaining // rate
            self.source_downs.append(_source_down(c.istft_n_fft + 2, channels, remaining))
            self.source_resblocks.append(ResBlock(channels, source_kernel, source_dilations))
            for block_kernel, dilations in zip(c.resblock_kernel_sizes, c.resblock_dilation_sizes, strict=True):
                self.resblocks.append(ResBlock(channels, block_kernel, dilations))
        self.conv_post = weight_norm(nn.Conv1d(channels, c.istft_n_fft + 2, 7, padding=3))

    def forward(self, mel_bct: Tensor, seeds_b: Tensor) -> Tensor:
        """A whole utterance: mel (b, c, t), seeds (b,) int64 of the source's noise → waveform (b, t × hop)."""
        return self.render_window(mel_bct, seeds_b)[0]

    def render_window(
        self,
        mel_bct: Tensor,
        seeds_b: Tensor,
        *,
        start_frame: int | Tensor = 0,
        history: int | Tensor = 0,
        phase_b: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Waveform (b, t × hop) of the mel (b, c, t), part of an utterance, and the phases (b, t): see `Vocoder`.

        Samples at least `context_frames` inside the window, or at an end that is the utterance's own, equal those of
        the whole utterance; phases do if they are inside by the f0 predictor's receptive field.
        """
        f0_bt = self.f0(mel_bct)
        start_phase = None
        if phase_b is not None:
            # Counted back from the last frame of the history: at the window's start the f0 lacks its context, and an
            # error there would shift every later phase.
            last_b = torch.as_tensor(history, device=f0_bt.device).expand(len(phase_b)) - 1
            with torch.no_grad():
                relative_bt = self.m_source.phase(f0_bt, torch.zeros_like(phase_b))
                since_start = relative_bt.gather(1, last_b.clamp(min=0)[:, None])[:, 0]
            start_phase = torch.where(last_b < 0, 0.0, phase_b - since_start)
        source_b1s, phase_bt = self.source(f0_bt, seeds_b, start_sample=start_frame * self.hop, start_phase=start_phase)
        return self.decode(mel_bct, source_b1s), phase_bt

    def f0(self, mel_bct: Tensor) -> Tensor:
        """Fundamental frequency in Hz, ≥ 0, one per frame: (b, t)."""
        f0_bt: Tensor = self.f0_predictor(mel_bct)
        return f0_bt

    def source(
        self,
        f0_bt: Tensor,
        seeds_b: Tensor,
        *,
        start_sample: int | Tensor = 0,
        start_phase: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The excitation (b, 1, t × hop), and the state to carry: the phase (b, t) at each frame's centre.

        The phase is the fundamental's, in turns, float64. A window from frame k of an utterance takes
        `start_sample` = k × hop (an int, or int64 (b,)) and `start_phase` = the phase (b,) of frame k − 1, and yields
        the whole utterance's samples except in its last half frame: there the phase is held, as at an utterance's end,
        because it depends on the next frame. `start_sample` 0 is the start of an utterance.
        """
        batch = f0_bt.shape[0]
        start_sample_b = torch.as_tensor(start_sample, dtype=torch.int64, device=f0_bt.device).expand(batch)
        if start_phase is None:
            start_phase = f0_bt.new_zeros(batch, dtype=torch.float64)
        source_b1s, phase_bt = self.m_source(f0_bt, seeds_b, start_sample_b, start_phase)
        return source_b1s, phase_bt

    def decode(self, mel_bct: Tensor, source_b1s: Tensor) -> Tensor:
        """Waveform (b, t × hop) from the mel (b, c, t) and an excitation (b, 1, t × hop)."""
        dtype = self.source_downs.get_parameter("0.weight").dtype
        source_stft = self.stft.analyse(source_b1s).to(dtype)
        kernels = len(self.config.resblock_kernel_sizes)
        x = self.conv_pre(mel_bct).to(dtype)
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, self.config.lrelu_slope))
            if i == len(self.ups) - 1:
                x = F.pad(x, (1, 0), mode="reflect")  # a centred STFT has one more frame than samples / hop
            x = x + self.source_resblocks[i](self.source_downs[i](source_stft))
            blocks = self.resblocks[i * kernels : (i + 1) * kernels]
            x = sum(block(x) for block in blocks) / kernels
        x = x.to(mel_bct.dtype)
        log_magnitude, phase = self.conv_post(F.leaky_relu(x)).chunk(2, dim=1)  # slope 0.01 here, not the config's
        # Clamped before exp, not after: the same values, without inf × 0 in the gradient.
        magnitude = torch.exp(log_magnitude.clamp(max=math.log(_MAX_MAGNITUDE)))
        wave_bs = self.stft.synthesise(magnitude, torch.sin(phase))
        if self.correction is not None:
            for _ in range(self.config.mel_corrections):
                wave_bs = self.correction(wave_bs, mel_bct)
        return wave_bs.clamp(-self.config.audio_limit, self.config.audio_limit)

    def to_bfloat16(self) -> None:
        """Casts the upsampling and the residual blocks, which are nearly all of the work, to bfloat16; call it after
        `fold_weight_norm`. The f0, the source, whose phase adds up, and the last spectrum stay in float32."""
        for part in (self.ups, self.source_downs, self.source_resblocks, self.resblocks):
            part.bfloat16()

    def fold_weight_norm(self) -> HiFT:
        """Replaces each parametrised weight with its value, for inference; idempotent. Returns self."""
        for module in self.modules():
            if isinstance(module, Snake):
                module.fold()
            if is_parametrized(module, "weight"):
                remove_parametrizations(module, "weight")
        return self


class F0Predictor(nn.Module):
    """Convolutions with ELU and a linear layer: mel (b, c, t) → |f0| in Hz (b, t)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.condnet = nn.Sequential()
        for i in range(_F0_LAYERS):
            self.condnet.append(weight_norm(nn.Conv1d(channels if i else in_channels, channels, 3, padding=1)))
            self.condnet.append(nn.ELU())
        self.classifier = nn.Linear(channels, 1)

    def forward(self, mel_bct: Tensor) -> Tensor:
        hidden_btc = self.condnet(mel_bct).transpose(1, 2)
        return torch.abs(self.classifier(hidden_btc).squeeze(2))


class ResBlock(nn.Module):
    """For each dilation: Snake, dilated convolution, Snake, undilated convolution, added to the input."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_conv(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(_conv(channels, kernel, 1) for _ in dilations)
        self.activations1 = nn.ModuleList(Snake(channels) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(channels) for _ in dilations)

    def forward(self, x_bct: Tensor) -> Tensor:
        for act1, conv1, act2, conv2 in zip(
            self.activations1, self.convs1, self.activations2, self.convs2, strict=True
        ):
            x_bct = x_bct + conv2(act2(conv1(act1(x_bct))))
        return x_bct


class STFT(nn.Module):
    """Centred STFT with a periodic Hann window, and its inverse, as convolutions: fast for small n_fft, not complex."""

    analysis: Tensor
    synthesis: Tensor
    envelope: Tensor

    def __init__(self, n_fft: int, hop: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        window_n = torch.hann_window(n_fft, dtype=torch.float64)
        angle_kn = 2.0 * math.pi / n_fft * torch.outer(torch.arange(n_fft // 2 + 1), torch.arange(n_fft)).double()
        basis_cn = torch.cat([torch.cos(angle_kn), -torch.sin(angle_kn)]) * window_n  # real rows, then imaginary
        twice_k1 = torch.full((n_fft // 2 + 1, 1), 2.0, dtype=torch.float64)
        twice_k1[[0, -1]] = 1.0  # DC and Nyquist have no mirror image
        buffers = {
            "analysis": basis_cn[:, None],
            "synthesis": (basis_cn * twice_k1.repeat(2, 1) / n_fft)[:, None],
            "envelope": window_n.square()[None, None],
        }
        for name, value in buffers.items():
            self.register_buffer(name, value.float(), persistent=False)

    def analyse(self, wave_b1s: Tensor) -> Tensor:
        """Real, then imaginary parts (b, n_fft + 2, s / hop + 1) of the waveform (b, 1, s), padded by reflection."""
        half = self.n_fft // 2
        return F.conv1d(F.pad(wave_b1s, (half, half), mode="reflect"), self.analysis, stride=self.hop)

    def synthesise(self, magnitude_bkt: Tensor, phase_bkt: Tensor) -> Tensor:
        """Waveform (b, (t − 1) × hop) by weighted overlap-add: the least-squares inverse, as torch.istft."""
        spectrum = torch.cat([magnitude_bkt * torch.cos(phase_bkt), magnitude_bkt * torch.sin(phase_bkt)], 1)
        summed = F.conv_transpose1d(spectrum, self.synthesis, stride=self.hop)[:, 0]
        weight = F.conv_transpose1d(torch.ones_like(spectrum[:1, :1]), self.envelope, stride=self.hop)[:, 0]
        half = self.n_fft // 2
        return summed[:, half:-half] / weight[:, half:-half]


def _conv(channels: int, kernel: int, dilation: int) -> nn.Module:
    padding = (kernel - 1) * dilation // 2
    conv: nn.Module = weight_norm(nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=padding))
    return conv


def _source_down(spectrum: int, channels: int, rate: int) -> nn.Conv1d:
    """Strided convolution from the source STFT's frames to a stage's frames, `rate` times fewer."""
    if rate == 1:
        return nn.Conv1d(spectrum, channels, 1)
    return nn.Conv1d(spectrum, channels, 2 * rate, stride=rate, padding=rate // 2)


def _check(c: HiFTConfig) -> None:
    """Raises CheckpointError for lists of unequal lengths (one entry per stage, or one per residual block), and for
    corrections towards a mel that is not in MEL_BY_RATE."""
    for names in (
        ("upsample_rates", "upsample_kernel_sizes", "source_resblock_kernel_sizes", "source_resblock_dilation_sizes"),
        ("resblock_kernel_sizes", "resblock_dilation_sizes"),
    ):
        lengths = {name: len(getattr(c, name)) for name in names}
        if len(set(lengths.values())) > 1:
            raise CheckpointError(f"hift config: expected lists of equal lengths, got {lengths}")
    if c.mel_corrections:
        actual = c.sampling_rate, math.prod(c.upsample_rates) * c.istft_hop_len, c.in_channels
        known = [(mel.sample_rate, mel.hop, mel.n_mels) for mel in MEL_BY_RATE.values()]
        if actual not in known:
            message = f"hift config: mel_corrections: expected (rate, hop, mels) to be one of {known}, got {actual}"
            raise CheckpointError(message)


def _context_frames(c: HiFTConfig) -> int:
    """Frames on either side that a sample depends on: the half-widths of all kernels, summed from output to input."""
    rate = math.prod(c.upsample_rates)  # of the current stage, per frame
    half_window = c.istft_n_fft / 2 / c.istft_hop_len / rate
    blocks = max(map(_receptive_field, c.resblock_kernel_sizes, c.resblock_dilation_sizes))
    receptive_field = half_window + 3 / rate
    from_source = 0.0
    for i in reversed(range(len(c.upsample_rates))):
        receptive_field += blocks / rate
        source_block = _receptive_field(c.source_resblock_kernel_sizes[i], c.source_resblock_dilation_sizes[i])
        from_source = max(from_source, receptive_field + (source_block + 1) / rate + half_window)
        receptive_field += c.upsample_kernel_sizes[i] / 2 / rate
        rate //= c.upsample_rates[i]
    from_f0 = from_source + 1 + _F0_LAYERS  # the phase is interpolated between neighbouring frames
    return math.ceil(max(receptive_field + 3, from_f0))


def _receptive_field(kernel: int, dilations: tuple[int, ...]) -> int:
    return (kernel - 1) // 2 * (sum(dilations) + len(dilations))
