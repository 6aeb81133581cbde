"""Tasks of COCO categories and of labelled sets that nobody named in advance, and how several folders' tasks live together."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.data import Sample
from core.training.categories import category_tasks, class_tasks, distinct
from core.training.tasks import EVERYDAY, MIN_TRAIN, Task, label_texts, wordings


def rows_of(task: Task) -> list[set[int]]:
    return [set(rows.tolist()) for rows in (task.train, task.stop, task.test)]


def coco(count: int) -> list[Sample]:
    """Every photo shows a person, every second a dog, every fifth an oven; every fifth photo measures."""
    kinds = {"person": 1, "dog": 2, "oven": 3, "toaster": 200}
    return [
        Sample(
            Path(f"{i}.jpg"),
            (f"caption {i}",),
            "val" if i % 5 == 0 else "train",
            categories=tuple(c for c, n in sorted(kinds.items()) if i % n == 0),
        )
        for i in range(count)
    ]


def test_a_task_per_category_holds_the_photos_that_show_it() -> None:
    samples = coco(400)
    tasks = {t.name: t for t in category_tasks(samples, "coco")}
    assert set(tasks) == {"person", "dog", "oven", EVERYDAY}, "two toasters are too few"
    assert tasks["oven"].description == "a photo of an oven"
    assert tasks["dog"].description == "a photo of a dog"
    for name, task in tasks.items():
        train, stop, test = rows_of(task)
        assert not train & stop and not train & test and not stop & test
        assert train | stop | test == {i for i, s in enumerate(samples) if name == EVERYDAY or name in s.categories}
        assert test == {i for i in train | stop | test if samples[i].split == "val"}
        assert len(train) >= MIN_TRAIN
        assert wordings(task)[0] == task.description
    assert category_tasks(coco(30), "coco") == [], "nothing is large enough"


def pets(classes: int, photos: int, split: str = "") -> list[Sample]:
    return [
        Sample(Path(f"{c}/{i}.jpg"), split=split, label=f"breed {c}", domain="pets", dataset="pets")
        for c in range(classes)
        for i in range(photos)
    ]


def test_classes_are_dealt_into_parts_that_hold_some_back() -> None:
    samples = pets(13, 40)
    tasks = class_tasks(samples)
    assert [t.name for t in tasks] == ["pets-1", "pets-2"]
    everything = [part for t in tasks for part in rows_of(t)]
    assert sum(map(len, everything)) == len(set.union(*everything)) == len(samples)
    assert {samples[i].label for rows in everything for i in rows} == {f"breed {c}" for c in range(13)}
    for task in tasks:
        trained, stopped, measured = ({samples[i].label for i in rows} for rows in rows_of(task))
        assert trained == set(task.classes)
        assert stopped - trained and measured - trained
        assert task.description.startswith("photos of pets: breed ")
        assert wordings(task)[0] == task.description
    assert label_texts(samples[0])[0] == "a photo of a breed 0"


def test_photos_of_val_only_measure() -> None:
    samples = pets(6, 30, "train") + pets(6, 30, "val")
    (task,) = class_tasks(samples)
    train, stop, test = rows_of(task)
    assert {samples[i].split for i in train | stop} == {"train"}
    assert {i for i, s in enumerate(samples) if s.split == "val"} <= test


def test_sets_that_are_known_or_too_small_are_left_out() -> None:
    known = [Sample(Path(f"{i}.jpg"), label=f"{i % 3}", domain=domain) for domain in ("aerial", "objects") for i in range(90)]
    assert class_tasks(known) == []
    assert class_tasks(pets(1, 90)) == [], "one class tells nothing apart"
    assert class_tasks(pets(3, 4)) == []


def test_tasks_of_several_folders_have_names_of_their_own() -> None:
    def task(name: str, source: str, *rows: int) -> Task:
        return Task(name, f"a photo of a {name}", "scenes", source, *(np.array([r]) for r in rows))

    tasks = [
        task("dog", "a", 1, 2, 3),
        task(EVERYDAY, "a", 4, 5, 6),
        task("dog", "b/c", 7, 8, 9),
        task(EVERYDAY, "b/c", 10, 11, 12),
        task("dog", "b/c", 13, 14, 15),
    ]
    found = distinct(tasks)
    assert [t.name for t in found] == ["dog", EVERYDAY, "dog (b-c)", "dog (b-c 2)"]
    assert (found[1].source, found[1].train.tolist(), found[1].test.tolist()) == ("a, b/c", [4, 10], [6, 12])
    assert distinct(tasks[:2]) == tasks[:2]
