"""The online phase: each step compared with its parts, and properties of all experts and generators.

Experts and generator are random here, so no test depends on how well the shipped ones were trained.
"""

import json

import pytest
import torch
from random_engines import DESCRIPTION, random_engine
from tiny_models import tiny_backbone

from core.backbones.description import embed_descriptions
from core.backbones.lora import Lora
from core.backbones.peft_format import load_peft
from core.common.paths import EXPERTS
from core.common.runtime import one_core
from core.experts.adapter_files import adapter_files, provenance, weight_of, write_files
from core.experts.load import NamedBackbone, repository_folders
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest
from core.sglora.router import SparseRouter


@pytest.fixture(scope="module", params=["embedded", "open_clip"])
def sglora(request) -> SGLora:
    return random_engine(request.getfixturevalue("backbone") if request.param == "embedded" else tiny_backbone(adapt_blocks=2))


def weight_changes(*loras: Lora | None) -> dict[str, torch.Tensor]:
    """The summed weight change of ``loras`` for each linear."""
    changes: dict[str, torch.Tensor] = {}
    for name, factors in ((name, f) for lora in loras if lora is not None for name, f in lora.factors.items()):
        changes[name] = changes.get(name, 0) + factors.b @ factors.a
    return changes


@one_core()
def test_adapt_is_the_algorithm_step_by_step(sglora):
    result = sglora.adapt(AdapterRequest(DESCRIPTION, k=3, tau=0.2, seed=5, strength=0.5))
    embedding = embed_descriptions(sglora.backbone, [DESCRIPTION])[0]
    routing = SparseRouter(sglora.repository.embeddings).route(DESCRIPTION, embedding, 3, 0.2)
    assert result.routing.chosen.tolist() == routing.chosen.tolist()
    torch.testing.assert_close(result.routing.weights, routing.weights)
    repository, basis = sglora.repository, sglora.repository.basis
    spanned = (basis.scale[:, None] * basis.components).T
    coordinates = torch.linalg.lstsq(spanned, repository.means[routing.chosen].T).solution.T
    variances, mean = repository.variances[routing.chosen], routing.weights @ coordinates
    torch.testing.assert_close(result.prior.mean, mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        result.prior.variance, routing.weights @ (variances + coordinates.square()) - mean.square(), atol=1e-3, rtol=1e-3
    )
    sample, own = sglora.generator.sample(result.prior, 5), result.own
    torch.testing.assert_close(result.z, sample.z)
    b = ((sample.theta * basis.scale) @ basis.components).split([m.out_features * repository.layout.rank for m in own.modules])
    whole = weight_changes(sglora.backbone.shared)
    for m, part in zip(own.modules, b, strict=True):
        whole[m.name] = whole.get(m.name, 0) + part.view(m.out_features, -1) @ own.factors[m.name].a
    torch.testing.assert_close(weight_changes(result.full), whole, atol=1e-3, rtol=1e-3)
    factor, weight = (1.0, 0.5) if sglora.mixes else (0.5, 1.0)
    assert result.weight == weight
    torch.testing.assert_close(
        weight_changes(result.lora), {name: factor * change for name, change in whole.items()}, atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("sentence", ["photos of people surfing", "photos of a wedding"])
def test_every_sentence_has_variants(engine, sentence):
    """Uses the shipped generator. If layers of its decoder were off, all seeds would give the same adapter."""
    routing = engine.route(sentence, 4, 0.1)
    prior = engine.repository.prior(routing)
    steps = torch.stack([engine.generator.sample(prior, seed).theta - prior.mean for seed in range(4)])
    apart = torch.cdist(steps, steps)[0, 1:]
    assert apart.min() > 0.05 * steps.norm(dim=1).mean()


def test_download_and_upload_give_the_same_adapter(sglora, tmp_path):
    result = sglora.adapt(AdapterRequest(DESCRIPTION, seed=4, strength=0.7))
    origin, backbone = provenance(sglora, result), sglora.backbone
    write_files(tmp_path / "adapter", adapter_files(backbone, result.lora, origin))
    lora, read = load_peft(tmp_path / "adapter", backbone.linears.values(), backbone.fingerprint)
    assert read == json.loads(json.dumps(origin)) == origin
    for name, factors in result.lora.factors.items():
        assert torch.equal(lora.factors[name].a, factors.a) and torch.equal(lora.factors[name].b, factors.b)
    assert weight_of(read) == result.weight
    assert (read["description"], read["seed"], read["k"], read["strength"]) == (DESCRIPTION, 4, 4, 0.7)


def test_an_adapter_is_the_same_on_any_number_of_cores(sglora):
    before, made = torch.get_num_threads(), []
    try:
        for cores in (1, 2):
            torch.set_num_threads(cores)
            made.append(sglora.adapt(AdapterRequest(DESCRIPTION, seed=3)))
            assert torch.get_num_threads() == cores, "the number of the thread's cores must not change"
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(made[0].full.vector(), made[1].full.vector())


@pytest.mark.parametrize("folder", repository_folders(EXPERTS), ids=lambda folder: folder.name)
def test_every_shipped_repository_generates(engine, folder):
    """Reuses the loaded backbone, in the form that the repository needs."""
    shipped = NamedBackbone.read(folder).load(engine.backbone)
    assert shipped.backbone.adapted is engine.backbone.adapted
    lora = shipped.adapt(AdapterRequest(DESCRIPTION)).lora
    assert torch.isfinite(lora.vector()).all() and lora.vector().norm() > 0
