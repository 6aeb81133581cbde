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
    check_data(arguments)
    from core.loading import heads_path
    from core.training.backbone import BackboneRecipe, train_backbone

    recipe = BackboneRecipe(seed=arguments.seed)
    if arguments.steps:
        recipe = replace(recipe, steps=arguments.steps)
    out = arguments.out or heads_path()
    found = train_backbone(arguments.data, out, cache_folder(arguments), recipe, log)
    return _done(found, out)


def experts(arguments: Namespace) -> Answer:
    """``train experts``."""
    check_data(arguments)
    from core.loading import experts_path
    from core.training.experts import ExpertRecipe, train_experts

    model = chosen_backbone(arguments)
    out = arguments.out or experts_path(model.slug)
    found = train_experts(arguments.data, out, cache_folder(arguments), model, ExpertRecipe(seed=arguments.seed), log)
    return _done({"fingerprint": found.fingerprint, "experts": [e.name for e in found.experts]}, out)


def generator(arguments: Namespace) -> Answer:
    """``train generator``."""
    check_data(arguments)
    from core.experts import ExpertRepository
    from core.loading import experts_path, generator_path
    from core.training.generator import GeneratorRecipe, train_generator

    model = chosen_backbone(arguments)
    folder = arguments.experts or experts_path(model.slug)
    repository = ExpertRepository.load(folder, model.layout, model.fingerprint)
    out = arguments.out or generator_path(model.slug)
    recipe = GeneratorRecipe(seed=arguments.seed)
    found = train_generator(arguments.data, out, cache_folder(arguments), model, repository, recipe, log)
    return _done({"fingerprint": found.fingerprint, "experts": len(repository)}, out)


def check_data(arguments: Namespace) -> None:
    """Raise DataError unless ``--data`` is a folder."""
    if not arguments.data.is_dir():
        raise DataError(f"The data folder {arguments.data} does not exist.")


def cache_folder(arguments: Namespace) -> Path:
    """``--cache``, or the user's cache."""
    from core.training.features import default_cache

    return arguments.cache or default_cache()


def _done(found: Mapping[str, Any], out: Path) -> Answer:
    return Answer({**found, "out": str(out)}, f"Wrote {out}.")
