"""Import and export of adapters in peft's file format. Imported ones may name linears as transformers' ``CLIPModel``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from core.backbones.lora import MAX_RANK, TEXT, VISION, Factors, Lora, LoraModule
from core.common.errors import AdapterError, brief
from core.common.files import whole
from core.common.messages import Message, message

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
PEFT_PREFIX = "base_model.model."
MAX_ADAPTER_BYTES = 64 * 1024 * 1024
# What peft writes; torch supports smaller ones only partly.
DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
# Options of peft beyond B @ A on frozen weights. These kinds of initialisation change the frozen weights too.
UNSUPPORTED = ("use_dora", "use_qalora", "use_bdlora", "alora_invocation_tokens")
UNSUPPORTED_INIT = ("pissa", "olora", "corda", "loftq", "lora_ga")
PLAIN_NAME = re.compile(r"[\w.]+")
# Names in transformers' ``CLIPModel``: how they start, and its names of linears in a block.
THEIRS = ("vision_model.", "text_model.", "text_projection.")
IN_BLOCK = {f"attn.{part}_proj": f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")}
IN_BLOCK |= {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}


def peft_files(
    lora: Lora,
    fingerprint: str,
    base_model: str,
    provenance: Mapping[str, Any],
    base_class: Mapping[str, str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> dict[str, bytes]:
    """The contents of ``adapter_config.json`` and ``adapter_model.safetensors`` as peft writes them (scale alpha / r = 1).

    Args:
        fingerprint: the backbone's. The safetensors header holds it and the provenance (any JSON); peft ignores both.
        base_model, base_class: peft's ``base_model_name_or_path`` and ``auto_mapping``.
    """
    others = {name: rank for name, rank in lora.ranks.items() if rank != lora.rank}
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_model,
        "auto_mapping": None if base_class is None else dict(base_class),
        "r": lora.rank,
        "lora_alpha": lora.rank,
        "rank_pattern": others,
        "alpha_pattern": others,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": [m.name for m in lora.modules],
    }
    tensors = {
        _key(name, which): part.detach().to("cpu", dtype).contiguous()
        for name, f in lora.factors.items()
        for which, part in (("A", f.a), ("B", f.b))
    }
    metadata = {"format": "pt", "backbone_fingerprint": fingerprint, "sg_lora": json.dumps(provenance)}
    return {CONFIG_FILE: f"{json.dumps(config, indent=2)}\n".encode(), WEIGHTS_FILE: save(tensors, metadata)}


def save_peft(lora: Lora, folder: Path, fingerprint: str, base_model: str, provenance: Mapping[str, Any]) -> None:
    """Write ``peft_files`` to a folder. Model cards call it."""
    for name, content in peft_files(lora, fingerprint, base_model, provenance).items():
        with whole(folder / name) as partial:
            partial.write_bytes(content)


def _key(name: str, which: str) -> str:
    return f"{PEFT_PREFIX}{name}.lora_{which}.weight"


def _transformers_name(name: str) -> str:
    """The linear's name in ``CLIPModel``. Raises AdapterError: when it has none."""
    if name == "text.projection":
        return "text_projection"
    match = re.fullmatch(r"(text|vision)\.blocks\.(\d+)\.(.*)", name)
    if match is None or match[3] not in IN_BLOCK:
        raise AdapterError("CORE_NO_COUNTERPART", name=name)
    return f"{match[1]}_model.encoder.layers.{match[2]}.{IN_BLOCK[match[3]]}"


def _unfit(names: Set[str], modules: Sequence[LoraModule]) -> str:
    """The error's key for an adapter with other linears than these. One on the other tower names the option for it."""
    for tower, key in ((VISION, "CORE_ADAPTER_UNFIT_PHOTOS"), (TEXT, "CORE_ADAPTER_UNFIT_TEXTS")):
        adapted = any(name.startswith(f"{PEFT_PREFIX}{tower}") for name in names)
        if adapted and not any(m.name.startswith(tower) for m in modules):
            return key
    return "CORE_ADAPTER_UNFIT"


def _read_config(label: Message, path: Path) -> tuple[Callable[[str], tuple[int, float]], str]:
    """A function from a linear's name in the file to its rank and the scale of its B @ A, and the name of the base model.

    The scale is alpha / r, or with ``use_rslora`` alpha / sqrt(r) (arXiv 2312.03732). Raises AdapterError: when the file is not
    for a plain LoRA, or a rank exceeds MAX_RANK.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rank, alpha = int(content["r"]), float(content.get("lora_alpha", content["r"]))
        ranks = {str(key): int(value) for key, value in (content.get("rank_pattern") or {}).items()}
        alphas = {str(key): float(value) for key, value in (content.get("alpha_pattern") or {}).items()}
        unsupported = [key for key in UNSUPPORTED if content.get(key)]
        unsupported += ["init_lora_weights"] if str(content.get("init_lora_weights")).startswith(UNSUPPORTED_INIT) else []
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError):
        raise AdapterError("CORE_ADAPTER_CONFIG", label=label, file=CONFIG_FILE) from None
    if content.get("peft_type", "LORA") != "LORA" or unsupported:
        if unsupported:
            raise AdapterError("CORE_ADAPTER_OPTION", label=label, option=unsupported[0])
        raise AdapterError("CORE_ADAPTER_KIND", label=label, kind=brief(content["peft_type"]))
    for value in (rank, *ranks.values()):
        if not 1 <= value <= MAX_RANK:
            raise AdapterError("CORE_ADAPTER_RANK", label=label, rank=brief(value), most=MAX_RANK)
    for key in (*ranks, *alphas):  # peft accepts any regular expression here, and some never end
        if not PLAIN_NAME.fullmatch(key):
            raise AdapterError("CORE_ADAPTER_PATTERN", label=label, name=brief(key), file=CONFIG_FILE)
    base_model = content.get("base_model_name_or_path")

    def rank_and_scale(name: str) -> tuple[int, float]:
        # As in peft, the first key that is the name or its end.
        r = next((value for key, value in ranks.items() if f".{name}".endswith(f".{key}")), rank)
        scaled = next((value for key, value in alphas.items() if f".{name}".endswith(f".{key}")), alpha)
        return r, scaled / (r**0.5 if content.get("use_rslora") else r)

    return rank_and_scale, brief(base_model) if isinstance(base_model, str) else ""


def load_peft(
    folder: Path, modules: Iterable[LoraModule], fingerprint: str, partly: bool = False
) -> tuple[Lora, dict[str, Any]]:
    """Read an adapter in PEFT format for the given linears, with our names or with those of transformers' CLIPModel.

    Args:
        modules: the linears of ``Backbone.layout``, or with ``partly`` all of ``Backbone.linears``.
        partly: the adapter may leave some of them out, but not all.

    Returns the LoRA (with its scale alpha / r in B) and its provenance ({} for adapters made elsewhere).

    Raises AdapterError: when files are missing or damaged, or for another backbone, wrong shapes or dtypes, NaN or infinite
        numbers, or a rank above MAX_RANK.
    """
    label = message("CORE_ADAPTER", name=folder.name)
    config_path, weights_path = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    for path in (config_path, weights_path):
        if not path.is_file():
            raise AdapterError("CORE_ADAPTER_FILE", label=label, file=path.name, config=CONFIG_FILE, weights=WEIGHTS_FILE)
        if path.stat().st_size > MAX_ADAPTER_BYTES:
            raise AdapterError("CORE_ADAPTER_LARGE", label=label, file=path.name, mb=MAX_ADAPTER_BYTES // 2**20)
    rank_and_scale, base_model = _read_config(label, config_path)
    try:
        with safe_open(weights_path, framework="pt") as file:
            metadata, names = file.metadata() or {}, set(file.keys())
            theirs = any(name.removeprefix(PEFT_PREFIX).startswith(THEIRS) for name in names)
            rename = _transformers_name if theirs else str
            keys = {m: {_key(rename(m.name), which) for which in "AB"} for m in modules}
            modules = [m for m in keys if keys[m] & names or not partly] or list(keys)
            expected = set[str]().union(*(keys[m] for m in modules))
            # Reads expected tensors only: a header may name a million empty ones.
            tensors = {key: file.get_tensor(key) for key in names & expected}
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError):
        raise AdapterError("CORE_ADAPTER_DAMAGED", label=label, file=WEIGHTS_FILE) from None
    made_for = metadata.get("backbone_fingerprint")
    if made_for and made_for != fingerprint:
        made_for = brief(made_for)
        raise AdapterError("CORE_ADAPTER_OTHER", label=label, theirs=made_for, ours=fingerprint)
    if names != expected:
        key = min(names ^ expected)
        model = message("CORE_ADAPTER_MADE_FOR", model=base_model) if base_model else ""
        state = message("CORE_ADAPTER_UNKNOWN" if key in names else "CORE_ADAPTER_MISSING")
        raise AdapterError(_unfit(names, modules), label=label, model=model, name=brief(key), state=state)
    factors = {}
    for m in modules:
        theirs = rename(m.name)
        a, b = (tensors[_key(theirs, which)] for which in "AB")
        rank, scale = rank_and_scale(theirs)
        if a.shape != (rank, m.in_features) or b.shape != (m.out_features, rank):
            raise AdapterError(
                "CORE_ADAPTER_SHAPES",
                label=label,
                name=m.name,
                a=tuple(a.shape),
                b=tuple(b.shape),
                expected_a=(rank, m.in_features),
                expected_b=(m.out_features, rank),
            )
        if not {a.dtype, b.dtype} <= DTYPES:
            raise AdapterError("CORE_ADAPTER_DTYPE", label=label, name=m.name, a=a.dtype, b=b.dtype)
        factors[m.name] = Factors(a.float(), b.float() * scale)
    lora = Lora(tuple(modules), factors)
    lora.check_finite(label)
    try:
        provenance = json.loads(metadata.get("sg_lora", "{}"))
    except (ValueError, RecursionError):
        provenance = {}
    return lora, provenance if isinstance(provenance, dict) else {}
