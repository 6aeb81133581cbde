"""The offline phase on small made-up data, with the real towers: losses, sampled tasks, topics, caches, resuming, experts,
their snapshots, the generator."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_up_photos import COLOURS, SHAPES, captioned, draw
from recalls import mixed
from tiny_models import frozen_layout, random_lora

from core.backbones.description import embed_descriptions
from core.backbones.embedded import EmbeddedBackbone, load_embedded, load_shared
from core.backbones.frozen_towers import EmbeddedTowers
from core.backbones.lora import Lora, LoraLayout, LoraModule
from core.backbones.lora_algebra import merge
from core.common.errors import DataError, DescriptionError, RepositoryError
from core.common.metrics import Relevance
from core.data import Sample, read_folder
from core.experts.files import load_generator, load_repository
from core.sglora.engine import SGLora
from core.sglora.repository import Expert, ExpertRepository
from core.sglora.request import DEFAULT_WEIGHT, AdapterRequest
from core.sglora.router import SparseRouter
from core.sglora.subspace import Basis
from core.training import dense_tasks, generator, shared_lora, translations
from core.training.backbone import BackboneRecipe, coco_held_out, train_backbone
from core.training.class_names import class_name_texts
from core.training.closeness import closeness_threshold
from core.training.corpus import Corpus, load_corpus, parts
from core.training.dense_tasks import DenseTasks
from core.training.discovery import discover, read_descriptions
from core.training.experts import ExpertTraining, photos_like, runs_folder, train_experts
from core.training.features import image_features, text_features
from core.training.generator import GeneratorRecipe, fit_generator, train_generator
from core.training.keywords import common_phrases, photo_words, phrases, stem
from core.training.objective import CONFUSED_NAMES, MOVED_NAMES, Objective, contrastive
from core.training.recipe import ExpertRecipe
from core.training.shared_lora import BothHeadsRecipe, train_shared_lora
from core.training.snapshots import read_snapshots, snapshots_file
from core.training.translations import MapRecipe

RECIPE = ExpertRecipe(
    steps=4, batch=12, everyday=4, snapshots=2, tokens=9, shared_steps=6, keyword=20, fine=40, least=20, classes=3
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three data folders of coloured shapes: captioned, labelled, and COCO-like."""
    root = tmp_path_factory.mktemp("data")
    captioned(root / "flickr8k", 180)
    for name in ("coco", "labelled"):
        (root / name / "images").mkdir(parents=True)
    lines: dict[str, list[dict[str, object]]] = {"coco/captions.jsonl": [], "labelled/labels.jsonl": []}
    captions, labels = lines.values()
    for i in range(170):
        draw(root / "coco" / f"images/{i}.png", i % 3, i % 5, 1000 + i)
        captions.append({"image": f"images/{i}.png", "split": "train", "captions": [f"a {COLOURS[i % 5]} thing number {i}"]})
    for i in range(100):
        domain, label = ("objects", SHAPES[i % 3]) if i % 2 else ("aerial", f"{COLOURS[i // 2 % 5]} field")
        draw(root / "labelled" / f"images/{i}.png", i % 3, i // 2 % 5, 2000 + i)
        labels.append({"image": f"images/{i}.png", "set": "made-up", "domain": domain, "label": label})
    lines["languages/captions.jsonl"] = [{"image": "images/101.png", "en": "A boat", "de": "ein Boot", "cs": "loď"}]
    chinese = {"zh": ["红色的船", "船"], "en-zh": [["A boat", "一艘船"], ["A red boat", "一艘红船"]]}
    lines["languages/chinese.jsonl"] = [{"image": "images/101.png", **chinese}]
    (root / "languages").mkdir()
    for file, rows in lines.items():
        (root / file).write_text("\n".join(map(json.dumps, rows)))
    return root


@pytest.fixture(autouse=True)
def few_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Preparing the usual number takes longer than all other work for a small generator."""
    monkeypatch.setattr(generator, "BETWEEN", 64)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def corpus(data: Path, cache: Path, backbone: EmbeddedBackbone) -> Corpus:
    return load_corpus(data, backbone, cache, lambda _: None)


@pytest.mark.slow
def test_captions_in_other_languages_join_their_photo(corpus: Corpus) -> None:
    """In German and French, the first translation. Chinese trains its map alone."""
    own = [[corpus.strings[i] for i in rows] for rows in corpus.own_texts]
    texts = {sample.path.name: (sample.captions, each) for sample, each in zip(corpus.samples, own, strict=True)}
    captions, joined = texts["101.png"]
    assert joined == [*captions, "ein Boot"] and texts["102.png"][1] == [*texts["102.png"][0]]


def test_contrastive_shares_the_target_among_several_positives() -> None:
    images = F.normalize(torch.randn(2, 8, generator=torch.Generator().manual_seed(1)), dim=-1)
    texts = F.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(2)), dim=-1)
    positive = torch.tensor([[True, True, False], [False, False, True]])
    logits = images @ texts.T
    rows = [-(F.log_softmax(logits[0], 0)[:2].mean()), -F.log_softmax(logits[1], 0)[2]]
    columns = [-F.log_softmax(logits[:, j], 0)[i] for j, i in enumerate((0, 0, 1))]
    expected = (torch.stack(rows).mean() + torch.stack(columns).mean()) / 2
    torch.testing.assert_close(contrastive(images, texts, positive, 1.0), expected)


@pytest.mark.slow
@pytest.mark.parametrize(("adapted", "weight"), [("texts", 0.7), ("photos", 1.0), ("both", 0.7)])
def test_the_loss_of_a_batch_by_hand(data: Path, cache: Path, backbone: EmbeddedBackbone, adapted: str, weight: float) -> None:
    """The batch holds photos with one caption each. Zero-shot has the share 1 - weight in the scores. For adapters of texts the
    penalty counts how far names move from their places under the shared part. For adapters of photos it is the divergence on
    these photos and on all everyday photos."""
    texts_alone, shared = adapted == "texts", backbone.shared
    model = backbone if texts_alone else backbone.adapting("photos")
    corpus = load_corpus(data, model, cache, lambda _: None)
    corpus, rows = replace(corpus, own_texts=tuple(own[:1] for own in corpus.own_texts)), np.flatnonzero(corpus.captioned)[:10]
    lora = random_lora(LoraLayout(tuple(model.linears.values()), 2) if adapted == "both" else model.layout, 2, 0.05)
    lora = merge([shared, lora], [1.0, 1.0]) if texts_alone and shared else lora
    objectives = [Objective(corpus, 20.0, m, everyday=0 if texts_alone else 1000, weight=weight) for m in (2.0, 0.0)]
    with torch.no_grad():
        lost, free = (float(objective.loss(rows, lora, np.random.default_rng(0))) for objective in objectives)

    def scores(texts: list[str], rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        photos = corpus.prefixes[torch.from_numpy(rows)]
        before, after = (model.suffix(photos, change) @ model.encode_text(texts, change).T for change in (None, lora))
        return before, (1 - weight) * before + weight * after

    logits, target = 20.0 * scores([corpus.strings[corpus.own_texts[r][0]] for r in rows], rows)[1], torch.arange(10)
    assert free == pytest.approx(float(F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2, abs=2e-2)
    if texts_alone:
        after, before = (model.encode_text(class_name_texts(), change) for change in (lora, shared))
        penalty = MOVED_NAMES * float((after - before).square().sum(1).mean())
    else:
        others = np.flatnonzero(corpus.everyday & corpus.train)
        assert len(others) > 10
        p, q = (torch.log_softmax(20 * each, 1) for each in scores(class_name_texts(), np.concatenate([rows, others])))
        penalty = CONFUSED_NAMES * float((p.exp() * (p - q)).sum(1).mean())
    assert lost - free == pytest.approx(2.0 * penalty, rel=3e-2)


@pytest.mark.slow
def test_training_looks_at_every_view_of_a_photo(data: Path, cache: Path, backbone: EmbeddedBackbone) -> None:
    paper = backbone.adapting("photos")
    corpus = load_corpus(data / "labelled", paper, cache, lambda _: None, views=2)
    rows = torch.arange(len(corpus))
    views = torch.stack([each[rows] for each in (corpus.prefixes, *corpus.views)])
    assert (views[1:] != views[0]).flatten(2).any(2).all(), "a view must differ from the photo"
    rng, seen = np.random.default_rng(0), set()
    for _ in range(3):
        same = (corpus.seen(rows, rng) == views).flatten(2).all(2)
        assert torch.equal(same.sum(0), torch.ones(len(rows), dtype=torch.long)), "each photo must be one of its views"
        seen |= set(same.int().argmax(0).tolist())
    assert seen == {0, 1}


@pytest.mark.slow
def test_a_shared_part_finds_more_in_mixed_scores(
    data: Path, cache: Path, tmp_path: Path, backbone: EmbeddedBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class ShortMapRecipe(MapRecipe):
        steps: int = 5

    monkeypatch.setattr(translations, "MapRecipe", ShortMapRecipe)
    monkeypatch.setattr(shared_lora, "RUNS", 2)
    heads, file = backbone.with_shared(None), tmp_path / "shared.safetensors"
    recipe = BothHeadsRecipe(steps=8, lr=2e-3, batch=24, everyday=8, tokens=9, names=100, memory=1.0, views=1)
    made = train_shared_lora(data, file, cache, heads, recipe, lambda _: None)
    assert made.fingerprint == heads.with_shared(load_shared(file, heads.linears)).fingerprint != heads.fingerprint
    corpus = load_corpus(data / "flickr8k", made, cache, lambda _: None)
    rows = np.flatnonzero(corpus.captioned & corpus.train)
    before, after = (corpus.recalls(rows, lora) for lora in (None, made.shared))
    assert sum(after[way]["R@10"] - before[way]["R@10"] for way in ("t2i", "i2t")) > 5

    # Without the last run's file, a second call trains only that run. What follows the runs is as before: the test stops there.
    kept = sorted((cache / "shared").iterdir())
    kept[-1].unlink()
    written = [path.stat().st_mtime_ns for path in kept[:-1]]

    def log(message: str) -> None:
        if "wrote" in message:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train_shared_lora(data, file, cache, heads, recipe, log)
    assert sorted((cache / "shared").iterdir()) == kept
    assert [path.stat().st_mtime_ns for path in kept[:-1]] == written


def test_words_that_captions_agree_on() -> None:
    assert photo_words(("two dogs on grass", "a dog runs", "the red ball")) == {"dog"}
    assert photo_words(("a tall tree",)) == {"tall", "tree"}, "a single caption decides alone"
    assert [stem(w) for w in ("dogs", "puppies", "grass", "tennis", "bus")] == ["dog", "puppy", "grass", "tennis", "bus"]
    found = phrases(("A brown dog is running on the grass, with a ball.",))
    assert found == {"brown dog", "running on the grass"}, "both ends name something; punctuation and “is” end a phrase"


def test_every_photo_has_one_part_and_val_only_measures() -> None:
    samples = [Sample(Path(f"{i}.jpg"), ("a",), "val" if i % 4 == 0 else "train") for i in range(200)]
    samples += [Sample(Path(f"{i}.jpg"), (), "", f"c{i % 4}", "food", "x") for i in range(200)]
    samples += [Sample(Path("once.jpg"), (), "", "rare", "objects", "y")]
    train, validation, test = parts(samples)
    assert (train.astype(int) + validation + test == 1).all()
    assert test[:200].tolist() == [i % 4 == 0 for i in range(200)] and test[-1]
    assert 0.04 < validation[:200].mean() < 0.16 and 0.65 < train[200:400].mean() < 0.85
    reversed_parts = parts(samples[::-1])
    assert all(np.array_equal(one, other[::-1]) for one, other in zip((train, validation, test), reversed_parts, strict=True))


@pytest.mark.slow
def test_sampled_tasks_are_made_of_training_photos_that_fit_their_words(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense_tasks, "LEAST", 10)
    monkeypatch.setattr(dense_tasks, "MOST", 0.9)
    sampler, rng = DenseTasks(corpus), np.random.default_rng(0)
    assert set(SHAPES) <= set(sampler.keywords)
    named: dict[str, set[int]] = {}  # photos by word, as DenseTasks should find them
    for row in np.flatnonzero(corpus.train & corpus.scenes).tolist():
        for word in photo_words(corpus.samples[row].captions) & sampler.keywords.keys():
            named.setdefault(word, set()).add(row)
    labels = {row: corpus.samples[row].label for row in np.flatnonzero(corpus.train & ~corpus.captioned).tolist()}
    kinds = set()
    for _ in range(200):
        rows = sampler.sample(rng).tolist()
        task = set(rows)
        assert len(task) == len(rows)
        if task <= labels.keys():
            assert len({corpus.samples[r].domain for r in task}) == 1
            assert task == {row for row, label in labels.items() if label in {labels[r] for r in task}}, "whole classes"
            kinds.add("labels")
        elif task in named.values():
            kinds.add("one")
        elif any(task == one | other for one in named.values() for other in named.values()):
            kinds.add("or")
        else:
            assert any(task == one & other for one in named.values() for other in named.values())
    assert {"labels", "or", "one"} <= kinds
    with pytest.raises(DataError, match="No task was found"):
        DenseTasks(replace(corpus, train=np.zeros(len(corpus), dtype=bool)))


@pytest.mark.slow
def test_topics_are_found_without_a_list(corpus: Corpus, backbone: EmbeddedBackbone) -> None:
    tasks = discover(corpus, RECIPE)
    assert len({t.name for t in tasks}) == len(tasks)
    assert all(corpus.train[t.rows].all() and len(t.rows) >= 2 for t in tasks)
    by_name = {t.name: t for t in tasks}
    assert by_name["aerial"].description == "aerial photos" and len(by_name["aerial"].classes) == 5
    scenes = [t for t in tasks if t.group == "scenes"]
    assert scenes and {word for t in scenes for word in t.keywords.split(", ")} & {*SHAPES, *COLOURS}
    assert any(common_phrases(corpus, [t.rows for t in scenes], [""] * len(scenes)))
    for task in scenes:
        first = task.keywords.split(", ")[0]
        assert np.mean([first in photo_words(corpus.samples[r].captions) for r in task.rows]) >= 0.15
        assert task.example in {t[:1].upper() + t[1:] for t in corpus.strings}
        assert task.example in task.wordings and task.example != task.description
        # A description must not quote a single caption: each phrase occurs in the captions of at least five photos.
        for named in task.description.removeprefix("photos of ").split(" and "):
            phrase = re.sub("^(an?|people|dogs) ", "", named)
            having = [r for r in task.rows if any(phrase in c.lower() for c in corpus.samples[r].captions)]
            assert len(having) >= 5 or len(phrase.split()) == 1, phrase


def test_descriptions_are_an_object_of_sentences(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"descriptions\.json does not exist"):
        read_descriptions(file := tmp_path / "descriptions.json")
    for content, error, reason in (
        ('["photos of dogs"]', DataError, "needs a JSON object of experts' names and sentences"),
        ('{"dog": 3}', DescriptionError, "description of dog must be a text"),
    ):
        file.write_text(content)
        with pytest.raises(error, match=reason):
            read_descriptions(file)


@pytest.mark.slow
def test_training_lowers_the_loss_and_keeps_the_backbone(corpus: Corpus, backbone: EmbeddedBackbone) -> None:
    before = {k: v.clone() for k, v in backbone.adapted.state_dict().items()}
    recipe = replace(RECIPE, steps=25, lr=5e-3, memory=0.0)
    objective = recipe.objective(corpus)
    rows = np.flatnonzero(corpus.train & corpus.captioned)
    layout = frozen_layout(replace(backbone.layout, rank=recipe.rank))
    trained = ExpertTraining(corpus, recipe, Path(), layout, None).snapshots(rows, 0)

    def loss(vector: torch.Tensor) -> float:
        with torch.no_grad():
            lora = Lora.from_vector(layout, vector)
            return float(np.mean([objective.loss(rows, lora, np.random.default_rng(s)) for s in range(8)]))

    assert loss(trained.float().mean(0)) < loss(torch.zeros(layout.size)) - 0.05
    assert all(torch.equal(v, before[k]) for k, v in backbone.adapted.state_dict().items())


@pytest.mark.slow
def test_features_are_computed_once_and_resume(data: Path, tmp_path: Path, backbone: EmbeddedBackbone) -> None:
    samples, frozen, words = read_folder(data / "coco")[:68], EmbeddedTowers(), ["a red dog", "a blue boat"]
    said: list[str] = []
    whole, texts = np.array(image_features(samples, tmp_path, 0, print, frozen)), text_features(words, tmp_path, print, frozen)
    assert np.array_equal(image_features(samples, tmp_path, 0, said.append, frozen), whole)
    assert torch.equal(text_features(words, tmp_path, said.append, frozen), texts)
    assert said == []
    # A run that stopped after its first 64 photos continues there and ends with the same numbers.
    (progress,) = (tmp_path / "maps").glob("*.json")
    progress.write_text(json.dumps({"done": 64}))
    broken = np.load(progress.with_suffix(".npy"), mmap_mode="r+")
    broken[64:] = 0
    broken.flush()
    assert np.array_equal(image_features(samples, tmp_path, 0, print, frozen), whole)
    # Another photo under the same name is read again, also under a shared part.
    for towers in (frozen, backbone):
        photo = tmp_path / f"{towers is frozen}.png"
        shutil.copy(samples[0].path, photo)
        old = np.array(image_features([Sample(photo)], tmp_path, 0, print, towers))
        shutil.copy(samples[1].path, photo)
        assert not np.array_equal(image_features([Sample(photo)], tmp_path, 0, print, towers), old)


@pytest.mark.slow
def test_backbone_training_gives_the_same_heads_again(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.training.backbone.PAIRS", 200)
    recipe = BackboneRecipe(steps=2, objects=8, captioned=8, mixed=4, views=1, warmup=1)
    first, again = (train_backbone(data, tmp_path / x / "heads.safetensors", cache, recipe, lambda _: None) for x in "ab")
    assert first == again == load_embedded(tmp_path / "b" / "heads.safetensors").fingerprint
    assert coco_held_out(read_folder(data / "coco")).sum() == 160
    with pytest.raises(DataError, match=r"too few captioned photos \(170 of 1160\) in coco"):
        train_backbone(data, tmp_path / "none", cache, BackboneRecipe(captioned=1000), lambda _: None)


def test_sentences_between_experts_mix_one_with_its_closest(engine: SGLora, monkeypatch: pytest.MonkeyPatch) -> None:
    class Noted(np.random.Generator):
        among: ClassVar[set[int]] = set()

        def choice(self, items: Any, *arguments: Any, **named: Any) -> Any:
            self.among.add(len(items))
            return super().choice(items, *arguments, **named)

    monkeypatch.setattr(generator, "BETWEEN", 3)
    generator.between(engine.repository, Noted(np.random.PCG64(0)))
    assert generator.NEIGHBOURS in Noted.among


@pytest.mark.slow
def test_experts_and_a_generator(data: Path, cache: Path, corpus: Corpus, backbone: EmbeddedBackbone, tmp_path: Path) -> None:
    said: list[str] = []
    repository = train_experts(data, tmp_path / "experts", cache, backbone, RECIPE, said.append, {})
    runs = runs_folder(cache, backbone, RECIPE, data)
    stamps = {f: f.stat().st_mtime_ns for f in runs.glob("*.safetensors")}
    assert len(stamps) == len(repository) + 1, "the frozen A, and one file for each expert; the shared part is the backbone's"
    name, sentence = repository.experts[0].name, "drawings that a person described"
    written = {name: sentence, "unicorns": "photos of unicorns"}
    again = train_experts(data, tmp_path / "again", cache, backbone, RECIPE, said.append, written)
    assert any("1 descriptions match no expert, for example unicorns" in line for line in said)
    assert again.experts[0].description == sentence and again.experts[1] == repository.experts[1]
    asked = embed_descriptions(backbone, [sentence])[0]
    assert asked @ again.embeddings[0] > asked @ repository.embeddings[0] + 0.05
    assert {f: f.stat().st_mtime_ns for f in runs.glob("*.safetensors")} == stamps, "a second run trained again"
    assert torch.equal(again.means, repository.means)
    assert repository.shared is backbone.shared is not None
    assert not any(s.dataset == "coco" for s in corpus.samples), "COCO is for the base and for measuring"

    # The recorded figures equal an independent measurement on the validation photos.
    for i, expert in enumerate(repository.experts):
        if not expert.measured:
            continue
        rows = photos_like(corpus, expert, repository.embeddings[i])
        assert corpus.validation[rows].all()
        relevance = Relevance.of([corpus.captions(r) for r in rows])
        photos = corpus.prefixes[torch.from_numpy(rows)]
        similarity = mixed(backbone, photos, [*relevance.texts], repository.lora(i), DEFAULT_WEIGHT).double().numpy()
        order = np.argsort(np.log(np.exp(20 * similarity).sum(0)) / 20 - similarity, 1)
        hits = [relevance.matrix[row, order[row, :5]].any() for row in range(len(order))]
        assert expert.after["i2t"]["R@5"] == pytest.approx(100 * np.mean(hits), abs=100 / len(rows) + 1e-6)

    assert repository.closeness_threshold == closeness_threshold(repository)
    loaded = load_repository(tmp_path / "experts", backbone.layout, backbone.fingerprint, backbone.shared)
    snapshots = read_snapshots(runs, [expert.name for expert in loaded.experts]).float()
    assert snapshots.shape == (len(loaded), RECIPE.snapshots, loaded.layout.size) and loaded.basis.dimensions == len(loaded)
    torch.testing.assert_close(snapshots.mean(1), loaded.means, atol=1e-3, rtol=1e-2)
    inside = snapshots @ loaded.basis.components.T / loaded.basis.scale
    torch.testing.assert_close(inside.var(1, correction=0), loaded.variances, atol=1e-3, rtol=1e-2)
    assert (snapshots[:, 0] - snapshots[:, 1]).abs().max() > 1e-4, "snapshots must come from different steps"
    check_frozen_a(corpus, loaded.layout.a or {}, backbone)

    small = GeneratorRecipe(latent=2, hidden=8, steps=5, batch=4)
    with pytest.raises(RepositoryError, match="at least two experts"):
        train_generator(tmp_path / "none", loaded.subset([0]), runs, small, said.append)
    trained = train_generator(tmp_path / "generator.safetensors", loaded, runs, small, said.append)
    read = load_generator(tmp_path / "generator.safetensors", backbone.fingerprint)
    assert read.notes["experts"] == trained.notes["experts"] == len(loaded)
    adaptation = SGLora(backbone, loaded, read).adapt(AdapterRequest("photos of a red boat", seed=1))
    assert torch.isfinite(adaptation.lora.vector()).all()

    snapshots_file(runs, loaded.experts[1].name).unlink()
    missing = rf"lacks snapshots \({re.escape(loaded.experts[1].name)} for one\).*--cache.*train experts"
    with pytest.raises(RepositoryError, match=missing):
        train_generator(tmp_path / "none", loaded, runs, small, said.append)


def check_frozen_a(corpus: Corpus, frozen: Mapping[str, torch.Tensor], backbone: EmbeddedBackbone) -> None:
    """The widest directions of what linears read under the shared part: of one text of each training photo."""
    texts = corpus.texts[torch.from_numpy(np.concatenate([corpus.own_texts[row] for row in np.flatnonzero(corpus.train)]))]
    read = F.layer_norm(texts, texts.shape[1:], *backbone.adapted.text.mlp[0].parameters()).double()
    a = frozen["text.mlp.1"].double()
    torch.testing.assert_close(a @ a.T, torch.eye(len(a), dtype=torch.float64), atol=2e-3, rtol=0)
    most = torch.linalg.svdvals(read)[: len(a)].square().sum()
    assert (read @ a.T).square().sum() > 0.95 * most, "no directions of this number may read much more"


def made_up(means: torch.Tensor, snapshots: torch.Tensor, keys: torch.Tensor) -> ExpertRepository:
    """A repository of expert LoRAs [n, 30] with snapshots [n, M, 30] and keys [n, s]."""
    experts = tuple(Expert(f"e{i}", f"photo {i}", "scenes", "none", 1, i, 4, {}, {}) for i in range(len(means)))
    layout, basis = LoraLayout((LoraModule("q", 7, 8),), 2), Basis.fit(means)
    return ExpertRepository("f" * 16, layout, experts, basis, means, basis.encode(snapshots).var(1), keys)


@pytest.mark.slow
@pytest.mark.parametrize(("weight", "spread"), [(0.01, (1.0, 3.0)), (10.0, (0.0, 0.2))])
def test_samples_scatter_like_snapshots_unless_lambda_is_large(weight: float, spread: tuple[float, float]) -> None:
    """Experts lie on a circle. Half of the snapshots lie 2 outside it and half 2 inside: a spread of 2."""
    n, m = 12, 8
    noise = torch.randn(n, m, 30, generator=torch.Generator().manual_seed(0))
    axes, angles = 5 * torch.linalg.qr(noise[0, :2].T)[0].T, torch.arange(n) * 2 * torch.pi / n
    keys = torch.stack([angles.cos(), angles.sin()], 1)
    means = keys @ axes
    snapshots = means[:, None] * (1 + 0.4 * torch.tensor([[1.0], [-1.0]]).repeat(m // 2, 1)) + 0.05 * noise
    repository = made_up(means, snapshots, keys)
    recipe = GeneratorRecipe(latent=2, hidden=32, steps=800, kl=weight, conditions=16, between=0.0)
    generator = fit_generator(repository, snapshots, recipe, lambda _: None)
    spreads = []
    for i in range(n):
        others = repository.subset([j for j in range(n) if j != i])
        prior = others.prior(SparseRouter(others.embeddings).route("", keys[i]))
        samples = repository.basis.decode(torch.stack([generator.sample(prior, seed).theta for seed in range(32)]))
        spreads.append(float((samples @ means[i] / 5).std()))
    assert spread[0] <= np.mean(spreads) <= spread[1]
