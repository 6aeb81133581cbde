"""Text towers that stop at the end of the text, compared with open_clip's own forward pass over the whole context."""

import open_clip
import pytest
import torch
from open_clip.model import CustomTextCLIP
from tiny_models import CONTEXT, shaken, tiny_clip_config
from torch import Tensor, nn

from core.backbones.clip_text import TEXT_BATCH, text_tower

EOT = 49407
TEXTS = ["a dog in the snow", "two boats", "", "日本 🐕", "word " * 40, "a dog in the snow", "A MAN; and a man's hat?"]
TOWERS = {  # changes to the text configuration; the first ones read the end token
    "clip": {},
    "eos": {"pool_type": "eos", "eos_id": EOT},
    "layer scale": {"ls_init_value": 0.5, "layers": 2},
    "no projection": {"proj_type": "none", "width": 32},
    "projection with bias": {"proj_bias": True},
    "own blocks": {"qk_norm": True, "scale_attn": True},
    "not causal": {"no_causal_mask": True, "pool_type": "last"},
    "last token": {"pool_type": "last"},
    "not causal, at the end": {"no_causal_mask": True},
}


def model(kind: type[nn.Module], **text: object) -> nn.Module:
    """An open_clip model. Its text tower is part of the model or, in newer models, a separate module."""
    config = tiny_clip_config()
    return shaken(lambda: kind(config["embed_dim"], config["vision_cfg"], config["text_cfg"] | text), 3)


def tokens(texts: list[str]) -> Tensor:
    return open_clip.SimpleTokenizer(context_length=CONTEXT)(texts)


@pytest.mark.parametrize("kind", [open_clip.CLIP, CustomTextCLIP])
@pytest.mark.parametrize("text", TOWERS)
def test_embeddings_are_those_of_the_whole_context(kind: type[nn.Module], text: str) -> None:
    plain = model(kind, **TOWERS[text])
    ids = tokens(TEXTS)
    expected = plain.encode_text(ids, normalize=True)
    tower = text_tower(plain)
    found = tower(ids)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (expected[0] - expected[1]).abs().max() > 1e-2, "different texts have different embeddings"
    for i in range(len(TEXTS)):  # a text alone is cut at its own end
        torch.testing.assert_close(tower(ids[i : i + 1]), expected[i : i + 1], atol=1e-5, rtol=0)


def test_long_lists_come_back_in_their_order_and_stop_at_the_end_of_their_texts() -> None:
    plain = model(open_clip.CLIP)
    ids = tokens([f"{'very ' * (i * 7 % 11)}old boat {i % 23}" for i in range(TEXT_BATCH + 50)])
    lengths = list[int]()
    plain.transformer.resblocks[0].register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    found, (short, long) = text_tower(plain)(ids), lengths
    torch.testing.assert_close(found, plain.encode_text(ids, normalize=True), atol=1e-5, rtol=0)
    assert short < long == int((ids > 0).sum(1).max()), "texts of similar length share a batch"
