"""Is SG-LoRA further from fine-tuning in classification than in retrieval? This is an open question of the paper."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.backbones.lora import Lora
from core.backbones.lora_algebra import cosines
from core.common import markdown
from core.common.digest import digest
from core.experiments import runner, statistics
from core.experiments.composition import of_kind, part
from core.experiments.context import ExperimentContext
from core.experiments.held_tasks import HeldTask, captioned_domain_tasks, domain_tasks, scene_tasks
from core.sglora.request import AdapterRequest
from core.training.corpus import Corpus, usual_adapter
from core.training.discovery import ExpertTask
from core.training.experts import ExpertTraining
from core.training.forgetting import NamedSet
from core.training.recipe import ExpertRecipe
from core.training.snapshots import read_snapshots

LABELS, CAPTIONS, SCORE = "class names", "captions", "score"
TUNED, LEFT_OUT, EVERY = "fine-tuned", "sg-lora, left out", 6  # every sixth captioned task


def score(corpus: Corpus, task: HeldTask, lora: Lora | None) -> dict[str, float]:
    """Accuracy of the class names of a labelled task in percent; R@1 of a captioned one, mean of both directions."""
    if corpus.captioned[task.test[0]]:
        return {SCORE: statistics.both_ways(corpus.recalls(task.test, lora))["R@1"]}
    own, answers = np.unique([corpus.own_texts[row][0] for row in task.test], return_inverse=True)
    named = NamedSet(task.name, task.test, corpus.texts[torch.from_numpy(own)], torch.from_numpy(answers))
    return {SCORE: round(named.share(corpus, usual_adapter(corpus.backbone, lora)), 3)}


def tuned(context: ExperimentContext, task: HeldTask) -> Tensor:
    """The vector [P] fine-tuned on a task's training photos: the expert of a whole domain, or trained once and kept."""
    corpus, repository = context.corpus, context.engine.repository
    if (name := (task.group, task.name)) in (shipped := [(e.name, e.group) for e in repository.experts]):
        return repository.means[shipped.index(name)]
    recipe = ExpertRecipe(**repository.notes.get("recipe", {}))
    key = digest(f"{recipe} {repository.fingerprint} {repository.shared and repository.shared.digest} {context.contents}")[:12]
    own = ExpertTask(f"{task.group}: {task.name}", task.description, task.group, task.rows[corpus.train[task.rows]])
    folder = context.folder("classification") / f"tuned-{key}"
    ExpertTraining(corpus, recipe, folder, repository.layout, repository.shared, context.log).train([(own, 0)], own.name)
    return read_snapshots(folder, [own.name])[0].float().mean(0)


def run(context: ExperimentContext) -> dict[str, Any]:
    """Scores by method, what fine-tuning has above each, the share of its gain that SG-LoRA reaches, and cosines."""
    corpus, engine, repository = context.corpus, context.engine, context.engine.repository
    captioned = [*captioned_domain_tasks(corpus, known=True), *scene_tasks(corpus)]
    tasks = {LABELS: [*domain_tasks(corpus, whole=True)], CAPTIONS: captioned[::EVERY]}

    def variants(task: HeldTask) -> Iterable[runner.Variant]:
        request, kind = AdapterRequest(task.description), of_kind(engine, task)
        adaptation = engine.adapt(request)
        yield from runner.controls(engine, adaptation)
        yield {"variant": "sg-lora"}, adaptation.full
        yield {"variant": LEFT_OUT}, part(engine, {*range(len(repository))}.difference(kind)).adapt(request).full
        yield {"variant": TUNED}, repository.with_shared(Lora.from_vector(repository.layout, tuned(context, task)))

    rows = runner.measured(context, "classification", tasks, variants, score)
    groups = statistics.summary(rows, TUNED, (SCORE,))
    for group, own in statistics.grouped(rows, "group").items():
        groups[group]["reached"] = {variant: reached(own, variant) for variant in ("sg-lora", LEFT_OUT)}
    kinds = [(e.group, bool(e.classes)) for e in repository.experts]
    return {"groups": groups, "cosines": of_pairs(cosines(repository.layout, repository.means).numpy(), kinds), "rows": rows}


def reached(rows: Sequence[Mapping[str, Any]], variant: str) -> list[float]:
    """The share of fine-tuning's mean gain over zero-shot that a method reaches, in percent, with an interval over tasks."""
    scores = [statistics.by_task(rows, name, SCORE) for name in (variant, TUNED, "zero-shot")]
    ours, best, zero = (np.array([s[task] for task in sorted(s)]) for s in scores)
    picks = np.random.default_rng(0).integers(0, len(zero), (10_000, len(zero)))
    shares = [100 * (ours - zero)[p].sum(-1) / (best - zero)[p].sum(-1) for p in (np.arange(len(zero)), picks)]
    return [round(float(v), 1) for v in (shares[0], *np.percentile(shares[1], [2.5, 97.5]))]


def of_pairs(similar: np.ndarray, kinds: Sequence[tuple[str, bool]]) -> dict[str, list[float]]:
    """Mean cosines of pairs of experts, times 100, with intervals over experts. ``kinds``: (group, labelled) of each."""
    group, labelled = np.array([g for g, _ in kinds]), np.array([named for _, named in kinds])
    same, found = group[:, None] == group, {}
    for name, own in {"captioned": ~labelled, "labelled": labelled}.items():
        for where, mask in {"one domain": same & ~np.eye(len(group), dtype=bool), "two domains": ~same}.items():
            pairs = own[:, None] & own & mask
            found[f"{name}, {where}"] = [100 * float(row[p].mean()) for row, p in zip(similar, pairs, strict=True) if p.any()]
    return {name: statistics.interval(means) for name, means in found.items() if means}


def findings(result: Mapping[str, Any]) -> list[str]:
    labels, captions = (markdown.share(result["groups"][group]["reached"][LEFT_OUT]) for group in (LABELS, CAPTIONS))
    return [
        f"Without experts of the task's kind, SG-LoRA reaches {labels} % of fine-tuning's gain with class names, and "
        f"{captions} % with captions."
    ]


def table(result: Mapping[str, Any]) -> str:
    lines = [[name, markdown.difference(v)] for name, v in result["cosines"].items()]
    head = ["two experts", "cosine of weight changes, times 100"]
    return f"{statistics.summary_table(result['groups'])}\n\n{markdown.table(head, lines)}"
