"""What linears read: second moments compared with inputs computed by hand, principal directions with numpy."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from tiny_models import noise, random_lora

from core.backbones.embedded import EmbeddedBackbone
from core.backbones.inputs import second_moments, widest_directions


@torch.no_grad()
def test_second_moments_of_the_text_head_by_hand(backbone: EmbeddedBackbone) -> None:
    """The first linear reads the sentence after the LayerNorm, the last one reads the first one's output after the GELU."""
    lora, sentences = random_lora(backbone.layout, 1, 0.1), F.normalize(noise(300, backbone.sentence_dim, seed=2), dim=-1)
    norm, first, *_ = backbone.adapted.text.mlp
    read = F.layer_norm(sentences, (backbone.sentence_dim,), norm.weight, norm.bias)
    change = lora.factors["text.mlp.1"].b @ lora.factors["text.mlp.1"].a
    hidden = F.gelu(read @ (first.weight + change).T + first.bias)
    found = second_moments(backbone, backbone.layout.modules, sentences, lora)
    for name, x in (("text.mlp.1", read.double()), ("text.mlp.3", hidden.double())):
        torch.testing.assert_close(found[name], x.T @ x / 300, atol=1e-4, rtol=1e-3)
    assert not any(m._forward_pre_hooks for m in backbone.adapted.modules())


def test_other_threads_may_use_the_backbone_meanwhile(backbone: EmbeddedBackbone) -> None:
    """What they embed is not counted and stays the same."""
    sentences, others = noise(600, backbone.sentence_dim, seed=1), noise(50, backbone.sentence_dim, seed=2)
    moments, embedded = second_moments(backbone, backbone.layout.modules, sentences), backbone.text_suffix(others)
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(second_moments, backbone, backbone.layout.modules, sentences)
        while not again.done():
            assert torch.allclose(backbone.text_suffix(others), embedded, atol=1e-6)
    assert all(torch.allclose(moment, moments[name], atol=1e-6) for name, moment in again.result().items())


def test_widest_directions_against_numpy() -> None:
    inputs = noise(200, 8, seed=1) @ noise(8, 8, seed=2)
    found = widest_directions(inputs.double().T @ inputs.double() / 200, 3)
    rows = np.linalg.svd(inputs.double().numpy(), full_matrices=False)[2][:3]
    assert found.shape == (3, 8) and found.dtype == torch.float32
    np.testing.assert_allclose(np.abs(found.numpy() @ rows.T), np.eye(3), atol=1e-4)  # equal up to signs, widest first
