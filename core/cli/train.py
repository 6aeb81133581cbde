"""The commands of the offline phase: train the backbone's heads, the experts, the generator."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.cli.commands import Answer, chosen_backbone, log
from core.errors import DataError


def backbone(arguments: Namespace) -> Answer:
    """``train backbone``."""
    _check(arguments)
    from core.loading import heads_path
    from core.training.backbone import BackboneRecipe, train_backbone

    recipe = BackboneRecipe(seed=arguments.seed)
    if arguments.steps:
        recipe = replace(recipe, steps=arguments.steps)
    out = arguments.out or heads_path()
    found = train_backbone(arguments.data, out, _cache(arguments), recipe, log)
    return _done(found, out)


def experts(arguments: Namespace) -> Answer:
    """``train experts``."""
    _check(arguments)
    from core.loading import experts_path
    from core.training.experts import ExpertRecipe, train_experts

    model = chosen_backbone(arguments)
    out = arguments.out or experts_path(model.name)
    found = train_experts(arguments.data, out, _cache(arguments), model, ExpertRecipe(seed=arguments.seed), log)
    return _done({"fingerprint": found.fingerprint, "experts": [e.name for e in found.experts]}, out)


def generator(arguments: Namespace) -> Answer:
    """``train generator``."""
    _check(arguments)
    from core.experts import ExpertRepository
    from core.loading import experts_path, generator_path
    from core.training.generator import GeneratorRecipe, train_generator

    model = chosen_backbone(arguments)
    folder = arguments.experts or experts_path(model.name)
    repository = ExpertRepository.load(folder, model.layout, model.fingerprint)
    out = arguments.out or generator_path(model.name)
    recipe = GeneratorRecipe(seed=arguments.seed)
    found = train_generator(arguments.data, out, _cache(arguments), model, repository, recipe, log)
    return _done({"fingerprint": found.fingerprint, "experts": len(repository)}, out)


def _check(arguments: Namespace) -> None:
    if not arguments.data.is_dir():
        raise DataError(f"The data folder {arguments.data} does not exist.")


def _cache(arguments: Namespace) -> Path:
    from core.training.features import default_cache

    return arguments.cache or default_cache()


def _done(found: Mapping[str, Any], out: Path) -> Answer:
    return Answer({**found, "out": str(out)}, f"Wrote {out}.")
