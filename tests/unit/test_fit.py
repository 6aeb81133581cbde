"""Whether an expert fits a sentence: the threshold compared with numpy, and the weighted means by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_engines import DESCRIPTION, random_engine
from tiny_models import noise

from core.backbones.lora import LoraLayout, LoraModule
from core.experts.adapter_files import fit_facts
from core.sglora.engine import SGLora
from core.sglora.fit import Fit
from core.sglora.repository import CLASS_NAMES, Expert, ExpertRepository
from core.sglora.request import AdapterRequest
from core.sglora.subspace import Basis
from core.training.closeness import LOWEST, NEAR, closeness_threshold, others_of

LAYOUT = LoraLayout((LoraModule("q", 2, 2),), 1)


def repository(embeddings: torch.Tensor, groups: tuple[str, ...]) -> ExpertRepository:
    experts = tuple(Expert(f"e{i}", f"e{i}", group, "none", 1, 0, 1, {}, {}) for i, group in enumerate(groups))
    n = len(experts)
    numbers = (Basis(torch.eye(4), torch.ones(4)), torch.zeros(n, 4), torch.zeros(n, 4), embeddings)
    return ExpertRepository("f" * 16, LAYOUT, experts, *numbers)


@pytest.fixture(scope="module")
def sglora(engine: SGLora) -> SGLora:
    return random_engine(engine.backbone)


def test_a_topic_leaves_out_its_domain_or_what_is_close() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.5, 0.75**0.5], [-1.0, 0.0]])
    experts = repository(embeddings, ("scenes", "scenes", "scenes", "food", "food"))
    assert others_of(experts, 0).tolist() == [2, 3, 4], "the second topic is so close that it counts as the same topic"
    assert others_of(experts, 4).tolist() == [0, 1, 2], "all food topics are one domain"


def test_the_threshold_is_a_quantile_over_topics_that_are_left_out() -> None:
    embeddings = torch.nn.functional.normalize(noise(30, 5, seed=3), dim=-1)
    groups = ("scenes",) * 20 + ("food",) * 6 + ("birds",) * 4
    rows, closeness = embeddings.double().numpy(), []
    for i in range(30):
        similarity = sorted(
            (
                float(rows[i] @ rows[j])
                for j in range(30)
                if i != j and rows[i] @ rows[j] <= NEAR and (groups[i] == "scenes" or groups[i] != groups[j])
            ),
            reverse=True,
        )[:4]
        closeness.append(np.average(similarity, weights=np.exp(np.array(similarity) / 0.1)))
    assert closeness_threshold(repository(embeddings, groups)) == pytest.approx(np.quantile(closeness, LOWEST), abs=1e-4)
    assert closeness_threshold(repository(embeddings[:4], groups[:4])) is None, "too few topics for a threshold"


def test_without_a_shared_part_the_own_part_is_all_there_is(sglora: SGLora) -> None:
    plain = replace(sglora, repository=replace(sglora.repository, shared=None, closeness_threshold=1.0))
    result = plain.adapt(AdapterRequest(DESCRIPTION))
    assert result.fits, "the page must not say that only the shared part is applied"
    assert Fit.of(plain, plain.route("fotky mého psa ve sněhu")).remark is not None
    for name, factors in result.full.factors.items():
        torch.testing.assert_close(factors.delta, result.own.factors[name].delta)


def test_forgetting_is_the_routed_experts_mean(sglora: SGLora) -> None:
    lost = [4.0, -2.0, 8.0, 1.0, None, 3.0]
    experts = tuple(
        replace(expert, forgetting={} if points is None else {CLASS_NAMES: points, "food": 50.0})
        for expert, points in zip(sglora.repository.experts, lost, strict=True)
    )
    forgetful = replace(sglora, repository=replace(sglora.repository, experts=experts))
    routing = forgetful.route(DESCRIPTION, k=6)
    expected = np.average([lost[i] or 0.0 for i in routing.chosen.tolist()], weights=routing.weights.numpy())
    fit = Fit.of(forgetful, routing)
    assert fit.forgetting == pytest.approx(expected, abs=1e-4)
    assert fit_facts(fit) == {
        "fits": True,
        "closeness": round(fit.closeness, 4),
        "forgetting": round(fit.forgetting, 2),
        "remark": None,
    }
