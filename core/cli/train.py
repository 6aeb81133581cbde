"""The ``train`` commands: backbone heads, shared LoRA, experts, generator; or experts and generator in one. And ``card``."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from core.backbones import EMBEDDED
from core.backbones.embedded import SHARED_FILE, load_embedded
from core.cli.commands import Answer, chosen_backbone, log
from core.common.errors import DataError, RepositoryError, UsageError
from core.common.paths import GENERATOR_FILE, asset_path, default_cache, experts_path, heads_path
from core.data import check_folder
from core.experts.card import write_card
from core.experts.files import load_repository
from core.training.backbone import BackboneRecipe, train_backbone
from core.training.discovery import read_descriptions
from core.training.experts import runs_of, train_experts
from core.training.generator import GeneratorRecipe, train_generator
from core.training.recipe import ExpertRecipe, recipe_for
from core.training.shared_lora import BothHeadsRecipe, train_shared_lora

R = TypeVar("R", BackboneRecipe, BothHeadsRecipe, ExpertRecipe, GeneratorRecipe)
OF_GENERATOR = "generator."  # how settings of the generator's recipe start in ``train all``


def backbone(arguments: Namespace) -> Answer:
    check_folder(arguments.data)
    recipe = changed(BackboneRecipe(seed=arguments.seed), arguments.set)
    out = destination(arguments, heads_path())
    fingerprint = train_backbone(arguments.data, out, arguments.cache or default_cache(), recipe, log)
    return Answer({"fingerprint": fingerprint, "out": str(out)})


def shared(arguments: Namespace) -> Answer:
    check_folder(arguments.data)
    recipe = changed(BothHeadsRecipe(seed=arguments.seed), arguments.set)
    heads = load_embedded(arguments.heads or heads_path())
    out = destination(arguments, (arguments.heads or heads_path()).with_name(SHARED_FILE))
    trained = train_shared_lora(arguments.data, out, arguments.cache or default_cache(), heads, recipe, log)
    return Answer({"fingerprint": trained.fingerprint, "out": str(out)})


def experts(arguments: Namespace) -> Answer:
    """``train experts``; ``train all`` trains the generator, too."""
    check_folder(arguments.data)
    whole = arguments.whole
    arguments.adapt = arguments.adapt or ("texts" if whole else None)  # texts: no sentence needs a new index
    model = chosen_backbone(arguments, "photos")  # as in the paper
    of_generator = [s.removeprefix(OF_GENERATOR) for s in arguments.set if whole and s.startswith(OF_GENERATOR)]
    of_experts = [s for s in arguments.set if not (whole and s.startswith(OF_GENERATOR))]
    recipe = changed(replace(recipe_for(model), seed=arguments.seed), of_experts)
    generating = changed(GeneratorRecipe(seed=arguments.seed), of_generator)
    written = read_descriptions(arguments.descriptions) if arguments.descriptions else {}
    out, cache = destination(arguments, experts_path(model.slug)), arguments.cache or default_cache()
    train_experts(arguments.data, out, cache, model, recipe, log, written)
    repository = load_repository(out, model.layout, model.fingerprint, model.shared)  # rounded as in its files
    if whole:
        train_generator(out / GENERATOR_FILE, repository, runs_of(repository, model, cache, arguments.data), generating, log)
    _card(out)
    return Answer({"fingerprint": repository.fingerprint, "experts": [e.name for e in repository.experts], "out": str(out)})


def generator(arguments: Namespace) -> Answer:
    check_folder(arguments.data)
    model = chosen_backbone(arguments)
    folder = arguments.experts or experts_path(model.slug)
    repository = load_repository(folder, model.layout, model.fingerprint, model.shared)
    default = folder / GENERATOR_FILE if arguments.experts or model.slug != EMBEDDED else asset_path(GENERATOR_FILE)
    out = destination(arguments, default)
    recipe = changed(GeneratorRecipe(seed=arguments.seed), arguments.set)
    runs = runs_of(repository, model, arguments.cache or default_cache(), arguments.data)
    trained = train_generator(out, repository, runs, recipe, log)
    if out == folder / GENERATOR_FILE:
        _card(folder)  # it contains the generator's checksum
    return Answer({"fingerprint": trained.fingerprint, "experts": len(repository), "out": str(out)})


def card(arguments: Namespace) -> Answer:
    return Answer({"out": str(write_card(arguments.folder or experts_path(), arguments.license))})


def _card(folder: Path) -> None:
    """Write the repository's model card, unless it has a README of another author."""
    try:
        write_card(folder)
    except RepositoryError as error:
        log(f"No model card was written: {error}")


def changed(recipe: R, settings: Sequence[str]) -> R:
    """The recipe with the fields of ``--set NAME=VALUE``. Raises DataError: when the field is unknown, or the value has another
    type."""
    for setting in settings:
        name, _, value = setting.partition("=")
        old: Any = getattr(recipe, name, None)
        if name not in vars(recipe):
            raise DataError(f"--set {setting}: the recipe has no {name!r}; it has {', '.join(vars(recipe))}.")
        try:
            recipe = replace(recipe, **{name: type(old)(value)})
        except ValueError:
            raise DataError(f"--set {setting}: {name} is a number such as {old}.") from None
    return recipe


def destination(arguments: Namespace, usual: Path) -> Path:
    """``--out``, or the usual path. Raises UsageError: when a file is there, such as a shipped one, without ``--yes``."""
    if arguments.out is None and usual.exists() and not arguments.yes:
        raise UsageError(f"{usual} exists: choose another path with --out, or replace it with --yes.")
    return arguments.out or usual
