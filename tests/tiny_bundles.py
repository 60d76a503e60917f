"""Tiny random CLIP, SigLIP, VideoMAE and X-CLIP models in folders as the hub has them, with all their settings."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEImageProcessor,
    VideoMAEModel,
    XCLIPConfig,
    XCLIPModel,
)

WORDS = ["a photo of a red heart", "the blue fish, and two birds", "an emoji of green leaves", "a smiling face"]
START, END = "<|startoftext|>", "<|endoftext|>"
SIDE, LENGTH = 32, 16
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def save_clip(folder: Path, *, old: bool = False, dim: int = 24, mlp: int | None = None) -> Path:
    """A CLIP of two layers a tower; ``old`` as OpenAI's were saved, with another end token in its configuration.

    Its MLPs are ``mlp`` times as wide as a token, as real ones are four times; None for one size in both towers.
    """
    tokenizer = _clip_tokenizer()
    text = {**TOWER, "hidden_size": 48, "vocab_size": len(tokenizer), "max_position_embeddings": LENGTH}
    text["bos_token_id"], text["eos_token_id"] = tokenizer.bos_token_id, 2 if old else tokenizer.eos_token_id
    vision = {**TOWER, "image_size": SIDE, "patch_size": 8}
    for tower in (text, vision) if mlp else ():
        tower["intermediate_size"] = mlp * tower["hidden_size"]
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=dim))
    _shake(model)
    model.save_pretrained(folder)
    size = {"shortest_edge": SIDE}
    processor = CLIPImageProcessor(size=size, crop_size={"height": SIDE, "width": SIDE})
    CLIPProcessor(processor, tokenizer).save_pretrained(folder)  # newer releases: processor_config.json
    if old:
        (folder / "processor_config.json").unlink()
        processor.save_pretrained(folder)  # preprocessor_config.json
    return folder


def save_siglip(folder: Path) -> Path:
    """A SigLIP of two layers a tower; its tokenizer has no start, and pads with its end."""
    tokenizer = _siglip_tokenizer()
    text = {
        **TOWER,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": LENGTH,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    vision = {**TOWER, "image_size": SIDE, "patch_size": 8}
    torch.manual_seed(1)
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    _shake(model)
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-3.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    SiglipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def save_videomae(folder: Path, *, pretraining: bool = False) -> Path:
    """A VideoMAE of two layers for four frames; with the decoder that it was trained with, or without."""
    sizes = {"image_size": 16, "patch_size": 8, "num_frames": 4, "tubelet_size": 2}
    decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    config = VideoMAEConfig(**TOWER, **sizes, **decoder, decoder_intermediate_size=32)
    torch.manual_seed(2 + pretraining)
    model = VideoMAEForPreTraining(config) if pretraining else VideoMAEModel(config)
    _shake(model)
    model.save_pretrained(folder)
    _frames_of(16).save_pretrained(folder)
    return folder


def save_xclip(folder: Path, **vision: int) -> Path:
    """An X-CLIP of two layers for four frames."""
    sizes = {**TOWER, "hidden_size": 64, "intermediate_size": 256, "image_size": 16, "patch_size": 8, "num_frames": 4}
    mit = {"mit_hidden_size": 64, "mit_intermediate_size": 256, "mit_num_hidden_layers": 1}
    text = {**TOWER, "vocab_size": 99, "max_position_embeddings": LENGTH}
    config = XCLIPConfig(
        text_config=text,
        vision_config={**sizes, **mit, "mit_num_attention_heads": 1, "drop_path_rate": 0.0, **vision},
        projection_dim=64,
    )
    torch.manual_seed(4)
    model = XCLIPModel(config)
    _shake(model)
    model.save_pretrained(folder)
    _frames_of(16).save_pretrained(folder)
    return folder


def _frames_of(side: int) -> VideoMAEImageProcessor:
    return VideoMAEImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


def _shake(model: torch.nn.Module) -> None:
    """Biases and gains that are no longer 0 and 1, so that one left out shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))


def _clip_tokenizer() -> CLIPTokenizer:
    """Byte pairs with the ends of words marked, learnt of a few words; built as OpenAI's is."""
    backend = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=640,
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(WORDS, trainer)
    known = list(dict(sorted(backend.get_vocab().items(), key=lambda item: item[1])))
    letters = [letter for letter in known if len(letter) == 1]
    known += [f"{letter}</w>" for letter in letters if f"{letter}</w>" not in known]
    vocabulary = {token: number for number, token in enumerate([*known, START, END])}
    merges = [tuple(pair) for pair in _merges(backend)]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def _merges(backend: Tokenizer) -> list[list[str]]:
    import json

    return json.loads(backend.to_str())["model"]["merges"]


def _siglip_tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=80, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(WORDS, trainer)
    end = backend.token_to_id("</s>")
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", pad_token="</s>", unk_token="<unk>", model_max_length=LENGTH
    )
