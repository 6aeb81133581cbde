"""A backbone without experts: an open_clip model is searched zero-shot, then with own experts, merged exactly."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import noise, random_lora, tiny_backbone

from core.backbones.lora import Lora
from core.backbones.peft_format import save_peft
from core.common.errors import RepositoryError
from core.experts.load import load_engine
from core.experts.own import OwnEntry, OwnExperts, import_adapter, load_zip, save_zip
from core.experts.projection import description_map, latent_map
from core.sglora.description import embed_descriptions
from core.sglora.engine import SGLora
from core.sglora.repository import Expert
from core.sglora.request import AdapterRequest

SENTENCES = ("photos of boats", "photos of red trains", "photos of a garden")


@pytest.fixture(scope="module")
def none() -> SGLora:
    return load_engine(tiny_backbone(adapt="texts"))


def with_own(none: SGLora, folder) -> tuple[SGLora, dict[str, Lora]]:
    """Two experts as training makes them, and an imported adapter; each expert's LoRA by its description."""
    layout, own_experts, loras = none.repository.layout, OwnExperts(none.repository), {}
    for seed, sentence in enumerate(SENTENCES[:2]):
        mean = 0.1 * noise(layout.size, seed=seed)
        embedding = embed_descriptions(none.backbone, [sentence])[0]
        expert = Expert(sentence, sentence, "own", "own photos", 30, 0, 16, {}, {})
        own_experts = own_experts.add(OwnEntry(expert, mean, torch.zeros(0), embedding))
        loras[sentence] = Lora.from_vector(layout, mean)
    loras[SENTENCES[2]] = random_lora(replace(none.backbone.layout, rank=3), 7)
    save_peft(loras[SENTENCES[2]], folder, none.backbone.fingerprint, "tiny", {})
    return import_adapter(none, folder, SENTENCES[2], own_experts).engine(none), loras


def test_without_experts_a_sentence_gets_three_ways_on(none: SGLora) -> None:
    assert (len(none.repository), none.generator, none.parameters) == (0, None, 0)
    for ask in (none.route, lambda sentence: none.adapt(AdapterRequest(sentence))):
        with pytest.raises(RepositoryError, match=r"no expert .* captioned photos, import a LoRA .*--experts"):
            ask("photos of boats")


@pytest.mark.parametrize("k", [1, 2, 3])
def test_own_experts_are_merged_exactly(none: SGLora, tmp_path, k: int) -> None:
    engine, loras = with_own(none, tmp_path)
    made = engine.adapt(AdapterRequest("photos of trains and boats", k=k, tau=0.05))
    cosines = embed_descriptions(none.backbone, SENTENCES) @ embed_descriptions(none.backbone, ["trains and boats"])[0]
    nearest = cosines.argsort(descending=True)[:k]
    weights = (cosines[nearest] / 0.05).exp() / (cosines[nearest] / 0.05).exp().sum()
    for m in none.backbone.layout.modules:
        deltas = [loras[SENTENCES[i]].factors[m.name].delta for i in nearest.tolist()]
        expected = sum(w * delta for w, delta in zip(weights.tolist(), deltas, strict=True))
        torch.testing.assert_close(made.lora.factors[m.name].delta, expected, atol=1e-5, rtol=1e-4)
    again = engine.adapt(AdapterRequest("photos of trains and boats", k=k, tau=0.05, seed=9))
    assert torch.equal(again.lora.vector(), made.lora.vector()), "no generator draws anything"
    assert latent_map(engine, made.routing, made.z, 3) is None
    assert torch.tensor(description_map(engine.repository, owned=3).points).isfinite().all()


def test_own_experts_are_saved_and_belong_to_one_model(none: SGLora, tmp_path) -> None:
    engine, _ = with_own(none, tmp_path)
    saved = save_zip(OwnExperts(none.repository, entries_of(engine, none)))
    again = load_zip(saved, load_engine(tiny_backbone(adapt="texts"))).engine(none)  # as after a restart
    request = AdapterRequest("photos of trains", k=3)
    torch.testing.assert_close(again.adapt(request).lora.vector(), engine.adapt(request).lora.vector())
    with pytest.raises(RepositoryError, match="belongs to other experts"):
        load_zip(saved, load_engine(tiny_backbone(seed=1, adapt="texts")))


def entries_of(engine: SGLora, none: SGLora) -> tuple[OwnEntry, ...]:
    r = engine.repository
    parts = zip(r.experts, r.means, r.variances, r.embeddings, strict=True)
    return tuple(OwnEntry(*part, rest=r.rests.get(i)) for i, part in enumerate(parts))
