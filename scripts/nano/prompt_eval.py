"""The AR model's phone error rate: its tokens, transcribed by the speech tokenizer's CTC head.

It needs no flow and no vocoder, so it is quick.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from glmtts.config import GenerationConfig
from glmtts.models.llm.decoder import Decoder, DecodeRequest, generate_tokens
from glmtts.models.llm.kv_cache import KVCache
from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import SpecialIds, length_bounds, prompt_layout
from scripts.nano import ar, features, phonemes, tokens, vocabulary
from scripts.nano.data import Utterance
from scripts.nano.training import averaged

SPECIAL = ("<|audio_0|>", f"<|audio_{features.CODES - 1}|>", "<|begin_of_audio|>", "<|user|>", "<|endoftext|>")
MAX_POSITIONS = 2048


class PromptEvaluator:
    """The AR model of a work folder, with the tokenizer's heads."""

    def __init__(self, work: Path, generation: GenerationConfig) -> None:
        tokenizer = vocabulary.load(work)
        self._codes, trained = tokens.load_codebook(work), tokens.load_heads(work)
        if trained is None:
            raise SystemExit("train the tokenizer's heads first: python -m scripts.nano.tokenizer --keep-codes")
        self._heads, self._inventory = trained
        self._examples = ar.Examples(work, tokenizer)
        self._space = tuple(tokenizer.encode(" "))
        self._special = SpecialIds(*map(tokenizer.special_id, SPECIAL))
        self._generation = generation
        config = ar.config(tokenizer.size)
        llama = Llama(config)
        llama.load_state_dict(averaged(work, "ar", llama))
        llama.eval().requires_grad_(False)
        llama.fuse()
        cache = KVCache(config, 1, MAX_POSITIONS, dtype=torch.float32, device=torch.device("cpu"))
        self._decoder = Decoder(llama, self._special, generation, cache)

    @torch.inference_mode()
    def error(self, utterances: Iterable[Utterance], prompt: Utterance | None = None) -> float:
        """Phone error rate (edits / phones) of the utterances' texts, synthesised after `prompt` or without one."""
        before = None if prompt is None else self._examples.of(prompt)
        wrong = total = 0
        for utterance in utterances:
            text = tuple(self._examples.of(utterance).text)
            prompt_text = () if before is None else (*before.text, *self._space)
            prompt_speech = () if before is None else tuple(before.speech.tolist())
            ids = prompt_layout(prompt_text, text, prompt_speech, self._special)
            request = DecodeRequest(ids, length_bounds(len(text), self._generation), 0)
            sampled = list(generate_tokens(self._decoder, request))
            truth = [self._inventory.get(phone, 0) for phone in phonemes.plain(phonemes.of(utterance))]
            phones = tokens.read_phones(self._heads, self._codes, torch.tensor(sampled)) if sampled else []
            wrong, total = wrong + tokens.edit_distance(phones, truth), total + len(truth)
        return wrong / total
