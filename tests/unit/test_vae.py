"""The conditional VAE, and the basis of its coordinates."""

import numpy as np
import pytest
import torch
from tiny_models import noise
from torch.distributions import Normal, kl_divergence

from core.sglora.prior import SemanticPrior
from core.sglora.subspace import Basis
from core.sglora.vae import VARIANCE_FLOOR, ConditionalVAE, VaeConfig, condition

CONFIG = VaeConfig(coordinates=6, latent=4, hidden=32)


def new_vae() -> ConditionalVAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return ConditionalVAE(CONFIG)


def test_networks_by_hand() -> None:
    """Encoder, prior and decoder have 2, 2 and 3 layers, as in the paper. No activation comes after the last one."""
    vae = new_vae()
    torch.nn.init.normal_(vae.decoder[-1].weight)
    theta, c, z = (30 * noise(5, n, seed=n) for n in (6, 12, 4))

    def output(name: str, layers: int, *inputs: torch.Tensor) -> np.ndarray:
        parameters = [p.detach().numpy() for key, p in vae.named_parameters() if key.startswith(f"{name}.")]
        assert len(parameters) == 2 * layers
        x = np.concatenate([i.numpy() for i in inputs], 1)
        for number, (weight, bias) in enumerate(zip(parameters[::2], parameters[1::2], strict=True), 1):
            x = x @ weight.T + bias
            x = np.maximum(x, 0) if number < layers else x
        return x

    with torch.no_grad():
        found = {
            "encoder": (vae.encode(theta, c), output("encoder", 2, theta, c)),
            "prior": (vae.condition_prior(c), output("prior", 2, c)),
        }
        decoded = vae.decode(z, c).numpy()
    for normal, expected in found.values():
        mean, log_variance = np.split(expected, 2, 1)
        assert min(mean.min(), log_variance.min()) < 0 < max(mean.max(), log_variance.max())
        assert abs(log_variance).max() > 8, "log-variances are bounded"
        np.testing.assert_allclose(normal.mean.numpy(), mean, atol=1e-5, rtol=1e-4)
        np.testing.assert_allclose(normal.variance.log().numpy(), log_variance.clip(-8, 4), atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(decoded, c[:, :6].numpy() + output("decoder", 3, z, c), atol=1e-4, rtol=1e-4)


def test_elbo_against_torch_distributions():
    vae, theta, c, z_noise = new_vae(), noise(5, 6, seed=1), noise(5, 12, seed=2), noise(5, 4, seed=3)
    with torch.no_grad():
        vae.decoder[-1].weight.copy_(noise(6, 32, seed=4))
        elbo = vae.elbo(theta, c, z_noise)
        posterior, prior = vae.encode(theta, c), vae.condition_prior(c)
        likelihood = Normal(vae.decode(posterior.mean + posterior.stddev * z_noise, c), 1)
    nats = (likelihood.log_prob(likelihood.mean) - likelihood.log_prob(theta)).sum(1).mean()  # without the constant
    assert float(elbo.error) == pytest.approx(float(nats), rel=1e-4)
    assert float(elbo.kl) == pytest.approx(float(kl_divergence(posterior, prior).sum(1).mean()), rel=1e-4)


# The basis


VECTORS = noise(8, 40, seed=1) @ torch.diag(torch.linspace(3, 0.1, 40))


def test_basis_against_numpy():
    """Components are rounded to 8 bits. The scale whitens: coordinates of the vectors have a mean square of 1."""
    basis = Basis.fit(VECTORS)
    vectors = VECTORS.numpy().astype(np.float64)
    _, singular, rows = np.linalg.svd(vectors, full_matrices=False)
    np.testing.assert_allclose(basis.scale.numpy(), singular / np.sqrt(8), rtol=1e-4)
    projector = rows.T @ rows  # independent of the directions' signs
    np.testing.assert_allclose((basis.components.T @ basis.components).numpy(), projector, atol=2e-2)
    np.testing.assert_allclose(basis.decode(basis.encode(VECTORS)).numpy(), vectors, atol=0.1)
    assert Basis.fit(torch.cat([VECTORS[:3], VECTORS[:3]])).dimensions == 3, "the rank"


def test_condition_is_the_priors_mean_and_log_variance():
    mean, variance = noise(3, 4, seed=5), noise(3, 4, seed=6).square()
    expected = np.concatenate([mean.numpy(), np.log(variance.numpy() + VARIANCE_FLOOR)], 1)
    np.testing.assert_allclose(condition(SemanticPrior(mean, variance)).numpy(), expected, rtol=1e-5, atol=1e-6)
    certain = condition(SemanticPrior(mean, torch.zeros(3, 4)))
    assert torch.isfinite(certain).all(), "an expert without variance still gives a finite condition"
