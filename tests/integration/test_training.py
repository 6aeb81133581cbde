"""The offline phase on small made-up data, with the real towers: losses, tasks, caches, resuming, experts, generator."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_up_photos import COLOURS, SHAPES, captioned, draw

from core.backbones.lora import Lora, initial_vector
from core.common.errors import RepositoryError
from core.common.paths import heads_path
from core.data import read_folder
from core.sglora.repository import ExpertRepository
from core.training.backbone import BackboneRecipe, coco_held_out, train_backbone
from core.training.experts import ExpertRecipe, begins_fresh, runs_folder, stop_rows, train_experts
from core.training.features import image_features, text_features
from core.training.generator import GeneratorRecipe, train_generator
from core.training.losses import contrastive, distillation
from core.training.task_dataset import Pool, load_pool, without_photos
from core.training.tasks import EVERYDAY, SCENES, Task, caption_tasks, label_tasks


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three data folders of coloured shapes: captioned, labelled, and COCO-like."""
    root = tmp_path_factory.mktemp("data")
    captioned(root / "flickr8k")
    for name in ("coco", "labelled"):
        (root / name / "images").mkdir(parents=True)
    lines: dict[str, list[dict[str, object]]] = {"coco": [], "labelled": []}
    for i in range(170):
        draw(root / "coco" / f"images/{i}.png", i % 3, i % 5, 1000 + i)
        lines["coco"].append(
            {"image": f"images/{i}.png", "split": "train", "captions": [f"a {COLOURS[i % 5]} thing number {i}"]}
        )
    for i in range(160):
        domain, label = ("objects", SHAPES[i % 3]) if i % 2 else ("aerial", f"{COLOURS[i // 2 % 5]} field")
        draw(root / "labelled" / f"images/{i}.png", i % 3, i // 2 % 5, 2000 + i)
        lines["labelled"].append({"image": f"images/{i}.png", "set": "made-up", "domain": domain, "label": label})
    for name, rows in lines.items():
        file = "labels.jsonl" if name == "labelled" else "captions.jsonl"
        (root / name / file).write_text("\n".join(json.dumps(r) for r in rows))
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_contrastive_with_single_positives_is_clips_cross_entropy() -> None:
    torch.manual_seed(0)
    images, texts = (F.normalize(torch.randn(7, 16), dim=-1) for _ in range(2))
    logits = 13.0 * images @ texts.T
    target = torch.arange(7)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(contrastive(images, texts, torch.eye(7, dtype=torch.bool), 13.0), expected)


def test_contrastive_shares_the_target_among_several_positives() -> None:
    images = F.normalize(torch.randn(2, 8, generator=torch.Generator().manual_seed(1)), dim=-1)
    texts = F.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(2)), dim=-1)
    positive = torch.tensor([[True, True, False], [False, False, True]])
    logits = images @ texts.T
    rows = [-(F.log_softmax(logits[0], 0)[:2].mean()), -F.log_softmax(logits[1], 0)[2]]
    columns = [-F.log_softmax(logits[:, j], 0)[i] for j, i in enumerate((0, 0, 1))]
    expected = (torch.stack(rows).mean() + torch.stack(columns).mean()) / 2
    torch.testing.assert_close(contrastive(images, texts, positive, 1.0), expected)


def test_distillation_is_zero_when_student_and_teacher_agree() -> None:
    images, classes = (F.normalize(torch.randn(n, 8), dim=-1) for n in (4, 10))
    teacher = F.log_softmax(5.0 * images @ classes.T, dim=1)
    assert float(distillation(images, classes, teacher, 5.0)) == pytest.approx(0, abs=1e-6)
    assert float(distillation(images, classes, teacher.roll(1, 1), 5.0)) > 0.01


def test_caption_tasks_need_two_captions_and_never_share_photos(data: Path) -> None:
    samples = read_folder(data / "flickr8k")
    tasks = {t.name: t for t in caption_tasks(samples, "flickr8k")}
    assert set(tasks) == {*SHAPES, EVERYDAY}
    everyday = tasks.pop(EVERYDAY)
    assert len(everyday.train) + len(everyday.stop) + len(everyday.test) == 240
    for shape, task in tasks.items():
        parts = [set(task.train.tolist()), set(task.stop.tolist()), set(task.test.tolist())]
        assert sum(len(p) for p in parts) == len(set.union(*parts))
        assert set.union(*parts) == {i for i in range(240) if SHAPES[i % 3] == shape}
        assert all(samples[i].split == "val" for i in task.test)
    once = [replace(s, captions=(s.captions[0], "nothing to see")) for s in samples]
    assert caption_tasks(once, "flickr8k") == []


def test_label_tasks_stop_and_measure_on_classes_they_never_train_on(data: Path) -> None:
    samples = read_folder(data / "labelled")
    tasks = label_tasks(samples)
    assert [t.name for t in tasks] == ["aerial"], "five classes are too few for more than one part"
    seen = np.concatenate([np.concatenate([t.train, t.stop, t.test]) for t in tasks])
    assert sorted(seen.tolist()) == [i for i, s in enumerate(samples) if s.domain == "aerial"]
    for task in tasks:
        trained = {samples[i].label for i in task.train}
        assert trained == set(task.classes)
        assert {samples[i].label for i in task.test} - trained
        assert {samples[i].label for i in task.stop} - trained


def test_without_photos_takes_held_photos_out_of_training_only(data: Path) -> None:
    task = caption_tasks(read_folder(data / "flickr8k"), "flickr8k")[0]
    (left,) = without_photos([task], task.train[:5])
    assert set(left.train.tolist()) == set(task.train[5:].tolist())
    assert left.test.tolist() == task.test.tolist()


def test_only_special_domains_beside_scenes_begin_at_nothing() -> None:
    rows = np.arange(3)
    scene, domain = (Task(g, g, g, "x", rows, rows, rows) for g in ("scenes", "food"))
    assert begins_fresh([scene, domain, scene]) == [False, True, False]
    assert begins_fresh([domain, domain]) == [False, False], "without scenes all share a start"


def test_half_of_the_photos_that_stop_are_of_classes_that_train_nothing() -> None:
    # Classes 0 and 1 train; 2 and 3 do not. Stop photos lie class by class, as label tasks have them.
    labels = np.array([0] * 30 + [1] * 30 + [2] * 20 + [3] * 20)
    stop = np.concatenate([np.arange(20, 30), np.arange(50, 60), np.arange(60, 100)])
    task = Task("t", "t", "food", "x", np.r_[0:20, 30:50], stop, np.arange(0), classes=("zero", "one"))
    pool = Pool((), torch.empty(0), (), (), (), labels, (task,))
    chosen = labels[stop_rows(pool, task, 24)]
    assert [int((chosen == c).sum()) for c in range(4)] == [6, 6, 6, 6]
    chosen = labels[stop_rows(pool, task, 1000)]
    assert int((chosen < 2).sum()) == int((chosen > 1).sum()) == 20
    scene = replace(task, classes=())
    assert stop_rows(pool, scene, 7).tolist() == stop[:7].tolist()


def test_scene_descriptions_are_all_different() -> None:
    assert len({d for d, _ in SCENES.values()}) == len(SCENES)


@pytest.mark.slow
def test_features_are_computed_once_and_resume(data: Path, tmp_path: Path) -> None:
    samples = read_folder(data / "coco")[:130]
    said: list[str] = []
    whole = np.array(image_features(samples, tmp_path, log=said.append))
    assert len(said) > 0
    said.clear()
    assert np.array_equal(image_features(samples, tmp_path, log=said.append), whole)
    assert said == []
    # A run that was stopped after its first 64 photos goes on from there and ends with the same numbers.
    (progress,) = (tmp_path / "maps").glob("*.json")
    progress.write_text(json.dumps({"done": 64}))
    broken = np.load(progress.with_suffix(".npy"), mmap_mode="r+")
    broken[64:] = 0
    broken.flush()
    assert np.array_equal(image_features(samples, tmp_path, log=said.append), whole)
    first = text_features(["a red dog", "a blue boat"], tmp_path, log=said.append)
    said.clear()
    assert torch.equal(text_features(["a red dog", "a blue boat"], tmp_path, log=said.append), first)
    assert said == []


@pytest.mark.slow
def test_backbone_training_resumes_to_the_same_heads(data: Path, cache: Path, tmp_path: Path) -> None:
    recipe = BackboneRecipe(steps=4, objects=8, captioned=8, mixed=4, views=1, warmup=1, checkpoint=2)

    class Stopped(Exception):
        pass

    def interrupt(message: str) -> None:
        if "checkpoint" in message:
            raise Stopped

    whole = train_backbone(data, tmp_path / "a" / "heads.safetensors", cache, recipe, lambda _: None)
    with pytest.raises(Stopped):
        train_backbone(data, tmp_path / "b" / "heads.safetensors", cache, recipe, interrupt)
    resumed = train_backbone(data, tmp_path / "b" / "heads.safetensors", cache, recipe, lambda _: None)
    assert resumed["fingerprint"] == whole["fingerprint"]
    assert (tmp_path / "b" / "heads.safetensors").stat().st_size < 8_000_000
    held = coco_held_out(read_folder(data / "coco"))
    assert held.sum() == 160


@pytest.mark.slow
def test_experts_and_generator_end_to_end(data: Path, cache: Path, tmp_path: Path) -> None:
    from core.backbones.embedded import load_embedded

    backbone = load_embedded(heads_path())
    recipe = ExpertRecipe(batch=24, shared_steps=12, steps=8, check=4, snapshots=4)
    said: list[str] = []
    repository = train_experts(data, tmp_path / "experts", cache, backbone, recipe, said.append)
    runs = runs_folder(cache, backbone, recipe)
    stamps = {f: f.stat().st_mtime_ns for f in runs.glob("*.safetensors")}
    assert {f.stem for f in stamps} == {"shared", "aerial", EVERYDAY, *SHAPES}
    again = train_experts(data, tmp_path / "again", cache, backbone, recipe, said.append)
    assert {f: f.stat().st_mtime_ns for f in runs.glob("*.safetensors")} == stamps, "a second run trained again"
    assert torch.equal(again.means, repository.means)

    # The recorded figures are those of an independent look at the test photos, and only winners are kept.
    pool = load_pool(data, backbone, cache, lambda _: None)
    tasks = {t.name: t for t in pool.tasks}
    for i, expert in enumerate(repository.experts):
        maps, texts, relevance = pool.evaluation(tasks[expert.name].test)
        similarity = (backbone.suffix(maps, Lora.from_vector(repository.layout, repository.means[i])) @ texts.T).numpy()
        order = np.argsort(-similarity, 1)
        hits = [relevance.matrix[row, order[row, :5]].any() for row in range(len(order))]
        assert expert.after["i2t"]["R@5"] == pytest.approx(100 * np.mean(hits), abs=1e-6)
        gain = sum(expert.after[w][k] - expert.before[w][k] for w in ("i2t", "t2i") for k in ("R@1", "R@5"))
        assert gain > 0
    start = initial_vector(repository.layout, 0)
    assert not torch.allclose(repository.origin, start), "the shared start was not trained"

    loaded = ExpertRepository.load(tmp_path / "experts", backbone.layout, backbone.fingerprint)
    small = GeneratorRecipe(dimensions=4, latent=4, hidden=16, warm_steps=20, steps=3, batch=4)
    with pytest.raises(RepositoryError, match="at least two experts"):
        train_generator(data, tmp_path / "none", cache, backbone, loaded.subset([0]), small, said.append)
    # All neighbours may be dropped at once where there are few; then none is.
    small = replace(small, dropout=0.9)
    generator = train_generator(data, tmp_path / "generator.safetensors", cache, backbone, loaded, small, said.append)
    assert generator.basis.dimensions <= 4
    assert (tmp_path / "generator.safetensors").is_file()
