"""A visitor's own experts: routing to own experts, import of foreign adapters, files, comparison, and maps."""

import json
import re
from dataclasses import replace

import pytest
import torch
from random_engines import TASKS, random_engine
from tiny_models import noise, random_lora, tiny_backbone
from zips import unzipped, zipped

from app.page.views import experts_html
from core.backbones.description import embed_descriptions
from core.backbones.lora import Lora, LoraLayout
from core.backbones.lora_algebra import merge
from core.backbones.peft_format import save_peft
from core.common.errors import RepositoryError
from core.experts.adapter_files import provenance
from core.experts.files import INDEX_FILE
from core.experts.own import MAX_LOST, OwnEntry, OwnExperts, adapter_in_zip, import_adapter, load_zip, save_zip
from core.sglora.engine import SGLora
from core.sglora.repository import Expert
from core.sglora.request import AdapterRequest

RECALL = {"i2t": {"R@1": 10.0, "R@5": 30.0, "R@10": 50.0}, "t2i": {"R@1": 20.0, "R@5": 40.0, "R@10": 60.0}, "images": 50}
SENTENCE = "a photo of a cactus on a window sill"


@pytest.fixture(scope="module")
def engine() -> SGLora:
    return random_engine(tiny_backbone(adapt_blocks=2))


def own(engine: SGLora, name: str, seed: int = 0, description: str = SENTENCE) -> OwnEntry:
    layout, basis = engine.repository.layout, engine.repository.basis
    expert = Expert(name, description, "own", "own photos", 30, seed, 16, RECALL, RECALL)
    embedding = embed_descriptions(engine.backbone, [description])[0]
    numbers = 0.05 * noise(layout.size, seed=50 + seed), 0.01 * noise(basis.dimensions, seed=90 + seed).square()
    return OwnEntry(expert, *numbers, embedding)


def exported(engine: SGLora, lora: Lora, folder):
    save_peft(lora, folder, engine.backbone.fingerprint, "tiny", {"seed": 1})
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def delta(lora: Lora) -> torch.Tensor:
    """All weight changes as one float64 vector, by hand."""
    parts = [(lora.factors[m.name].b.double() @ lora.factors[m.name].a.double()).reshape(-1) for m in lora.modules]
    return torch.cat(parts)


# Own experts


def test_repository_is_the_shipped_experts_and_then_the_own_ones(engine):
    own_experts = OwnExperts(engine.repository)
    assert own_experts.repository is engine.repository and own_experts.entries == ()
    full = own_experts.add(own(engine, "cactus", 1)).add(own(engine, "window", 2))
    assert own_experts.entries == (), "``add`` must not change the old object"
    repository, n = full.repository, len(TASKS)
    assert [e.name for e in repository.experts[n:]] == [e.name for e in full.entries] == ["cactus", "window"]
    assert repository.experts[:n] == engine.repository.experts
    assert [e.name for e in full.remove("cactus").repository.experts[n:]] == ["window"]
    with pytest.raises(RepositoryError, match="no own expert called dog"):
        full.remove("dog")
    with pytest.raises(RepositoryError, match="expert called CACTUS already"):
        full.add(own(engine, "CACTUS"))


def test_own_experts_take_part_in_generation(engine):
    """Inside the basis, the generator decides the LoRA. Outside it, the LoRA equals the merge."""
    entry, layout, basis = own(engine, "cactus"), engine.repository.layout, engine.repository.basis
    mine, mean = OwnExperts(engine.repository).add(entry).engine(engine), entry.mean
    spanned = (basis.scale[:, None] * basis.components).T
    inside = torch.linalg.lstsq(spanned, mean[:, None]).solution[:, 0]
    outside = mean - spanned @ inside
    adaptation = mine.adapt(AdapterRequest(SENTENCE, k=1, seed=2))
    routing = adaptation.routing
    assert routing.chosen.tolist() == [len(TASKS)] and outside.norm() > 1
    merged = mine.repository.merged(routing.chosen, routing.weights)
    torch.testing.assert_close(delta(merged), delta(Lora.from_vector(layout, mean)))
    torch.testing.assert_close(adaptation.prior.mean, inside, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(adaptation.prior.variance, entry.variance)
    assert [e["name"] for e in provenance(mine, adaptation)["experts"]] == ["cactus"]
    vector = spanned @ mine.generator.sample(adaptation.prior, 2).theta + outside
    assert (vector - mean).norm() > 1e-2
    torch.testing.assert_close(delta(adaptation.full), delta(Lora.from_vector(layout, vector)), atol=1e-4, rtol=0)
    # If routing chooses only shipped experts, nothing changes.
    request = AdapterRequest("a photo of a dog", k=1, seed=2)
    torch.testing.assert_close(mine.adapt(request).full.vector(), engine.adapt(request).full.vector(), atol=1e-4, rtol=0)


# Import


def test_a_generated_adapter_comes_back_as_it_was(engine, tmp_path):
    engine = replace(engine, generator=random_engine(engine.backbone, trained=False).generator)  # its sample is the merge
    shared = random_lora(LoraLayout(engine.repository.layout.modules, 3), 5)
    engine = replace(engine, repository=replace(engine.repository, shared=shared))
    lora = engine.repository.with_shared(engine.adapt(AdapterRequest("photos of puppies", seed=3)).own)
    own_experts = import_adapter(engine, exported(engine, lora, tmp_path / "mine"), SENTENCE, OwnExperts(engine.repository))
    entry, mine = own_experts.entries[0], own_experts.engine(engine)
    assert (
        entry.name == "cactus on a window" and entry.expert.lost < 1e-4 and entry.rest is None and entry.expert.gain() is None
    )
    source = f"adapter of rank {lora.rank}"
    assert (entry.expert.description, entry.expert.group, entry.expert.source) == (SENTENCE, "imported", source)
    found = mine.adapt(AdapterRequest(SENTENCE, k=1, seed=4))
    assert found.routing.chosen.tolist() == [len(TASKS)]
    torch.testing.assert_close(delta(found.full), delta(lora), atol=1e-4, rtol=1e-3)


def test_a_foreign_adapter_is_kept_as_it_came(engine, tmp_path):
    layout, n = engine.repository.layout, len(TASKS)
    lora = random_lora(LoraLayout(layout.modules, 3), 7)
    own_experts = import_adapter(engine, exported(engine, lora, tmp_path / "mine"), SENTENCE, OwnExperts(engine.repository))
    (entry,) = own_experts.entries
    assert entry.rest is not None and entry.expert.lost == 0 and not entry.mean.any()
    assert entry.memory == 4 * (layout.size + n + engine.backbone.sentence_dim + lora.parameters)
    repository = load_zip(save_zip(own_experts), engine).repository
    first = Lora.from_vector(repository.layout, repository.means[0])
    for found in (own_experts.repository, repository, repository.subset([0, n])):
        torch.testing.assert_close(delta(found.lora(len(found) - 1)), delta(lora))
        merged = found.merged(torch.tensor([len(found) - 1, 0]), torch.tensor([0.7, 0.3]))
        torch.testing.assert_close(delta(merged), 0.7 * delta(lora) + 0.3 * delta(first), atol=1e-6, rtol=1e-4)
    mine = own_experts.engine(engine)
    assert torch.isfinite(mine.adapt(AdapterRequest(SENTENCE, k=1)).full.vector()).all()


def test_an_adapter_loses_what_the_frozen_a_cannot_hold(engine, tmp_path):
    lora = merge([engine.repository.lora(0), random_lora(LoraLayout(engine.repository.layout.modules, 3), 7)], [1.0, 0.1])
    own_experts = import_adapter(engine, exported(engine, lora, tmp_path / "mine"), SENTENCE, OwnExperts(engine.repository))
    (entry,) = own_experts.entries
    assert 1e-3 < entry.expert.lost < MAX_LOST and entry.rest is None
    assert load_zip(save_zip(own_experts), engine).entries[0].expert.lost == entry.expert.lost


def test_imported_adapters_from_a_zip(engine, tmp_path):
    files = exported(engine, engine.repository.lora(0), tmp_path / "mine")
    first = import_adapter(engine, files, SENTENCE, OwnExperts(engine.repository))
    for content in (files, {f"my adapter/{name}": data for name, data in files.items()}):
        content = {"__MACOSX/adapter_config.json": b"", "README.md": b"x", **content}
        again = import_adapter(engine, adapter_in_zip(zipped(content)), SENTENCE, first)
        assert [e.name for e in again.entries] == ["cactus on a window", "cactus on a window 2"]
        torch.testing.assert_close(again.entries[0].mean, again.entries[1].mean, atol=1e-6, rtol=1e-4)


def test_saved_experts_come_back_with_their_gains_over_before_and_over_the_shared_lora(engine: SGLora) -> None:
    """Experts saved before the shared LoRA was measured load, and have one gain."""
    with pytest.raises(RepositoryError, match="no own experts to save"):
        save_zip(OwnExperts(engine.repository))
    old, new = own(engine, "old"), own(engine, "new")
    shared = RECALL | {"i2t": RECALL["i2t"] | {"R@1": 13.0}}
    new = replace(new, expert=replace(new.expert, after=RECALL | {"t2i": RECALL["t2i"] | {"R@1": 26.0}}, shared=shared))
    saved = save_zip(OwnExperts(engine.repository).add(old).add(new))
    files = unzipped(saved)
    index = json.loads(files[INDEX_FILE])
    del index["experts"][0]["shared"]
    read = load_zip(zipped(files | {INDEX_FILE: json.dumps(index).encode()}), engine)
    assert [entry.expert for entry in read.entries] == [old.expert, new.expert]
    for entry, given in zip(read.entries, (old, new), strict=True):
        assert torch.equal(entry.mean, given.mean) and torch.equal(entry.variance, given.variance)
        torch.testing.assert_close(entry.embedding, given.embedding, atol=1e-5, rtol=0)
    first, second = re.findall(r"<small>(.*?)</small>", str(experts_html.own_list(read)))
    assert first == "gain +0.0 R@1"
    assert second == "gain +3.0 R@1 · +1.5 over the part that all experts share"
