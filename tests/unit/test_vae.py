"""The conditional VAE, and the basis of its coordinates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import noise
from torch.distributions import Normal, kl_divergence

from core.sglora.prior import SemanticPrior
from core.sglora.subspace import VARIANCE_FLOOR, Basis
from core.sglora.vae import ConditionalVAE, Gaussian, VaeConfig

CONFIG = VaeConfig(coordinates=6, latent=4, hidden=32)


def new_vae(seed: int = 0) -> ConditionalVAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ConditionalVAE(CONFIG)


def gaussian(seed: int) -> Gaussian:
    return Gaussian(noise(5, 4, seed=seed), noise(5, 4, seed=seed + 1))


def as_torch(g: Gaussian) -> Normal:
    return Normal(g.mean, (0.5 * g.log_variance).exp())


def test_kl_against_torch_distributions():
    p, q = gaussian(1), gaussian(3)
    torch.testing.assert_close(p.kl(q), kl_divergence(as_torch(p), as_torch(q)), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(p.kl(p), torch.zeros(5, 4), atol=1e-6, rtol=0)
    assert (p.kl(q) > 0).all()


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_networks_by_hand(slope: float) -> None:
    """Encoder, prior and decoder have 2, 2 and 3 layers, as in the paper. No activation comes after the last one."""
    torch.manual_seed(1)
    vae = ConditionalVAE(replace(CONFIG, slope=slope))
    torch.nn.init.normal_(vae.decoder[-1].weight)
    theta, condition, z = (3 * noise(5, n, seed=n) for n in (6, 12, 4))

    def output(name: str, layers: int, *inputs: torch.Tensor) -> np.ndarray:
        parameters = [p.detach().numpy() for key, p in vae.named_parameters() if key.startswith(f"{name}.")]
        assert len(parameters) == 2 * layers
        x = np.concatenate([i.numpy() for i in inputs], 1)
        for number, (weight, bias) in enumerate(zip(parameters[::2], parameters[1::2], strict=True), 1):
            x = x @ weight.T + bias
            x = np.where(x < 0, slope * x, x) if number < layers else x
        return x

    with torch.no_grad():
        found = {
            "encoder": (vae.encode(theta, condition), output("encoder", 2, theta, condition)),
            "prior": (vae.condition_prior(condition), output("prior", 2, condition)),
        }
        decoded = vae.decode_step(z, condition).numpy()
    for gaussian, expected in found.values():
        mean, log_variance = np.split(expected, 2, 1)
        assert min(mean.min(), log_variance.min()) < 0 < max(mean.max(), log_variance.max())
        np.testing.assert_allclose(gaussian.mean.numpy(), mean, atol=1e-5, rtol=1e-4)
        np.testing.assert_allclose(gaussian.log_variance.numpy(), log_variance.clip(-8, 4), atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(decoded, output("decoder", 3, z, condition), atol=1e-4, rtol=1e-4)


def test_elbo_against_torch_distributions():
    vae, theta, condition, z_noise = new_vae(), noise(5, 6, seed=1), noise(5, 12, seed=2), noise(5, 4, seed=3)
    with torch.no_grad():
        vae.decoder[-1].weight.copy_(noise(6, 32, seed=4))
        elbo = vae.elbo(theta, condition, z_noise)
        posterior, prior = (as_torch(g) for g in (vae.encode(theta, condition), vae.condition_prior(condition)))
        rebuilt = condition[:, :6] + vae.decode_step(posterior.mean + posterior.stddev * z_noise, condition)
    torch.testing.assert_close(elbo.error, torch.nn.functional.mse_loss(rebuilt, theta))
    assert float(elbo.kl) == pytest.approx(float(kl_divergence(posterior, prior).sum(1).mean()), rel=1e-4)


def loss(vae: ConditionalVAE, theta: torch.Tensor, condition: torch.Tensor, seed: int, weight: float) -> torch.Tensor:
    elbo = vae.elbo(theta, condition, noise(len(theta), 4, seed=seed))
    return elbo.error + weight * elbo.kl


def test_gradients_reach_every_weight():
    vae = new_vae()
    optimiser = torch.optim.SGD(vae.parameters(), lr=0.1)
    for _ in range(2):  # the decoder's last layer starts at zero, so layers before it get a gradient only in the second step
        optimiser.zero_grad()
        loss(vae, noise(16, 6, seed=1), noise(16, 12, seed=2), 3, 1.0).backward()
        optimiser.step()
    assert [name for name, p in vae.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_training_learns_what_the_condition_says():
    """theta is a linear function of the condition. The decoder must learn to be better than the condition's mean."""
    theta_of, condition = noise(12, 6, seed=1), noise(64, 12, seed=2)
    theta = condition @ theta_of / 3
    vae = new_vae()
    optimiser = torch.optim.Adam(vae.parameters(), lr=1e-2)
    for step in range(150):
        optimiser.zero_grad()
        loss(vae, theta, condition, step, 0.03).backward()
        optimiser.step()
    with torch.no_grad():
        rebuilt = condition[:, :6] + vae.decode_step(vae.condition_prior(condition).mean, condition)
    assert (rebuilt - theta).square().mean() < 0.1 * (condition[:, :6] - theta).square().mean()


def test_log_variances_are_bounded():
    vae = new_vae()
    far = vae.condition_prior(1e4 * noise(3, 12, seed=1)).log_variance
    assert far.min() >= -8 and far.max() <= 4


# The basis


VECTORS, ORIGIN = noise(8, 40, seed=1) @ torch.diag(torch.linspace(3, 0.1, 40)), noise(40, seed=2)


@pytest.mark.parametrize("dimensions", [3, 8, 100])
def test_basis_against_numpy(dimensions):
    basis = Basis.fit(VECTORS, ORIGIN, dimensions)
    centred = (VECTORS - ORIGIN).numpy().astype(np.float64)
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    d = min(dimensions, 8)
    assert basis.dimensions == d and basis.components.shape == (d, 40)
    np.testing.assert_allclose(basis.scale.numpy(), singular[:d] / np.sqrt(8), rtol=1e-4)
    projector = rows[:d].T @ rows[:d]  # independent of the directions' signs
    np.testing.assert_allclose((basis.components.T @ basis.components).numpy(), projector, atol=1e-4)
    expected = ORIGIN.numpy() + centred @ projector
    np.testing.assert_allclose((ORIGIN + basis.step(basis.encode(VECTORS))).numpy(), expected, atol=1e-4)


def test_basis_round_trip_and_whitening():
    basis = Basis.fit(VECTORS, ORIGIN, 8)
    coordinates = noise(5, 8, seed=3)
    torch.testing.assert_close(basis.encode(ORIGIN + basis.step(coordinates)), coordinates, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(basis.encode(VECTORS).square().mean(0), torch.ones(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(basis.encode(ORIGIN), torch.zeros(8))


def test_basis_stops_at_the_rank():
    assert Basis.fit(torch.cat([VECTORS[:3], VECTORS[:3]]), ORIGIN, 6).dimensions == 3


def test_condition_projects_mean_and_variance():
    basis = Basis.fit(VECTORS, ORIGIN, 4)
    prior = SemanticPrior(noise(40, seed=5), noise(40, seed=6).square())
    condition = basis.condition(prior)
    covariance = basis.components.numpy() @ np.diag(prior.variance.numpy()) @ basis.components.numpy().T
    expected = np.log(np.diag(covariance) / basis.scale.numpy() ** 2 + VARIANCE_FLOOR)
    torch.testing.assert_close(condition[:4], basis.encode(prior.mean))
    np.testing.assert_allclose(condition[4:].numpy(), expected, rtol=1e-4, atol=1e-4)
    certain = basis.condition(SemanticPrior(prior.mean, torch.zeros(40)))
    assert torch.isfinite(certain).all(), "an expert without variance still gives a finite condition"
