"""Accuracies against scikit-learn, cosines between experts made to be orthogonal, and a run on made-up tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_up_folds import CLASSES, RECIPE, made_up_study
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from tiny_models import noise

from core.backbones.lora import Lora, LoraLayout, LoraModule
from core.common.metrics import Relevance, measure
from core.experiments import classification, figures
from core.experiments.folds import oracle_part, prepare_fold

pytestmark = pytest.mark.slow

LAYOUT = LoraLayout((LoraModule("blocks.0.q", 4, 4),), 2)


def test_accuracies_are_those_of_scikit_learn_and_of_retrieval() -> None:
    images, classes = F.normalize(noise(60, 8, seed=0), dim=-1), F.normalize(noise(4, 8, seed=1), dim=-1)
    labels = np.random.default_rng(0).choice(4, 60, p=[0.6, 0.2, 0.1, 0.1])
    chosen = [max(range(4), key=lambda c: float(image @ classes[c])) for image in images]
    found = classification.accuracies(images, classes, labels)
    assert found["accuracy"] == pytest.approx(100 * accuracy_score(labels, chosen), abs=1e-3)
    assert found["balanced"] == pytest.approx(100 * balanced_accuracy_score(labels, chosen), abs=1e-3)
    relevance = Relevance.of([[f"class {c}"] for c in labels])
    order = [int(t.split()[1]) for t in relevance.texts]
    assert measure(images, classes[order], relevance)["i2t"]["R@1"] == pytest.approx(found["accuracy"], abs=1e-3)


def test_a_class_is_the_mean_of_its_templates(tmp_path: Path) -> None:
    study = made_up_study(tmp_path)
    task = study.pool.tasks[-2]
    classes, labels = classification.classes_of(study.pool, task.test)
    assert len(classes) == CLASSES
    for row, label in zip(task.test, labels, strict=True):
        one, two = study.pool.texts[study.pool.own_texts[row]]
        torch.testing.assert_close(classes[label], (one + two) / (one + two).norm())


def test_orthogonality_of_pairs_that_share_all_half_or_nothing() -> None:
    def lora(*entries: tuple[int, int]) -> Lora:
        """B A = 1 at each (output, input) given, one rank for each of up to two entries."""
        a, b = torch.zeros(2, 4), torch.zeros(4, 2)
        for rank, (out, inside) in enumerate(entries):
            a[rank, inside] = b[out, rank] = 1.0
        return Lora.from_vector(LAYOUT, torch.cat([a.flatten(), b.flatten()]))

    loras = [lora((0, 0), (1, 1)), lora((0, 0), (2, 2)), lora((3, 3)), lora((3, 3)), lora((3, 1))]
    found = classification.orthogonality(loras, ["scenes", "scenes", "food", "food", "flowers"])
    means = {kind: interval[0] for kind, interval in found.items()}
    expected = {"retrieval": 0.5, "classification": 1 / 3, "of one domain": 1.0, "of two domains": 0.0, "one of each": 0.0}
    assert means == pytest.approx(expected, abs=1e-3)


def row(task: str, variant: str, accuracy: float, seed: int = 0) -> dict[str, object]:
    where = {"task": task, "group": "food", "kind": classification.CLASSIFICATION, "classes": 4, "photos": 9}
    near = None if variant == classification.ZERO else 0.5
    scores = {"accuracy": accuracy, "balanced": accuracy, "R@1": 0.0}
    return {**where, "variant": variant, "seed": seed, "cosine": near, **scores}


def test_summary_pairs_by_task_and_says_which_share_of_fine_tuning_is_reached() -> None:
    rows = []
    for i, task in enumerate(("a", "b", "c")):
        zero = 10.0 * i
        figures_ = {
            classification.ZERO: zero,
            classification.MERGE: zero + 1,
            classification.SINGLE: zero,
            "fine-tuned": zero + 8,
        }
        rows += [row(task, v, x) for v, x in figures_.items()]
        rows += [row(task, classification.FULL, zero + 2 + s, s) for s in (0, 2, 4)]
        rows.append(row(task, classification.SG, zero + 5))
    found = classification.summarise(rows)[classification.CLASSIFICATION]
    assert found["differences"]["SG-LoRA, full strength minus fine-tuned"] == [-4.0, -4.0, -4.0]
    assert found["differences"]["SG-LoRA minus fine-tuned"] == [-3.0, -3.0, -3.0]
    assert found["differences"]["SG-LoRA, full strength minus top-k merge"] == [3.0, 3.0, 3.0]
    assert found["share"] == [50.0, 50.0, 50.0]
    useless = [{**r, "accuracy": 10.0} if r["variant"] == "fine-tuned" else r for r in rows]
    assert classification.summarise(useless)[classification.CLASSIFICATION]["share"] is None


def test_a_run_measures_what_it_says(tmp_path: Path) -> None:
    study = made_up_study(tmp_path)
    prepared = prepare_fold(study, 0, RECIPE)
    vars(study)["engine"] = prepared.engine(study)
    result = classification.run(study, [0], RECIPE)
    special = [t for t in prepared.held if t.group != "scenes"]
    assert [t["task"] for t in result["tasks"]] == sorted(t.name for t in special)
    for task in special:
        maps, _, _ = study.pool.evaluation(task.test)
        images = study.backbone.suffix(maps, oracle_part(study, task, RECIPE))
        classes, labels = classification.classes_of(study.pool, task.test)
        (found,) = [t for t in result["tasks"] if t["task"] == task.name]
        right = sum(int((classes @ x).argmax()) == y for x, y in zip(images, labels, strict=True))
        assert found["fine-tuned"] == pytest.approx(100 * right / len(labels), abs=0.06)
        assert found["classes"] == CLASSES
    assert result["retrieval"]["tasks"] == len(prepared.held) - len(special)
    assert "The gap to fine-tuning is" in classification.findings(result)[0]
    assert "| SG-LoRA minus fine-tuned |" in classification.table(result)
    assert figures.svg(classification.plot, result).startswith("<svg")
