"""An adapter as files in PEFT format, with its provenance and a README (``adapter.md``) that says how to load it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import StrictUndefined, Template

from core.backbones.base import Backbone
from core.backbones.lora import Lora
from core.backbones.peft_format import CONFIG_FILE, WEIGHTS_FILE, save_peft
from core.backbones.spec import portable
from core.backbones.transformers_names import CLASS as CLIP_MODEL
from core.backbones.transformers_names import hub_model, transformers_name
from core.common.errors import AdapterError
from core.sglora.engine import Adaptation, SGLora
from core.sglora.fit import Fit
from core.sglora.router import Routing
from core.sglora.teach import TaughtNames

README_FILE = "README.md"
ADAPTER_FILES = (README_FILE, CONFIG_FILE, WEIGHTS_FILE)
NAMES_METHOD = {"method": "Names from photos (rank-one editing, arXiv 2202.05262)"}

_README = Template(
    Path(__file__).with_name("adapter.md").read_text(encoding="utf-8"),
    trim_blocks=True,
    keep_trailing_newline=True,
    undefined=StrictUndefined,
)


def save_adapter(
    engine: SGLora, adaptation: Adaptation, folder: Path, for_transformers: bool = False, names: TaughtNames | None = None
) -> None:
    """``write_adapter`` for a generated LoRA, to which names are added."""
    lora, origin = adaptation.lora, provenance(engine, adaptation)
    if names is not None and names.entries:
        lora, origin = names.on(lora) or lora, origin | taught_facts(names)
    write_adapter(engine.backbone, lora, origin, folder, for_transformers)


def write_adapter(
    backbone: Backbone,
    lora: Lora,
    origin: Mapping[str, Any],
    folder: Path,
    for_transformers: bool = False,
    beside: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Write a LoRA in PEFT format with this provenance, which holds ``model_facts``, a README with the lines that load it, and
    the files ``beside`` them, all of it or nothing.
    ``for_transformers``: name linears as transformers' ``CLIPModel`` does; AdapterError where the backbone is none."""
    choice, fingerprint = portable(backbone.choice), backbone.fingerprint
    base = hub_model(choice) if for_transformers else None
    with _all_or_nothing(folder) as written:
        if base is not None:
            save_peft(lora, written, fingerprint, base, origin, CLIP_MODEL, transformers_name)
        else:
            kind = type(backbone.adapted)
            mapping = {"base_model_class": kind.__name__, "parent_library": kind.__module__}
            save_peft(lora, written, fingerprint, origin["backbone"], origin, mapping)
        readme = _README.render(
            origin={"names": (), **origin},
            arguments=", ".join(f"{key}={json.dumps(value)}" for key, value in choice.items() if value is not None),
            mixed="weight" in origin,  # then a prefix is no map any more, but both embeddings
            lora=lora,
            clip_model=base,
            dumps=json.dumps,
            plain=_plain,
        )
        (written / README_FILE).write_text(readme, encoding="utf-8")
        for name, content in beside.items():
            (written / name).write_bytes(content)


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[Path]:
    """A new folder whose files come into ``folder`` once all are written; where that fails, nothing of them is left."""
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as part:
            yield Path(part)
            for path in Path(part).iterdir():
                path.replace(folder / path.name)
    except BaseException:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def save_names_adapter(names: TaughtNames, folder: Path) -> None:
    """Write taught names as an adapter, on top of what all adapters share; AdapterError where there are none."""
    lora = names.on(names.backbone.shared)
    if lora is None or not names.entries:
        raise AdapterError("There are no names yet: teach one first.")
    write_adapter(names.backbone, lora, NAMES_METHOD | model_facts(names.backbone) | taught_facts(names), folder)


def model_facts(backbone: Backbone) -> dict[str, Any]:
    """What a provenance says about the model that an adapter is for."""
    choice = portable(backbone.choice)
    facts = {"backbone": choice.pop("spec"), "backbone_fingerprint": backbone.fingerprint}
    return facts | {key: value for key, value in choice.items() if value is not None}


def taught_facts(names: TaughtNames) -> dict[str, Any]:
    """What a provenance says about taught names. Zero-shot's part of a mixed score would not know them, so that an adapter
    with names has weight 1."""
    facts = {"names": listed_names(names)}
    return facts if names.backbone.shared is None else facts | {"weight": 1.0, "strength": 1.0}


def listed_names(names: TaughtNames) -> list[dict[str, Any]]:
    """Each name and of how many photos it is, as plain data."""
    return [{"name": entry.name, "photos": len(entry.photos)} for entry in names.entries]


def provenance(engine: SGLora, adaptation: Adaptation) -> dict[str, Any]:
    """What a downloaded adapter says about where it comes from."""
    routing, request = adaptation.routing, adaptation.request
    return {
        "method": "SG-LoRA (arXiv 2509.10535)",
        "description": routing.description,
        **model_facts(engine.backbone),
        "seed": request.seed,
        "k": len(routing.chosen),
        "tau": routing.tau,
        "strength": adaptation.strength,
        **({"weight": adaptation.weight} if engine.mixes else {}),
        "fit": fit_facts(adaptation.fit),
        "experts": routed_experts(engine, routing),
    }


def weight_of(provenance: Mapping[str, Any]) -> float:
    """How much the adapter's scores count beside zero-shot's, 0 to 1; 1 where its provenance does not say."""
    weight = provenance.get("weight")
    return float(weight) if isinstance(weight, int | float) and 0 <= weight <= 1 else 1.0


def fit_facts(fit: Fit) -> dict[str, Any]:
    """How well the experts fit, as plain data: "fits", "closeness", "forgetting" (points), "remark" (a sentence, or None)."""
    remark = None if fit.remark is None else fit.remark.text
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
    """Text as Markdown that means nothing but itself."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+!|&" else c for c in text)
