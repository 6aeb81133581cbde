"""How far do experts and a shared LoRA of everyday photos carry, and what do ten experts of a domain add?"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
from torch import Tensor

from core.backbones.description import embed_expert
from core.common import markdown
from core.experiments import runner, statistics
from core.experiments.context import ExperimentContext
from core.experiments.controls import METHODS
from core.experiments.folds import FoldRecipe, trained
from core.experiments.held_tasks import HeldTask
from core.experts.own import OwnEntry, OwnExperts
from core.sglora.engine import SGLora
from core.sglora.repository import Expert
from core.sglora.request import AdapterRequest
from core.training.corpus import OBJECTS, Corpus
from core.training.discovery import SHOWN, ExpertTask, captioned_domain_tasks
from core.training.experts import ExpertTraining
from core.training.label_styles import style_of
from core.training.recipe import ExpertRecipe
from core.training.snapshots import read_snapshots

TEN = 10
EVERYDAY, MORE, MERGE_MORE = "everyday experts", "and ten of its domain", "merge, and ten of its domain"
VARIANTS = ("zero-shot", "one-lora", "merge", EVERYDAY, MERGE_MORE, MORE)


def everyday(corpus: Corpus) -> Corpus:
    """The corpus in which no photo of a special domain trains or validates."""
    alone = corpus.scenes | (corpus.domains == OBJECTS)
    return replace(corpus, train=corpus.train & alone, validation=corpus.validation & alone)


def tasks_of(corpus: Corpus, domain: str, recipe: ExpertRecipe) -> list[ExpertTask]:
    """TEN tasks of a domain: half of them captions and their clusters, if it has some; then all classes, and random halves."""
    own = replace(corpus, train=corpus.train & (corpus.domains == domain))
    rows = {label: photos[corpus.train[photos]] for label, photos in corpus.classes.get(domain, {}).items()}
    labels = sorted(label for label, photos in rows.items() if len(photos) > 1)
    tasks = [*captioned_domain_tasks(own, recipe)][: TEN // 2 if labels else TEN]
    for number in range(TEN - len(tasks) if len(labels) > 1 else 0):
        rng = np.random.default_rng(number)
        some = sorted(rng.permutation(labels)[: (len(labels) + 1) // 2].tolist()) if number else labels
        description = style_of(domain).of(some[:SHOWN]) if number else style_of(domain).phrase
        photos = np.concatenate([rows[label] for label in some])
        tasks.append(ExpertTask("", description, domain, photos, classes=tuple(some)))
    return [replace(task, name=f"{domain} {number}") for number, task in enumerate(tasks)]


def joined(engine: SGLora, tasks: Iterable[ExpertTask], snapshots: Tensor) -> SGLora:
    """The engine with the experts of these tasks, too, as a visitor's own: the generator stays. ``snapshots`` [n, M, P]."""
    repository, entries = engine.repository, []
    for task, own in zip(tasks, snapshots.float(), strict=True):
        about = (task.name, task.description, task.group, "own", len(task.rows), 0, len(own))
        key = embed_expert(engine.backbone, task.wordings)
        entries.append(OwnEntry(Expert(*about, {}, {}), own.mean(0), repository.basis.encode(own).var(0, correction=0), key))
    return OwnExperts(repository, tuple(entries)).engine(engine)


def run(context: ExperimentContext, recipe: FoldRecipe | None = None) -> dict[str, Any]:
    """Recall by variant over all domains and in each, and what MORE has above each variant."""
    recipe = recipe or FoldRecipe.of(context.backbone)
    start = trained(context, "everyday", everyday, replace(recipe, shared=replace(recipe.shared, views=1)))
    corpus, repository, engines = start.context.corpus, start.engine.repository, dict[str, SGLora]()
    tasks = runner.known_tasks(corpus)[runner.SPECIAL]
    for domain in dict.fromkeys(task.group for task in tasks):
        own = tasks_of(corpus, domain, recipe.experts)
        training = ExpertTraining(corpus, recipe.experts, start.folder, repository.layout, repository.shared, context.log)
        training.train(zip(own, count()), domain)
        engines[domain] = joined(start.engine, own, read_snapshots(start.folder, [task.name for task in own]))

    def variants(task: HeldTask) -> Iterable[runner.Variant]:
        request, more = AdapterRequest(task.description), engines[task.group]
        alone, with_ten = start.engine.adapt(request), more.adapt(request)
        yield from runner.controls(start.engine, alone)
        yield {"variant": EVERYDAY, "fits": alone.fits}, alone.full
        yield {"variant": MERGE_MORE}, METHODS["merge"](more, with_ten)
        yield {"variant": MORE}, with_ten.full

    rows = runner.measured(start.context, "domains", {runner.SPECIAL: tasks}, variants)
    domains = {}
    for domain, own in statistics.grouped(rows, "domain").items():
        means = {variant: statistics.mean(own, variant, "R@1") for variant in VARIANTS}
        known = [row["fits"] for row in own if row["variant"] == EVERYDAY]
        domains[domain] = {"tasks": len(known), "R@1": means, "fits": all(known)}
    groups = statistics.summary(rows, MORE)
    carried = statistics.difference(rows, EVERYDAY, "zero-shot", "R@1")
    return {"experts": len(repository), "groups": groups, "everyday minus zero-shot": carried, "domains": domains}


def findings(result: Mapping[str, Any]) -> list[str]:
    notices = [domain for domain, v in result["domains"].items() if not v["fits"]]
    return [
        f"Everyday experts minus zero-shot: {markdown.difference(result['everyday minus zero-shot'])} points.",
        f"Without the ten, {len(notices)} of {len(result['domains'])} domains get the notice that no expert fits.",
    ]


def table(result: Mapping[str, Any]) -> str:
    lines = [[f"{d} ({v['tasks']})", *(f"{v['R@1'][name]:.1f}" for name in VARIANTS)] for d, v in result["domains"].items()]
    by_domain = markdown.table(["R@1 in domain (tasks)", *VARIANTS], lines)
    return f"{statistics.summary_table(result['groups'])}\n\n{by_domain}"
