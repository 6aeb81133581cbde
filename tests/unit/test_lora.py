"""The LoRA vector, exact merging, and files of the real peft. `test_peft_adapters.py` has the other direction."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import frozen_layout, noise, random_lora
from torch import nn

from core.backbones.embedded import EmbeddedBackbone, load_embedded
from core.backbones.lora import Lora, LoraLayout, LoraModule, initial_vector
from core.backbones.lora_algebra import merge, project, reduce_rank
from core.backbones.peft_format import CONFIG_FILE, MAX_ADAPTER_BYTES, WEIGHTS_FILE, load_peft, save_peft
from core.common.errors import AdapterError
from core.common.paths import heads_path

FINGERPRINT = "0123456789abcdef"
# All widths and the rank differ, so that a transposed factor raises an error.
LAYOUT = LoraLayout((LoraModule("vision.blocks.0.attn.q_proj", 5, 7), LoraModule("vision.blocks.0.attn.v_proj", 6, 4)), rank=3)


# Vectors


def test_vector_round_trip():
    vector = noise(LAYOUT.size)
    lora = Lora.from_vector(LAYOUT, vector)
    assert LAYOUT.size == lora.parameters == 3 * (5 + 7) + 3 * (6 + 4)
    assert torch.equal(lora.vector(), vector)
    assert lora.rank == 3
    first = lora.factors["vision.blocks.0.attn.q_proj"]
    assert torch.equal(first.a, vector[:15].view(3, 5)) and torch.equal(first.b, vector[15:36].view(7, 3))


def test_vector_of_another_length_is_refused():
    for wrong in (noise(LAYOUT.size - 1), noise(1, LAYOUT.size)):
        with pytest.raises(AdapterError, match="Expected a LoRA vector of 66 numbers"):
            Lora.from_vector(LAYOUT, wrong)


def test_merge_of_different_linears():
    q, v = LAYOUT.modules
    both, first, last = random_lora(LAYOUT, 1), random_lora(LoraLayout((q,), 2), 2), random_lora(LoraLayout((v,), 1), 3)
    merged = merge([first, last, both], [1.0, 0.5, -2.0])
    assert merged.modules == (q, v) and merged.ranks == {q.name: 5, v.name: 4} and merged.rank == 5
    for m, w, lora in ((q, 1.0, first), (v, 0.5, last)):
        expected = w * lora.factors[m.name].delta - 2 * both.factors[m.name].delta
        torch.testing.assert_close(merged.factors[m.name].delta, expected, atol=1e-6, rtol=1e-5)
    apart = merge([first, last], [1.0, 0.5])
    assert apart.factors[q.name] is first.factors[q.name], "a single LoRA with weight 1 keeps its tensors"
    torch.testing.assert_close(apart.factors[v.name].delta, 0.5 * last.factors[v.name].delta)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_reduced_rank_is_the_truncated_svd(rank):
    lora = merge([random_lora(LAYOUT, 1), random_lora(LoraLayout(LAYOUT.modules[:1], 1), 2)], [1.0, 1.0])
    for name, reduced in reduce_rank(lora, rank).factors.items():
        u, s, v = np.linalg.svd(lora.factors[name].delta.double().numpy(), full_matrices=False)
        np.testing.assert_allclose(reduced.delta.numpy(), (u[:, :rank] * s[:rank]) @ v[:rank], atol=1e-5)
        assert len(reduced.a) == min(rank, len(s)) and reduced.a.dtype == torch.float32


def test_with_the_identity_as_a_the_vector_is_the_weight_changes():
    layout = LAYOUT.frozen({m.name: torch.eye(m.in_features) for m in LAYOUT.modules})
    vector = noise(7 * 5 + 4 * 6)
    deltas = [f.delta for f in Lora.from_vector(layout, vector).factors.values()]
    assert torch.equal(deltas[0], vector[:35].view(7, 5)) and torch.equal(deltas[1], vector[35:].view(4, 6))
    assert torch.equal(initial_vector(layout, 3), torch.zeros(59))


def test_projection_is_least_squares_over_inputs():
    layout, lora, lost, whole = frozen_layout(LAYOUT), random_lora(LoraLayout(LAYOUT.modules, 2), 1), 0.0, 0.0
    inputs = {m.name: noise(50, m.in_features, seed=2) @ noise(m.in_features, m.in_features, seed=3) for m in LAYOUT.modules}
    vector, share = project(lora, layout, {name: x.double().T @ x.double() / len(x) for name, x in inputs.items()})
    for name, found in Lora.from_vector(layout, vector).factors.items():
        x, a, change = (t.double().numpy() for t in (inputs[name], found.a, lora.factors[name].delta))
        b = np.linalg.lstsq(x @ a.T, x @ change.T, rcond=None)[0].T
        np.testing.assert_allclose(found.b.numpy(), b, atol=1e-4)
        lost, whole = lost + np.square(x @ (change - b @ a).T).sum(), whole + np.square(x @ change.T).sum()
    assert share == pytest.approx(lost / whole, rel=1e-4) and share > 0.05
    assert project(lora.scaled(0), layout, {m.name: torch.eye(m.in_features) for m in layout.modules})[1] == 0


# Files


@pytest.fixture
def adapter(tmp_path) -> Path:
    """A valid adapter in a folder named "mine"."""
    save_peft(random_lora(LAYOUT, 4), tmp_path / "mine", FINGERPRINT, "embedded", {})
    load_peft(tmp_path / "mine", LAYOUT.modules, FINGERPRINT)
    return tmp_path / "mine"


def refused(folder: Path, reason: str) -> None:
    with pytest.raises(AdapterError, match=f"Adapter mine.*{reason}"):
        load_peft(folder, LAYOUT.modules, FINGERPRINT)


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_file_that_is_far_too_large_or_missing(adapter, name):
    with (adapter / name).open("r+b") as file:
        file.truncate(MAX_ADAPTER_BYTES + 1)  # a sparse file uses no disk space
    refused(adapter, f"{name} is larger than")
    (adapter / name).unlink()
    refused(adapter, f"{name} is missing")


def test_an_adapter_of_another_model_names_it(adapter):
    save_file(load_file(adapter / WEIGHTS_FILE) | {"zz.lora_A.weight": torch.zeros(1)}, adapter / WEIGHTS_FILE)
    path = adapter / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "openai/clip-vit-base-patch16"}))
    refused(adapter, r"\(it was made for openai/clip-vit-base-patch16\): zz\.lora_A\.weight is unknown")


# Adapters of the real peft

# What peft adapts, by tower: a list of name endings, and a pattern for whole names.
TARGETS = {
    "text": (["text.mlp.1", "text.mlp.3"], r"text\.mlp\.[13]"),
    "vision": (["q_proj", "k_proj", "v_proj"], r"vision\.blocks\.\d+\.attn\.[qkv]_proj"),
}


@pytest.fixture(scope="module", params=["texts", "photos"])
def heads(request) -> EmbeddedBackbone:
    return load_embedded(heads_path(), torch.float32, request.param)


def saved_by_peft(module: nn.Module, folder: Path, **options: object) -> nn.Module:
    """A copy of a module with random LoRAs of peft, which saves them to the folder."""
    config = LoraConfig(r=4, init_lora_weights=False, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = get_peft_model(copy.deepcopy(module), config).eval()
    model.save_pretrained(folder)
    return model


def test_ranks_and_scales_by_linear_are_read_as_peft_reads_them(tmp_path):
    backbone = load_embedded(heads_path(), torch.float32, "photos")
    options = {
        "rank_pattern": {"q_proj": 3, "blocks.1.attn.k_proj": 5},
        "alpha_pattern": {"k_proj": 7, "blocks.0.attn.v_proj": 1},
    }
    model = saved_by_peft(backbone.adapted, tmp_path, lora_alpha=8, target_modules=["q_proj", "k_proj", "v_proj"], **options)
    lora, _ = load_peft(tmp_path, backbone.layout.modules, FINGERPRINT)
    assert set(lora.ranks.values()) == {3, 4, 5}
    with torch.no_grad():
        maps = noise(4, *backbone.prefix_shape)
        torch.testing.assert_close(backbone.adapted.vision(maps, lora), model.vision(maps), atol=2e-5, rtol=0)


@pytest.mark.parametrize(("alpha", "kind"), [(16, "list"), (3, "regex"), (16, "rslora")])
def test_an_adapter_of_the_real_peft_loads(heads, tmp_path, alpha, kind):
    name, shape = ("vision", heads.prefix_shape) if heads.layout.moves_photos else ("text", (heads.sentence_dim,))
    targets, tower, given = TARGETS[name][kind == "regex"], getattr(heads.adapted, name), noise(4, *shape)
    model = saved_by_peft(heads.adapted, tmp_path, lora_alpha=alpha, target_modules=targets, use_rslora=kind == "rslora")
    lora, provenance = load_peft(tmp_path, heads.layout.modules, FINGERPRINT)
    assert lora.rank == 4 and provenance == {}
    with torch.no_grad():
        expected = getattr(model, name)(given)
        torch.testing.assert_close(tower(given, lora), expected, atol=2e-5, rtol=0)
        assert (expected - tower(given)).abs().max() > 1e-3
