"""The files of an adapter: PEFT format, its provenance, and a README (``adapter.md``) on how to load it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jinja2 import StrictUndefined, Template

from core.backbones.base import Backbone
from core.backbones.lora import Lora
from core.backbones.peft_format import CONFIG_FILE, peft_files
from core.backbones.spec import portable
from core.backbones.transformers_names import CLIP_MODEL, clip_model, hub_model, renamed
from core.common.errors import AdapterError, brief
from core.common.files import check_free, whole
from core.names.teach import TaughtNames, names_cost
from core.sglora.engine import Adaptation, SGLora
from core.sglora.fit import Fit
from core.sglora.request import DEFAULT_WEIGHT
from core.sglora.router import Routing

README_FILE = "README.md"
NAMES = "Names from photos (rank-one editing, arXiv 2202.05262)"
PARTS = WHOLE, EXPERT, SHARED = "whole", "expert", "shared"  # of a generated adapter

_README = Template(
    Path(__file__).with_name("adapter.md").read_text(encoding="utf-8"),
    trim_blocks=True,
    keep_trailing_newline=True,
    undefined=StrictUndefined,
)


def adapter_files(
    backbone: Backbone, lora: Lora, origin: Mapping[str, Any], for_transformers: bool = False
) -> dict[str, bytes]:
    """The files of a LoRA by name: PEFT format, its provenance (``origin``), and a README with code to load it.

    ``for_transformers``: whether peft should load it into transformers' ``CLIPModel``; raises AdapterError as ``clip_model``.
    """
    choice, model_class = portable(backbone.choice), type(backbone.adapted)
    dtype = torch.float16 if origin.get("part") == EXPERT else torch.float32  # half the size
    base, named = (clip_model(backbone.choice), renamed(lora)) if for_transformers else (None, lora)
    ours = {"base_model_class": model_class.__name__, "parent_library": model_class.__module__}
    base_class = CLIP_MODEL if for_transformers else ours
    files = peft_files(named, backbone.fingerprint, base or origin["backbone"], origin, base_class, dtype)
    readme = _README.render(
        origin={"names": (), "part": None, "by_hand": False, **origin},
        arguments=", ".join(f"{key}={json.dumps(value)}" for key, value in choice.items() if value is not None),
        mixed="weight" in origin,  # then a photo's prefix holds both embeddings, not a feature map
        lora=lora,
        clip_model=base,
        base_model=base if base and "/" in base else hub_model(backbone.choice),
        plain=_plain,
    )
    return {README_FILE: readme.encode(), **files}


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of an adapter. Raises AdapterError: as ``check_free``, since a README.md would be lost."""
    check_free(folder, CONFIG_FILE, AdapterError)
    for name in sorted(files, key=lambda name: -len(files[name])):  # the largest first: a full disk gets none
        with whole(folder / name) as partial:
            partial.write_bytes(files[name])


def save_adapter(engine: SGLora, adaptation: Adaptation, folder: Path, part: str = WHOLE) -> None:
    """Write one of PARTS of a generated adapter in PEFT format. Raises as ``adapter_part`` and ``write_files``."""
    write_files(folder, adapter_files(engine.backbone, *adapter_part(engine, adaptation, part)))


def shared_provenance(backbone: Backbone) -> dict[str, Any]:
    """How an adapter without a sentence was made: the shared LoRA, if there is one, at the weight of search."""
    mixed = {} if backbone.shared is None else {"weight": DEFAULT_WEIGHT, "strength": DEFAULT_WEIGHT}
    return {"method": "The LoRA that all sentences share", **_model_facts(backbone), **mixed}


def with_names(names: TaughtNames, lora: Lora | None, origin: Mapping[str, Any]) -> tuple[Lora | None, dict[str, Any]]:
    """An adapter (None: the frozen model) and its provenance with taught names added. The zero-shot part of a mixed score would
    not know the names, so then the weight is 1."""
    if not names.entries:
        return lora, dict(origin)
    weight = {} if names.backbone.shared is None else {"weight": 1.0, "strength": 1.0}
    method = NAMES if lora is None or "experts" not in origin else origin["method"]
    named = names.on(lora)
    facts = {"names": listed_names(names), "kept": names_cost(names, lora, named), "method": method}
    return named, {**origin, **facts, **weight}


def _model_facts(backbone: Backbone) -> dict[str, Any]:
    """The backbone, as other machines name it, and its fingerprint."""
    choice = portable(backbone.choice)
    facts = {"backbone": choice.pop("spec"), "backbone_fingerprint": backbone.fingerprint}
    return facts | {key: value for key, value in choice.items() if value is not None}


def listed_names(names: TaughtNames) -> list[dict[str, Any]]:
    """Each name and its number of photos, as plain data."""
    return [{"name": entry.name, "photos": len(entry.photos)} for entry in names.entries]


def adapter_part(engine: SGLora, adaptation: Adaptation, part: str) -> tuple[Lora, dict[str, Any]]:
    """One of PARTS of a generated adapter, at its strength, and the provenance. The whole is the sum of the other two.

    Raises AdapterError: when there is no such part, or no shared LoRA.
    """
    shared = engine.repository.shared
    if part not in PARTS:
        raise AdapterError(f"An adapter has no part “{brief(part)}”: choose one of {', '.join(PARTS)}.")
    if part == WHOLE:
        return adaptation.lora, provenance(engine, adaptation)
    if shared is None:
        raise AdapterError(f"These experts have no shared LoRA, so an adapter has no part “{part}”: choose the whole.")
    lora = shared if part == SHARED else adaptation.own.scaled(float(adaptation.fits))
    return engine.applied(lora, adaptation.strength)[0], provenance(engine, adaptation, part)


def provenance(engine: SGLora, adaptation: Adaptation, part: str = WHOLE) -> dict[str, Any]:
    """How one of PARTS was made: the request and the routing, unless no expert fits; the weight of its scores if they are
    mixed, and all parts if there is a shared LoRA. The shared part has the same file for all sentences."""
    own, shared, parts = adaptation.own, engine.repository.shared, dict[str, Any]()
    made = routing_facts(engine, adaptation.routing)
    made = made | {"seed": adaptation.request.seed} if adaptation.fits else {"fit": made["fit"]}
    if shared is not None:
        rank = shared.only(own.modules).rank  # where the expert adapts, too
        parts = {SHARED: {"rank": rank, "sha256": shared.digest}, EXPERT: {"rank": own.rank}}
    return {
        "method": "SG-LoRA (arXiv 2509.10535)",
        **_model_facts(engine.backbone),
        **({} if part == SHARED else made),
        "strength": adaptation.strength,
        **({"weight": adaptation.weight} if engine.mixes else {}),
        **({"part": part, "parts": parts} if parts else {}),
    }


def weight_of(provenance: Mapping[str, Any]) -> float:
    """The weight of the adapter's scores in mixed scores, 0 to 1. 1 if its provenance has no valid weight."""
    weight = provenance.get("weight")
    return float(weight) if isinstance(weight, int | float) and 0 <= weight <= 1 else 1.0


def routing_facts(engine: SGLora, routing: Routing) -> dict[str, Any]:
    """A routing as plain data."""
    return {
        "description": routing.description,
        "k": len(routing.chosen),
        "tau": routing.tau,
        **({"by_hand": True} if routing.by_hand else {}),
        "experts": routed_experts(engine, routing),
        "fit": fit_facts(Fit.of(engine, routing)),
    }


def fit_facts(fit: Fit) -> dict[str, Any]:
    """The fit as plain data: "fits", "closeness", "forgetting" (points), "remark" (a sentence or None)."""
    remark = None if fit.remark is None else str(fit.remark)
    return {"fits": fit.fits, "closeness": round(fit.closeness, 4), "forgetting": round(fit.forgetting, 2), "remark": remark}


def routed_experts(engine: SGLora, routing: Routing) -> list[dict[str, Any]]:
    """The routed experts as plain data, closest first: name, description, similarity, weight."""
    return [
        {
            "name": engine.repository.experts[i].name,
            "description": engine.repository.experts[i].description,
            "similarity": round(float(routing.similarity[i]), 6),
            "weight": round(float(w), 6),
        }
        for i, w in zip(routing.chosen.tolist(), routing.weights.tolist(), strict=True)
    ]


def _plain(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+!|&" else c for c in text)
