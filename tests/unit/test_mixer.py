"""The mixer against weight changes that are summed by hand, and its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from core.sglora.mixer import MAX_RANK, SPREAD, LoraMixer, MixerConfig, MixingNetwork, Mixture, mixed
from tiny_models import noise, random_lora

from core.backbones.lora import Lora, LoraLayout, LoraModule
from core.common.errors import RepositoryError
from core.experts.files import load_repository, save_repository
from core.sglora.generator import LoraGenerator, load_generator
from core.sglora.repository import Expert, ExpertRepository
from core.sglora.router import Routing
from core.sglora.subspace import Basis

MODULES = tuple(LoraModule(f"vision.blocks.{i}.{p}", 6, 5) for i in range(2) for p in "qv")
LAYOUT, FINGERPRINT = LoraLayout(MODULES, 2), "f" * 16


def repository(n: int = 4, shared: Lora | None = None) -> ExpertRepository:
    experts = tuple(Expert(f"e{i}", f"photo {i}", "scenes", "none", 1, 0, 1, {}, {}) for i in range(n))
    means, stds = noise(n, LAYOUT.size, seed=1), noise(n, LAYOUT.size, seed=2).abs()
    return ExpertRepository(FINGERPRINT, LAYOUT, experts, means, stds, torch.eye(n), torch.zeros(LAYOUT.size), shared=shared)


def mixer(experts: ExpertRepository, trained: bool = True) -> LoraMixer:
    basis = Basis.fit(experts.means, experts.origin, 3)
    network = MixingNetwork(MixerConfig(basis.dimensions, len(MODULES), latent=2, hidden=4))
    with torch.no_grad():
        for i, parameter in enumerate(network.parameters() if trained else ()):
            parameter.copy_(0.3 * noise(*parameter.shape, seed=10 + i))
    return LoraMixer(basis, network.eval().requires_grad_(False), FINGERPRINT, {"steps": 1})


def routed(n: int, chosen: list[int]) -> Routing:
    return Routing("x", torch.zeros(n), torch.zeros(n), torch.tensor(chosen), torch.softmax(noise(len(chosen), seed=5), 0), 0.1)


def test_a_mixture_is_the_weighted_sum_of_weight_changes() -> None:
    shared, own = random_lora(LoraLayout(MODULES, 3), 7), [random_lora(LAYOUT, i) for i in range(2)]
    mixture = Mixture(torch.tensor([0.5, 1.0, 0.25, 2.0]), torch.tensor([1.0, 0.5, 2.0, 1.5]), torch.tensor([0.7, 0.3]))
    for some, half in ((shared, 1.0), (shared, 0.5), (None, 1.0)):
        found = mixed(some, own, mixture, half)
        for i, m in enumerate(MODULES):
            expected = (
                half
                * mixture.own[i]
                * sum(w * own[j].factors[m.name].b @ own[j].factors[m.name].a for j, w in enumerate(mixture.weights))
            )
            if some:
                expected = expected + mixture.shared[i] * some.factors[m.name].b @ some.factors[m.name].a
            torch.testing.assert_close(found.factors[m.name].delta, expected)


def test_an_untrained_mixer_writes_the_exact_merge() -> None:
    experts = repository(shared=random_lora(LoraLayout(MODULES, 3), 7))
    routing, untrained = routed(4, [2, 0, 3]), mixer(experts, trained=False)
    made = untrained.write(experts, routing, experts.prior(routing), 0)
    merged = experts.merged(routing)
    for m in MODULES:
        torch.testing.assert_close(made.lora.factors[m.name].delta, merged.factors[m.name].delta)
    alone = untrained.write(experts, routing, experts.prior(routing), 0, own=0.0)
    assert experts.shared is not None
    for m in MODULES:
        torch.testing.assert_close(alone.lora.factors[m.name].delta, experts.shared.factors[m.name].delta)


def test_a_sample_follows_its_seed_and_none_is_the_mean() -> None:
    experts = repository()
    routing, writes = routed(4, [1, 2]), mixer(experts)
    prior = experts.prior(routing)
    one, again, other = (writes.write(experts, routing, prior, seed) for seed in (1, 1, 2))
    assert torch.equal(one.z, again.z) and not torch.allclose(one.z, other.z)
    torch.testing.assert_close(writes.write(experts, routing, prior, None).z, writes.latent(prior).mean[0])
    assert one.mixture is not None and float(one.mixture.weights.sum()) == pytest.approx(1)


def test_logarithms_of_a_mixture_are_a_line_in_closeness() -> None:
    """With one sample, what differs between near and far experts is the slope, times how much nearer they are."""
    experts = repository()
    near, far = (replace(routed(4, [1, 2]), similarity=torch.full((4,), s)) for s in (0.9, 0.3))
    writes, prior = mixer(experts), experts.prior(near)
    one, other = (writes.write(experts, routing, prior, 1) for routing in (near, far))
    assert torch.equal(one.z, other.z) and one.mixture is not None and other.mixture is not None
    slope = writes.network.slope[len(MODULES) : 2 * len(MODULES)]
    assert slope.abs().min() > 1e-3
    torch.testing.assert_close((one.mixture.own / other.mixture.own).log(), slope * (0.9 - 0.3) / SPREAD)


def test_many_experts_are_cut_to_the_highest_rank() -> None:
    n = MAX_RANK // 2 + 3
    experts = repository(n)
    routing = routed(n, list(range(n)))
    made = mixer(experts).write(experts, routing, experts.prior(routing), 0)
    assert made.lora.rank == MAX_RANK


def test_a_file_gives_the_same_mixer_and_damage_is_told(tmp_path: Path) -> None:
    experts = repository()
    saved, path = mixer(experts), tmp_path / "generator.safetensors"
    saved.save(path)
    read = load_generator(path, FINGERPRINT)
    assert isinstance(read, LoraMixer) and read.notes == {"steps": 1}
    routing = routed(4, [1, 2])
    one, two = (g.write(experts, routing, experts.prior(routing), 3).lora.vector() for g in (saved, read))
    torch.testing.assert_close(one, two, atol=2e-2, rtol=2e-2)  # float16
    with pytest.raises(RepositoryError, match="belongs to backbone"):
        load_generator(path, "0" * 16)
    with pytest.raises(RepositoryError, match="is a mixer"):
        LoraGenerator.load(path, FINGERPRINT)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RepositoryError, match="damaged"):
        load_generator(path, FINGERPRINT)


def test_a_repository_keeps_what_its_experts_share(tmp_path: Path) -> None:
    shared = random_lora(LoraLayout(MODULES, 3), 7, size=0.1)
    experts = repository(shared=shared)
    experts = replace(experts, experts=(replace(experts.experts[0], forgetting={"class names": 1.5}), *experts.experts[1:]))
    save_repository(experts, tmp_path)
    read = load_repository(tmp_path, LoraLayout(MODULES, 9), FINGERPRINT)
    assert read.shared is not None and read.shared.rank == 3 and read.layout.rank == 2
    assert read.experts[0].forgetting == {"class names": 1.5}
    torch.testing.assert_close(read.shared.vector(), shared.vector(), atol=1e-3, rtol=1e-2)
    whole = read.lora(1)
    for m in MODULES:
        expected = read.shared.factors[m.name].delta + read.own(1).factors[m.name].delta
        torch.testing.assert_close(whole.factors[m.name].delta, expected)
