"""The commands route, adapt, export, evaluate and check, and helpers of all commands."""

import json
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from core.backbones import EMBEDDED, load_backbone
from core.backbones.base import Backbone
from core.backbones.embedded import load_embedded
from core.backbones.lora import Lora
from core.backbones.spec import OWN_WEIGHTS, Side, adapted_side, slug
from core.cli import format
from core.common.device import current
from core.common.errors import BackboneError, DataError, UsageError
from core.common.files import check_free
from core.common.paths import experts_path
from core.common.progress import say as log
from core.data import read_folder
from core.experiments import evaluate as evaluation
from core.experts import check as release
from core.experts.adapter_files import adapter_files, adapter_part, routing_facts, write_files
from core.experts.files import INDEX_FILE, RepositoryIndex
from core.experts.load import load_adapter, load_engine
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.library import PhotoLibrary
from core.sglora.engine import SGLora
from core.sglora.request import DEFAULT_WEIGHT, AdapterRequest, read_weights


@dataclass(frozen=True)
class Answer:
    data: dict[str, Any]  # for ``--json``
    text: Callable[[Any], str] = format.facts  # turns ``data`` into text for people
    passed: bool = True  # else the exit code is 1


def route(arguments: Namespace) -> Answer:
    wanted = task_request(arguments)
    assert wanted is not None
    engine = load_chosen_engine(arguments)
    routing = engine.route(wanted.description, wanted.k, wanted.tau)
    return Answer({"backbone": engine.backbone.name, **routing_facts(engine, routing)}, format.routing)


def adapt(arguments: Namespace) -> Answer:
    wanted = task_request(arguments)
    assert wanted is not None
    engine = load_chosen_engine(arguments)
    adaptation = engine.adapt(wanted)
    lora, origin = adapter_part(engine, adaptation, arguments.part)
    files = adapter_files(engine.backbone, lora, origin, arguments.format == "transformers")
    facts = routing_facts(engine, adaptation.routing) | {"seed": wanted.seed, "strength": adaptation.strength}
    data = {"backbone": origin["backbone"], **facts, "part": arguments.part, **written(arguments, lora, files)}
    return Answer(data, format.adaptation)


def written(arguments: Namespace, lora: Lora, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Write the files of an adapter to ``--out``; returns what the JSON says of them."""
    write_files(arguments.out, files)
    return {"parameters": lora.parameters, "rank": lora.rank, "out": str(arguments.out), "files": list(files)}


def export(arguments: Namespace) -> Answer:
    """``export open-clip`` writes the whole model, ``export immich`` its text model."""
    from core.backbones.open_clip_export import CONFIG_FILE, write_merged, write_textual  # imports open_clip: seconds

    if arguments.whole:
        check_free(arguments.out, CONFIG_FILE, BackboneError)  # before seconds of loading models
    backbone = chosen_backbone(arguments, "photos" if arguments.whole else "texts")
    adapter = load_adapter(backbone, arguments.adapter)
    assert adapter.lora is not None
    files = (write_merged if arguments.whole else write_textual)(backbone, adapter.lora, arguments.out)
    return Answer({"backbone": backbone.name, "adapter": str(arguments.adapter), "out": str(arguments.out), "files": files})


def chosen_adapter(arguments: Namespace, wanted: AdapterRequest | None = None) -> tuple[Backbone, str, Adapter]:
    """The backbone, and the adapter to search with and its name: that of the task, or of ``--adapter``; without them the part
    that all adapters share, if there is one, as on the page."""
    if wanted is not None:
        engine = load_chosen_engine(arguments)
        made = engine.adapt(wanted)
        if not made.fits:
            log("No expert fits this task: only the shared LoRA is applied.")
        return engine.backbone, "sg-lora" if made.fits else "shared", Adapter.of(made.lora, made.weight)
    backbone = chosen_backbone(arguments)
    if getattr(arguments, "adapter", None) is not None:
        return backbone, "adapter", load_adapter(backbone, arguments.adapter)
    if backbone.shared is not None:
        return backbone, "shared", Adapter.of(backbone.shared, DEFAULT_WEIGHT)
    return backbone, "zero-shot", ZERO_SHOT


def evaluate(arguments: Namespace) -> Answer:
    if arguments.task is None and (needing := [name for name in arguments.methods or () if name != "zero-shot"]):
        raise UsageError(f"--methods {','.join(needing)} needs --task TEXT: without one, only zero-shot is measured.")
    wanted = task_request(arguments)
    samples = read_folder(arguments.data)
    if arguments.split is not None:
        samples = [s for s in samples if s.split == arguments.split]
        if not samples:
            raise DataError(f"No photo of {arguments.data} is in the split {arguments.split!r}.")
    if wanted is None:  # zero-shot needs no experts
        backbone, adapters = chosen_backbone(arguments), {"zero-shot": ZERO_SHOT}
    else:
        engine = load_chosen_engine(arguments)
        methods = arguments.methods or evaluation.DEFAULT_METHODS
        backbone, adapters = engine.backbone, evaluation.adapters_of(engine, wanted, methods)
    if arguments.adapter is not None:
        adapters["adapter"] = load_adapter(backbone, arguments.adapter)
    return Answer(evaluation.evaluate(backbone, samples, adapters, log), format.recalls)


def check(arguments: Namespace) -> Answer:
    if arguments.update:
        content = {"weights": release.weights(), **release.facts(*release.load())}
        release.REFERENCE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    checks = list(release.check())
    passed = all(each["passed"] for each in checks)
    return Answer({"passed": passed, "checks": checks}, format.checked, passed)


def reported(failed: Iterable[tuple[object, object]]) -> list[dict[str, str]]:
    """(name, reason) of what cannot be used, as it stands in the JSON; each is logged."""
    for name, reason in failed:
        log(format.on_one_line(f"left out: {name}: {reason}"))
    return [{"name": str(name), "reason": str(reason)} for name, reason in failed]


def task_request(arguments: Namespace) -> AdapterRequest | None:
    """The request of TEXT or ``--task``, and of the options that shape its adapter; None without a task. Raises, before seconds
    of loading models, DescriptionError: when the request is invalid; UsageError: when there are such options without a task."""
    keys = ("k", "tau", "seed", "strength", "weights")
    given = {key: value for key in keys if (value := getattr(arguments, key, None)) is not None}
    if arguments.task is not None:
        return AdapterRequest(arguments.task, weights=read_weights(given.pop("weights", ())), **given)
    if given:
        raise UsageError(f"--{next(iter(given))} needs --task TEXT: without one, no adapter is generated.")
    return None


def load_chosen_engine(arguments: Namespace) -> SGLora:
    """The engine of ``--experts``, ``--generator`` and the options of the backbone."""
    return load_engine(chosen_backbone(arguments), arguments.experts, arguments.generator)


def chosen_backbone(arguments: Namespace, side: Side = "texts") -> Backbone:
    """The backbone of ``--backbone``, ``--heads``, ``--pretrained`` and ``--adapt``; without these, that of ``--experts`` or
    ``--library``. ``side``: what LoRAs of an open_clip model adapt, if neither ``--adapt`` nor its experts say it."""
    given = {key: getattr(arguments, key) for key in ("pretrained", "adapt_blocks", "adapt")}
    experts, library, name = (getattr(arguments, key, None) for key in ("experts", "library", "backbone"))
    if arguments.heads is not None:
        if name not in (None, EMBEDDED):
            raise BackboneError(f"--heads is for the embedded backbone; {name} takes --pretrained.")
        return load_embedded(arguments.heads, adapt=arguments.adapt or "texts").to(current())
    if name is None and not any(given.values()):
        if experts is not None:
            return load_backbone(**RepositoryIndex.read(experts).backbone)
        if library is not None and library.exists():
            made = PhotoLibrary.open(library).about.backbone
            # One of the embedded backbone's photos cannot be searched with its own experts: it says how to make it again.
            if made["spec"] != EMBEDDED:
                return load_backbone(**made)
    if name in (None, EMBEDDED):
        return load_backbone(EMBEDDED, **given)
    if not (name.startswith(OWN_WEIGHTS) or given["pretrained"] or getattr(arguments, "random_weights", False)):
        raise BackboneError(f"{name} has random weights: give --pretrained TAG|FILE, or train with --random-weights.")
    if given["adapt"] is None:
        folder = experts or experts_path(slug(name, given["pretrained"], given["adapt_blocks"]))
        known = (folder / INDEX_FILE).is_file()
        usual = "photos" if given["adapt_blocks"] else side  # blocks of the image tower, as in the paper
        given["adapt"] = adapted_side(RepositoryIndex.read(folder).backbone) if known else usual
    return load_backbone(name, **given)
