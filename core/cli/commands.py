"""The commands route, adapt and evaluate, and helpers of all commands."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.backbones import EMBEDDED, load_backbone
from core.backbones.base import Backbone, photo_column
from core.backbones.embedded import load_embedded
from core.backbones.peft_format import load_peft
from core.cli import format
from core.common.device import current
from core.common.errors import BackboneError, DataError, UsageError
from core.common.progress import say as log
from core.common.stopwatch import Stopwatch
from core.common.text import clean_text
from core.data import read_folder
from core.experiments.evaluate import DEFAULT_METHODS, measure
from core.experiments.evaluate import evaluate as evaluate_methods
from core.experts.adapter_files import fit_facts, generated_files, routed_experts, weight_of, write_files
from core.experts.files import RepositoryIndex
from core.experts.load import load_engine
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.sglora.engine import Adaptation, SGLora
from core.sglora.fit import Fit
from core.sglora.request import AdapterRequest
from core.sglora.router import Routing

SAMPLING = ("k", "tau", "seed", "strength")  # the options of ``request``


@dataclass(frozen=True)
class Answer:
    data: dict[str, Any]  # for ``--json``
    text: Callable[[Any], str]  # turns ``data`` into text for people


def route(arguments: Namespace) -> Answer:
    clean_text(arguments.text)  # before seconds of loading models
    engine = load_chosen_engine(arguments)
    routing = engine.route(arguments.text, arguments.k, arguments.tau)
    return Answer(_routed(engine, routing, engine.fit(routing)), format.routing)


def adapt(arguments: Namespace) -> Answer:
    clean_text(arguments.text)  # before seconds of loading models
    stopwatch = Stopwatch()
    engine, adaptation = adapted(arguments, arguments.text, stopwatch)
    files = generated_files(engine, adaptation, for_transformers=arguments.format == "transformers")
    write_files(arguments.out, files)
    stopwatch.lap("write")
    seconds = {"load": stopwatch.laps["load"], **adaptation.seconds, "write": stopwatch.laps["write"]}
    data = {
        **_routed(engine, adaptation.routing, adaptation.fit),
        "seed": adaptation.request.seed,
        "strength": adaptation.strength,
        "parameters": adaptation.lora.parameters,
        "rank": adaptation.lora.rank,
        "seconds": {step: round(value, 6) for step, value in seconds.items()},
        "out": str(arguments.out),
        "files": list(files),
    }
    return Answer(data, format.adaptation)


def adapted(arguments: Namespace, task: str, stopwatch: Stopwatch) -> tuple[SGLora, Adaptation]:
    """The chosen engine, and its adaptation to a sentence; adds the laps "load" and "adapt"."""
    engine = load_chosen_engine(arguments)
    engine.backbone.encode_sentence(["warm-up"])  # loads the text tower, which would otherwise count as encoding
    stopwatch.lap("load")
    adaptation = engine.adapt(request(arguments, task))
    stopwatch.lap("adapt")
    return engine, adaptation


def evaluate(arguments: Namespace) -> Answer:
    if arguments.task is None and arguments.adapter is None:
        raise UsageError("`evaluate` needs --task TEXT or --adapter DIR.")
    if arguments.task is None:
        if needing := [name for name in arguments.methods or () if name != "zero-shot"]:
            raise UsageError(f"--methods {','.join(needing)} needs --task TEXT: without one, only zero-shot is measured.")
        check_sampling(arguments)
    else:
        clean_text(arguments.task)  # before seconds of loading models
    samples = read_folder(arguments.data)
    if arguments.split is not None:
        samples = [s for s in samples if s.split == arguments.split]
        if not samples:
            raise DataError(f"No photo of {arguments.data} is in the split {arguments.split!r}.")
    if arguments.task is None:  # needs no experts
        backbone = chosen_backbone(arguments)
        alone = {"zero-shot": ZERO_SHOT, "adapter": load_adapter(backbone, arguments.adapter)}
        evaluation = measure(backbone, samples, alone, log)
    else:
        engine, methods = load_chosen_engine(arguments), arguments.methods or DEFAULT_METHODS
        beside = {} if arguments.adapter is None else {"adapter": load_adapter(engine.backbone, arguments.adapter)}
        evaluation = evaluate_methods(engine, samples, request(arguments, arguments.task), methods, log, beside)
    recalls = {
        name: {way: {k: round(v, 4) for k, v in values.items()} for way, values in ways.items()}
        for name, ways in evaluation.methods.items()
    }
    data = {"images": evaluation.images, "captions": evaluation.captions, "methods": recalls}
    return Answer(data, format.recalls)


def sampling_given(arguments: Namespace) -> list[str]:
    """The names of the options of ``request`` that were given."""
    return [name for name in SAMPLING if getattr(arguments, name) is not None]


def check_sampling(arguments: Namespace) -> None:
    """Raise UsageError if an option of ``request`` was given without --task."""
    if arguments.task is None and (given := sampling_given(arguments)):
        raise UsageError(f"--{given[0]} needs --task TEXT: without one, no adapter is generated.")


def request(arguments: Namespace, description: str) -> AdapterRequest:
    """The request of ``--k``, ``--tau``, ``--seed`` and ``--strength``; None is the default."""
    return AdapterRequest(description, **{name: getattr(arguments, name) for name in sampling_given(arguments)})


def load_adapter(backbone: Backbone, folder: Path) -> Adapter:
    """The adapter of ``--adapter``, with the weight in its files. Raises AdapterError: as ``load_peft``, or when it changes
    photos differently from the backbone's shared part."""
    lora, origin = load_peft(folder, backbone.linears.values(), backbone.fingerprint, partly=True)
    if backbone.shared is None:
        return Adapter.of(lora)
    photo_column(lora, backbone.shared)
    return Adapter.of(lora, weight_of(origin))


def load_chosen_engine(arguments: Namespace) -> SGLora:
    """The engine of ``--experts``, ``--generator`` and the options of the backbone."""
    return load_engine(chosen_backbone(arguments), arguments.experts, arguments.generator)


def chosen_backbone(arguments: Namespace) -> Backbone:
    """The backbone of ``--backbone``, ``--heads``, ``--pretrained`` and ``--adapt``; without these, that of ``--experts``."""
    given = {key: getattr(arguments, key) for key in ("pretrained", "adapt_blocks", "adapt")}
    if arguments.heads is None:
        experts = getattr(arguments, "experts", None)
        if experts is not None and arguments.backbone is None and not any(given.values()):
            return load_backbone(**RepositoryIndex.read(experts).backbone)
        return load_backbone(arguments.backbone or EMBEDDED, **given)
    if arguments.backbone not in (None, EMBEDDED):
        raise BackboneError(f"--heads is for the embedded backbone; {arguments.backbone} takes --pretrained.")
    return load_embedded(arguments.heads, adapt=arguments.adapt or "texts").to(current())


def _routed(engine: SGLora, routing: Routing, fit: Fit) -> dict[str, Any]:
    return {
        "description": routing.description,
        "backbone": engine.backbone.name,
        "k": len(routing.chosen),
        "tau": routing.tau,
        "experts": routed_experts(engine, routing),
        "fit": fit_facts(fit),
    }
