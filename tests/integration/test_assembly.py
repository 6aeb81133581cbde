"""How a generated LoRA is put together: against weight changes added up by hand, and numpy's singular values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_folds import dense
from random_engines import DESCRIPTION, random_engine
from tiny_models import noise, tiny_backbone

from core.backbones.lora import Lora
from core.common.errors import RepositoryError
from core.sglora.assembly import Assembly
from core.sglora.engine import SGLora
from core.sglora.generator import LoraGenerator

SHARE, RANK = 0.3, 5


@pytest.fixture(scope="module")
def engine() -> SGLora:
    return assembled(random_engine(tiny_backbone(adapt_blocks=2)), SHARE, RANK)


def assembled(engine: SGLora, share: float, rank: int) -> SGLora:
    shared = 0.05 * noise(engine.repository.layout.size, seed=20)
    return replace(engine, generator=replace(engine.generator, assembly=Assembly(shared, share, rank)))


def by_hand(engine: SGLora, seed: int) -> dict[str, np.ndarray]:
    """(1 - share) (sum_i alpha_i B_i A_i + dW(theta) - dW(mu*)) + share dW(shared), linear by linear, in float64."""
    adaptation = engine.adapt(DESCRIPTION, k=3, seed=seed)
    how, basis, layout = engine.generator.assembly, engine.generator.basis, engine.repository.layout

    def deltas(vector: torch.Tensor) -> dict[str, np.ndarray]:
        return {n: d.double().numpy() for n, d in dense(Lora.from_vector(layout, vector)).items()}

    mean = basis.decode(basis.encode(adaptation.prior.mean))
    theta, centre, shared = deltas(adaptation.vector), deltas(mean), deltas(how.shared)
    routed = zip(adaptation.routing.chosen.tolist(), adaptation.routing.weights.tolist(), strict=True)
    experts = [(w, deltas(engine.repository.means[i])) for i, w in routed]
    return {
        n: (1 - how.share) * (sum(w * e[n] for w, e in experts) + theta[n] - centre[n]) + how.share * shared[n] for n in theta
    }


def test_it_is_the_closest_lora_of_its_rank_to_the_sum(engine: SGLora) -> None:
    made, expected = engine.adapt(DESCRIPTION, k=3, seed=4, strength=0.5), by_hand(engine, 4)
    assert made.full.rank == made.lora.rank == RANK
    for name, whole in expected.items():
        u, s, v = np.linalg.svd(whole)
        assert s[RANK] > 1e-4, "nothing is cut here"
        closest = (u[:, :RANK] * s[:RANK]) @ v[:RANK]
        np.testing.assert_allclose(dense(made.full)[name].numpy(), closest, atol=1e-5)
        np.testing.assert_allclose(dense(made.lora)[name].numpy(), 0.5 * closest, atol=1e-5)


def test_at_full_rank_nothing_is_lost_and_less_is_filled_up(engine: SGLora) -> None:
    wide = assembled(engine, SHARE, 40)
    made = wide.adapt(DESCRIPTION, k=3, seed=4).full
    assert made.rank == 40
    for name, whole in by_hand(wide, 4).items():
        np.testing.assert_allclose(dense(made)[name].numpy(), whole, atol=1e-5)


def test_a_decoder_that_adds_nothing_leaves_the_merge_and_the_shared_part(engine: SGLora) -> None:
    untrained = assembled(random_engine(engine.backbone, trained=False), SHARE, 40)
    made, merged = untrained.adapt(DESCRIPTION, k=3, seed=1), dense(untrained.merged(untrained.route(DESCRIPTION, k=3)))
    shared = dense(Lora.from_vector(engine.repository.layout, untrained.generator.assembly.shared))
    for name, delta in dense(made.full).items():
        torch.testing.assert_close(delta, (1 - SHARE) * merged[name] + SHARE * shared[name], atol=1e-5, rtol=1e-4)


def test_what_is_trained_through_is_what_is_applied(engine: SGLora) -> None:
    layout, how = engine.repository.layout, engine.generator.assembly
    theta = noise(layout.size, seed=5).requires_grad_()
    merged = engine.merged(engine.route(DESCRIPTION))
    whole = how.whole(layout, theta, torch.zeros(layout.size), merged)
    sum(d.square().sum() for d in dense(whole).values()).backward()
    assert bool(theta.grad.abs().sum() > 0)
    assert how.lora(layout, theta.detach(), torch.zeros(layout.size), merged).rank == RANK


def test_it_is_kept_with_the_generator(engine: SGLora, tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    engine.generator.save(path)
    read = LoraGenerator.load(path, engine.backbone.fingerprint)
    how, saved = read.assembly, engine.generator.assembly
    assert (how.share, how.rank) == (SHARE, RANK)
    torch.testing.assert_close(how.shared, saved.shared, atol=1e-3, rtol=1e-3)
    replace(engine.generator, assembly=None).save(path)
    assert LoraGenerator.load(path, engine.backbone.fingerprint).assembly is None


@pytest.mark.parametrize(
    "wrong", [{"share": 1.5}, {"share": float("nan")}, {"rank": 0}, {"rank": 1000}, {"shared": torch.zeros(3)}]
)
def test_what_is_no_assembly_is_refused(engine: SGLora, tmp_path: Path, wrong: dict[str, object]) -> None:
    path = tmp_path / "generator.safetensors"
    replace(engine.generator, assembly=replace(engine.generator.assembly, **wrong)).save(path)
    with pytest.raises(RepositoryError, match=r"generator\.safetensors is damaged"):
        LoraGenerator.load(path, engine.backbone.fingerprint)
