"""A checkpoint's files to a Model: the published tree and the nano one alike.

    llm/config.json, model*.safetensors [, generation.json]     the AR transformer and its sampling parameters
    [llm/spk_prompt_dict.yaml]                                  ids of the speakers that a fine-tuned one knows
    [llm/lora/adapter_config.json, adapter_model.safetensors]   a LoRA adapter of it, as PEFT saves one
    flow/config.yaml, flow.pt                                   tokens to mel
    hift/hift.pt [, config.json]                                24 kHz vocoder
    [vocos2d/generator_jit.ckpt]                                32 kHz vocoder; it is code: only with its sha256
    speech_tokenizer/config.json, preprocessor_config.json, model*.safetensors
    vq32k-phoneme-tokenizer/tokenizer.model, tokenizer_config.json
    frontend/campplus.onnx or campplus.pt [, able.json, lexicon_en.json.gz]
    [model.json]                                                {"name", "version", "languages"}

Files in brackets are optional. Loading is strict: the names in a weight file are exactly those of its module, except
for weights known to be unused. Nothing is downloaded, and no class that a config names is constructed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from glmtts.checkpoint import components
from glmtts.checkpoint.consistency import check_alignment_heads, check_sizes, special_ids
from glmtts.checkpoint.model_info import ModelInfo, read_info
from glmtts.checkpoint.part_times import PartTimes
from glmtts.checkpoint.speakers import UNKNOWN, Speakers, read_speakers
from glmtts.config import MEL_BY_RATE, GenerationConfig
from glmtts.errors import CheckpointError
from glmtts.models.encoders.speaker_encoder import CampPlus
from glmtts.models.encoders.speech_tokenizer import WhisperVQ
from glmtts.models.flow.flow import Flow
from glmtts.models.llm.kv_cache import slot_positions
from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import SpecialIds
from glmtts.models.llm.prompt_score import PromptScore, score_prompt
from glmtts.models.vocoder.interface import Vocoder
from glmtts.text.frontend.frontend import Frontend
from glmtts.text.tokenizer import Tokenizer
from glmtts.voice.prompt_check import PromptCheck
from glmtts.voice.voice import VoiceMaker

TOKENIZER = "vq32k-phoneme-tokenizer"


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded checkpoint: modules on `device` in eval mode, without gradients, and their parameters.

    `dtype` is the AR transformer's; the other modules are float32. `vocoders` by output rate in Hz. `speakers`: see
    `glmtts.checkpoint.speakers`.
    """

    info: ModelInfo
    llm: Llama
    special: SpecialIds
    generation: GenerationConfig
    flow: Flow
    vocoders: Mapping[int, Vocoder]
    speech_tokenizer: WhisperVQ
    speaker_encoder: CampPlus
    frontend: Frontend
    device: torch.device
    dtype: torch.dtype
    speakers: Speakers = field(default_factory=dict)

    @property
    def sample_rates(self) -> tuple[int, ...]:
        """The output rates in Hz without resampling, the default first."""
        return tuple(sorted(self.vocoders))

    @property
    def max_positions(self) -> int:
        """KV cache positions that a segment may take, its prompts included."""
        return slot_positions(self.llm.config)

    def speaker_ids(self, name: str) -> tuple[int, ...]:
        """The ids that the input begins with for a speaker of this name; none if the model knows no speakers."""
        return self.speakers.get(name) or self.speakers.get(UNKNOWN, ())

    @property
    def voice_maker(self) -> VoiceMaker:
        """Makes voices with this checkpoint's modules."""
        mels = {rate: MEL_BY_RATE[rate] for rate in self.sample_rates}
        check = PromptCheck(self.generation, self._score_prompt, self.frontend.prompt_ids)
        return VoiceMaker(self.speaker_encoder, self.speech_tokenizer, mels, check)

    def _score_prompt(self, text: tuple[int, ...], speech: Sequence[int]) -> PromptScore:
        return score_prompt(self.llm, self.special, text, speech)


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA if available, else the CPU. CheckpointError for a device that this machine does not have."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises AssertionError
        raise CheckpointError(f"device {name!r}: {str(error).splitlines()[0]}") from error
    return device


def checkpoint_folder(path: str | Path) -> Path:
    """`path`; CheckpointError if it is no folder."""
    root = Path(path)
    if not root.is_dir():
        raise CheckpointError(f"{root}: expected a checkpoint folder with llm/, flow/, hift/ …, got no such folder")
    return root


def load(
    path: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
    replace: Mapping[str, str] | None = None,
    vocos_sha256: str | None = None,
) -> Model:
    """Loads the checkpoint in the folder `path`.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:1` …
        dtype: of the AR transformer; by default bfloat16 on CUDA and float32 elsewhere.
        replace: pronunciations that come before the front end's own: text to `<|…|>` tokens.
        vocos_sha256: expected hash of `vocos2d/generator_jit.ckpt`; without it, that file is not loaded.

    Raises CheckpointError with the file, and all names in it that do not fit.
    """
    root = checkpoint_folder(path)
    target = pick_device(str(device))
    dtype = dtype or (torch.bfloat16 if target.type == "cuda" else torch.float32)
    return _load(root, target, dtype, replace or {}, vocos_sha256)


def _load(
    root: Path, target: torch.device, dtype: torch.dtype, replace: Mapping[str, str], vocos_sha256: str | None
) -> Model:
    times = PartTimes()
    with times.part("text tokenizer"):
        tokenizer = Tokenizer.from_dir(root / TOKENIZER)
        generation = components.read_config(root / "llm" / "generation.json", GenerationConfig)
        frontend = components.load_frontend(root / "frontend", tokenizer, replace, generation)
    # The parts that are mapped as a whole come first: then the pages of their files add to no others.
    with times.part("flow"):
        flow = components.for_inference(components.load_flow(root / "flow"), target)
    with times.part("vocoders"):
        vocoders = components.load_vocoders(root, target, vocos_sha256)
    with times.part("speaker encoder"):
        speaker_encoder = components.for_inference(components.load_speaker_encoder(root / "frontend"), target)
    with times.part("speech tokenizer"):
        speech_tokenizer = components.for_inference(components.load_speech_tokenizer(root / "speech_tokenizer"), target)
        special = special_ids(tokenizer, speech_tokenizer.config.quantize_vocab_size)
    with times.part("llm"):
        llm = components.for_inference(components.load_llm(root / "llm", dtype, target), target)
        llm.fuse()
    check_sizes(root, tokenizer, llm, flow, special)
    check_alignment_heads(root, generation, llm)
    times.log("Checkpoint loaded")
    return Model(
        info=read_info(root),
        llm=llm,
        special=special,
        generation=generation,
        flow=flow,
        vocoders=vocoders,
        speech_tokenizer=speech_tokenizer,
        speaker_encoder=speaker_encoder,
        frontend=frontend,
        device=target,
        dtype=dtype,
        speakers=read_speakers(root / "llm", llm.config.vocab_size),
    )
