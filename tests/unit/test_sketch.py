"""The numbers of the page's “How it works”, compared with matrices that are merged and measured by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_engines import DESCRIPTION, random_engine
from tiny_models import tiny_backbone

from core.backbones.lora import Lora
from core.sglora.engine import Adaptation, SGLora
from core.sglora.request import AdapterRequest
from core.sglora.sketch import COORDINATES, SEEDS, Sketch, norm


@pytest.fixture(scope="module")
def engine() -> SGLora:
    return random_engine(tiny_backbone(adapt_blocks=2))


@pytest.fixture(scope="module")
def made(engine: SGLora) -> Adaptation:
    return engine.adapt(AdapterRequest(DESCRIPTION, k=3, tau=0.2, seed=5))


def whole(made: Adaptation) -> np.ndarray:
    """All weight changes of the expert LoRA, as one vector."""
    return np.concatenate([(f.b.double() @ f.a.double()).numpy().ravel() for f in made.own.factors.values()])


def test_the_first_coordinates(engine: SGLora, made: Adaptation) -> None:
    sketch, repository, alpha = Sketch.of(engine, made), engine.repository, made.routing.weights.double().numpy()[:, None]
    mu, sigma2 = (x[made.routing.chosen].double().numpy() for x in (repository.coordinates, repository.variances))
    mean = (alpha * mu).sum(0)
    spread = np.sqrt((alpha * (sigma2 + mu**2)).sum(0) - mean**2)
    np.testing.assert_allclose(sketch.mean, mean[:COORDINATES], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(sketch.spread, spread[:COORDINATES], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(sketch.experts, mu[:, :COORDINATES], rtol=1e-5)
    assert sketch.coordinates == repository.basis.dimensions


def test_the_decoders_share_is_that_of_the_whole_matrices(engine: SGLora, made: Adaptation) -> None:
    routing = made.routing
    again = engine.adapt(made.request).own
    merge = sum(
        w * whole(replace(made, own=Lora.from_vector(engine.repository.layout, engine.repository.means[i])))
        for i, w in zip(routing.chosen.tolist(), routing.weights.tolist(), strict=True)
    )
    share = 100 * np.linalg.norm(whole(made) - merge) / np.linalg.norm(whole(made))
    assert Sketch.of(engine, made).added == pytest.approx(share, rel=1e-3) and share > 1
    assert norm(again) == pytest.approx(np.linalg.norm(whole(made)), rel=1e-4)
    untrained = random_engine(engine.backbone, trained=False)
    assert Sketch.of(untrained, untrained.adapt(made.request)).added == pytest.approx(0, abs=1e-4)


def test_the_widest_dimensions_of_z_and_ten_draws(engine: SGLora, made: Adaptation) -> None:
    generator, sketch = engine.generator, Sketch.of(engine, made)
    assert generator is not None
    mean, spread, z, *draws = sketch.latent
    prior = generator.latent(made.prior)
    deviation = prior.stddev.numpy()
    axes = np.argsort(-deviation)[:2]
    np.testing.assert_allclose(spread, deviation[axes], rtol=1e-4)
    np.testing.assert_allclose(mean, prior.mean.numpy()[axes], rtol=1e-4)
    np.testing.assert_allclose(z, made.z.numpy()[axes], rtol=1e-4)
    assert len(draws) == len(SEEDS) == 10
    adapters = [engine.adapt(replace(made.request, seed=seed)) for seed in SEEDS]
    np.testing.assert_allclose(draws, [adapter.z.numpy()[axes] for adapter in adapters], rtol=1e-4)
    all_of_them = np.stack([whole(adapter) for adapter in adapters])
    away = np.linalg.norm(all_of_them - all_of_them.mean(0), axis=1)
    apart = 100 * np.sqrt((away**2).mean()) / np.linalg.norm(whole(made))
    assert sketch.apart == pytest.approx(apart, rel=1e-3) and apart > 1


def test_without_a_generator_there_is_no_z(engine: SGLora, made: Adaptation) -> None:
    merging = replace(engine, generator=None)
    sketch = Sketch.of(merging, merging.adapt(made.request))
    assert sketch.latent == [] and sketch.added == 0 and sketch.theta == sketch.mean
    assert torch.equal(merging.adapt(made.request).z, torch.zeros(0))
