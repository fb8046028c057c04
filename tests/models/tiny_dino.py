"""Grounding DINO's real classes at toy size, with random weights."""

import torch

_PLACES = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
_WORDS = ("liver", "left", "right", "kidney", "spleen", "bright", "box", "the", "heart", "lung")


def vocabulary():
    """BERT's places for the marks that Grounding DINO looks for; other words anywhere."""
    words = [f"[unused{number}]" for number in range(1060)]
    for word, place in _PLACES.items():
        words[place] = word
    words[1030 : 1030 + len(_WORDS)] = _WORDS
    return words


def tiny_dino(folder):
    """Write an untrained tiny Grounding DINO and its processor to a folder."""
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    folder.mkdir(parents=True, exist_ok=True)
    words = {word: number for number, word in enumerate(vocabulary())}
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_indices=[2, 3, 4],
        ),
        text_config=BertConfig(
            vocab_size=len(words),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
        ),
        num_queries=12,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        d_model=32,
    )
    torch.manual_seed(0)
    GroundingDinoForObjectDetection(config).eval().save_pretrained(folder)
    processor = GroundingDinoProcessor(
        image_processor=GroundingDinoImageProcessor(size={"shortest_edge": 96, "longest_edge": 128}),
        tokenizer=BertTokenizer(vocab=words),
    )
    processor.save_pretrained(folder)
    return folder
