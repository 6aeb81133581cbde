"""The repository and the generator on disk: loading returns what was saved, and errors name the damage."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import frozen_layout, noise

from core.backbones.lora import LoraLayout, LoraModule
from core.common.errors import RepositoryError
from core.common.tensor_files import read_tensors
from core.experts.files import (
    INDEX_FILE,
    TENSORS_FILE,
    RepositoryIndex,
    load_generator,
    load_repository,
    save_generator,
    save_repository,
)
from core.sglora.generator import LoraGenerator
from core.sglora.prior import SemanticPrior
from core.sglora.repository import Expert, ExpertRepository
from core.sglora.subspace import Basis
from core.sglora.vae import ConditionalVAE, VaeConfig

FINGERPRINT = "0123456789abcdef"
LAYOUT = LoraLayout((LoraModule("vision.blocks.0.attn.q_proj", 5, 7), LoraModule("vision.blocks.0.attn.v_proj", 6, 4)), rank=2)
RECALL = {"i2t": {"R@1": 10.0, "R@5": 30.0}, "t2i": {"R@1": 20.0, "R@5": 40.0}, "images": 50}
BETTER = {"i2t": {"R@1": 13.0, "R@5": 35.0}, "t2i": {"R@1": 25.0, "R@5": 40.0}, "images": 50}


def repository(n: int = 3) -> ExpertRepository:
    experts = tuple(
        Expert(f"expert-{i}", f"a photo of a Hündin {i}", "scenes", "flickr8k", 40 + i, i, 100, RECALL, BETTER, ("a", "b")[:i])
        for i in range(n)
    )
    layout, embeddings = frozen_layout(LAYOUT), torch.nn.functional.normalize(noise(n, 9, seed=3), dim=-1)
    basis = Basis.fit(0.1 * noise(n, layout.size, seed=1))
    numbers = (basis, basis.decode(noise(n, n, seed=4)), 0.01 * noise(n, n, seed=2).square(), embeddings)
    return ExpertRepository(FINGERPRINT, layout, experts, *numbers, {"steps": 150}, closeness_threshold=0.3125)


@pytest.fixture
def folder(tmp_path) -> Path:
    save_repository(repository(), tmp_path / "experts")
    return tmp_path / "experts"


def refused(folder: Path, *reasons: str) -> None:
    with pytest.raises(RepositoryError) as caught:
        load_repository(folder, LAYOUT, FINGERPRINT)
    assert all(reason in str(caught.value) for reason in (str(folder), *reasons)), str(caught.value)


def change_index(folder: Path, **values: object) -> None:
    path = folder / INDEX_FILE
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def flip(path: Path, position: int, mask: int = 0x10) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= mask
    path.write_bytes(bytes(data))


def test_repository_round_trip(folder):
    saved, read = repository(), load_repository(folder, LAYOUT, FINGERPRINT)
    assert read.experts == saved.experts and read.layout == saved.layout and read.notes == saved.notes
    assert (read.fingerprint, len(read), read.closeness_threshold) == (FINGERPRINT, 3, 0.3125)
    for name in ("means", "variances", "embeddings", "coordinates"):
        torch.testing.assert_close(getattr(read, name), getattr(saved, name), rtol=2e-3, atol=1e-3, msg=name)
        assert getattr(read, name).dtype == torch.float32
    torch.testing.assert_close(read.embeddings.norm(dim=-1), torch.ones(3))
    for name, factors in read.lora(1).factors.items():
        torch.testing.assert_close(factors.a, (saved.layout.a or {})[name], rtol=1e-3, atol=1e-3)
    assert torch.equal(torch.cat([f.b.flatten() for f in read.lora(1).factors.values()]), read.means[1])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: (folder / INDEX_FILE).unlink(), f"lacks {INDEX_FILE} (No such file"),
        (lambda folder: (folder / TENSORS_FILE).unlink(), f"lacks {TENSORS_FILE} (No such file"),
        (lambda folder: (folder / TENSORS_FILE).write_bytes((folder / TENSORS_FILE).read_bytes()[:-1]), "(its checksum"),
        *((lambda folder, at=at: flip(folder / TENSORS_FILE, at), f"{TENSORS_FILE} is damaged") for at in (0, 20, 400, -1)),
        *(
            (lambda folder, text=text: (folder / INDEX_FILE).write_bytes(text), f"{INDEX_FILE} is damaged")
            for text in (b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"experts": 3}', b'{"experts": [{"name": "x"}]}')
        ),
        (lambda folder: change_index(folder, format=2), f"{INDEX_FILE} is damaged (format"),
        *(
            (lambda folder, bad=bad: change_index(folder, closeness_threshold=bad), f"{INDEX_FILE} is damaged")
            for bad in ("0.3", [0.3], float("nan"), 1e9)
        ),
        *(
            (lambda folder, choice=choice: change_index(folder, backbone=choice), f"{INDEX_FILE} is damaged (backbone")
            for choice in ("ViT-B-16", None, {}, {"spec": 3}, {"spec": "x", "adapt_blocks": "2"}, {"spec": "x", "adapt": 1})
        ),
        (lambda folder: change_index(folder, backbone_fingerprint="ffff"), "(fingerprint ffff, this one is 0123456789abcdef)"),
        *(
            (lambda folder, linears=linears: change_index(folder, linears=linears), f"{linears[-1]} is not a linear")
            for linears in (["text.mlp.1"], ["vision.blocks.0.attn.q_proj", "vision.blocks.9.attn.q_proj"])
        ),
    ],
)
def test_a_repository_that_cannot_be_used(folder, change, reason):
    change(folder)
    refused(folder, reason)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_counts_that_do_not_match(folder, count):
    index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
    change_index(folder, experts=(2 * index["experts"])[:count])
    refused(folder, TENSORS_FILE, "damaged")


def test_the_index_says_which_linears_its_experts_adapt(folder):
    assert RepositoryIndex.read(folder).linears == LAYOUT.names
    more = LoraLayout((LoraModule("vision.proj_in", 3, 3), *LAYOUT.modules), 4)
    assert load_repository(folder, more, FINGERPRINT).layout == LAYOUT, "the layout has the index's linears and rank"


# The generator


PRIOR = SemanticPrior(noise(5, seed=7), noise(5, seed=8).square())


def generator() -> LoraGenerator:
    """A generator whose decoder has nonzero weights, so that z has an effect."""
    vae = ConditionalVAE(VaeConfig(5, latent=3, hidden=8))
    with torch.no_grad():
        for i, parameter in enumerate(vae.parameters()):
            parameter.copy_(0.3 * noise(*parameter.shape, seed=i))
    return LoraGenerator(vae.eval().requires_grad_(False), FINGERPRINT, "basis", {"lambda": 1.0})


@pytest.fixture
def path(tmp_path) -> Path:
    save_generator(generator(), tmp_path / "new" / "generator.safetensors")
    return tmp_path / "new" / "generator.safetensors"


def test_seeds():
    one, state = generator(), torch.get_rng_state()
    assert one.sample(PRIOR, 3).z.shape == (3,) and one.sample(PRIOR, 3).theta.shape == (5,)
    assert torch.equal(one.sample(PRIOR, 3).z, one.sample(PRIOR, 3).z)
    assert (one.sample(PRIOR, 3).theta - one.sample(PRIOR, 4).theta).abs().max() > 1e-3
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_have_the_moments_of_the_latent_prior():
    one = generator()
    z, latent = torch.stack([one.sample(PRIOR, seed).z for seed in range(2000)]), one.latent(PRIOR)
    torch.testing.assert_close(z.mean(0), latent.mean, atol=0.1, rtol=0)
    torch.testing.assert_close(z.var(0).log(), latent.variance.log(), atol=0.2, rtol=0)


def another_format(path: Path) -> None:
    tensors, metadata = read_tensors(path)
    save_file(tensors, path, metadata | {"format": "2"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Path.unlink, "is missing: `python -m core train generator`"),
        *((lambda path, n=n: path.write_bytes(path.read_bytes()[:n]), "is damaged") for n in (0, 7, 100, -1)),
        *((lambda path, at=at: flip(path, at), "is damaged") for at in (0, 20, -400, -1)),
        (another_format, "is damaged"),
        (lambda path: save_file({"x": torch.zeros(1)}, path), "is damaged"),
        (
            lambda path: save_generator(replace(generator(), fingerprint="ffff"), path),
            f"belongs to backbone ffff, not to {FINGERPRINT}",
        ),
    ],
)
def test_a_generator_that_cannot_be_used(path, change, reason):
    change(path)
    with pytest.raises(RepositoryError, match=rf"generator\.safetensors {reason}"):
        load_generator(path, FINGERPRINT)
