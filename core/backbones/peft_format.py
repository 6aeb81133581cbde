"""Import and export of adapters in peft's file format."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from core.backbones.lora import MAX_RANK, Factors, Lora, LoraModule
from core.common.errors import AdapterError, brief
from core.common.files import whole
from core.common.messages import Message, message
from core.common.tensor_files import header_of

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
PEFT_PREFIX = "base_model.model."
MAX_ADAPTER_BYTES = 64 * 2**20
FILES = {CONFIG_FILE: 2**20, WEIGHTS_FILE: MAX_ADAPTER_BYTES}  # of an adapter, and their most bytes
# What peft writes; torch supports smaller ones only partly.
DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
# Options of peft beyond B @ A on frozen weights. These kinds of initialisation change the frozen weights too.
UNSUPPORTED = ("use_dora", "use_qalora", "use_bdlora", "alora_invocation_tokens")
UNSUPPORTED_INIT = ("pissa", "olora", "corda", "loftq", "lora_ga")
PLAIN_NAME = re.compile(r"[\w.]+")


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


def _read_config(label: Message, config: bytes) -> tuple[Callable[[str, int], float], str]:
    """A function from a linear's name in the file and its rank r to the scale of its B @ A, and the name of the base model.

    The scale is alpha / r, or with ``use_rslora`` alpha / sqrt(r) (arXiv 2312.03732). Raises AdapterError: when the file is not
    for a plain LoRA.
    """
    try:
        content = json.loads(config)
        alpha = float(content["lora_alpha"])
        alphas = {str(key): float(value) for key, value in (content.get("alpha_pattern") or {}).items()}
        others = [] if content.get("peft_type", "LORA") == "LORA" else [content["peft_type"]]
        others += [key for key in UNSUPPORTED if content.get(key)]
        others += ["init_lora_weights"] if str(content.get("init_lora_weights")).startswith(UNSUPPORTED_INIT) else []
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError):
        raise AdapterError(f"{label}: {CONFIG_FILE} is not a LoRA configuration of peft.") from None
    if others:
        raise AdapterError(f"{label}: only plain LoRA adapters are supported, not {brief(others[0])}.")
    for key in alphas:  # peft accepts any regular expression here
        if not PLAIN_NAME.fullmatch(key):
            raise AdapterError(f"{label}: {brief(key)} in {CONFIG_FILE} is not the name of a linear.")
    base_model = content.get("base_model_name_or_path")

    def scale(name: str, rank: int) -> float:
        # As in peft, the first key that is the name or its end.
        scaled = next((value for key, value in alphas.items() if f".{name}".endswith(f".{key}")), alpha)
        return scaled / (rank**0.5 if content.get("use_rslora") else rank)

    return scale, brief(base_model) if isinstance(base_model, str) else ""


def load_peft(folder: Path, modules: Iterable[LoraModule], fingerprint: str) -> tuple[Lora, dict[str, Any]]:
    """Read the adapter in a folder, see ``read_peft``. Also raises AdapterError when a file is missing or too large."""
    label, files = message("Adapter {name}", name=folder.name), dict[str, bytes]()
    for name, most in FILES.items():
        path = folder / name
        if not path.is_file():
            raise AdapterError(f"{label}: {name} is missing (a PEFT adapter has {CONFIG_FILE} and {WEIGHTS_FILE}).")
        if path.stat().st_size > most:
            raise AdapterError(f"{label}: {name} is larger than {most // 2**20} MB.")
        files[name] = path.read_bytes()
    return read_peft(files, label, modules, fingerprint)


def read_peft(
    files: Mapping[str, bytes], label: Message, modules: Iterable[LoraModule], fingerprint: str
) -> tuple[Lora, dict[str, Any]]:
    """Read an adapter in PEFT format of some of these linears. ``files``: the contents of FILES. ``label``: its name in errors.
    ``modules``: such as ``Backbone.linears``.

    Returns the LoRA (with its scale alpha / r in B) and its provenance ({} for adapters made elsewhere).

    Raises AdapterError: when files are damaged, or for another backbone, other linears, wrong shapes or dtypes, NaN or infinite
        numbers, or a rank above MAX_RANK.
    """
    scale, base_model = _read_config(label, files[CONFIG_FILE])
    weights = files[WEIGHTS_FILE]
    try:
        header = header_of(weights)
        metadata = header.pop("__metadata__", {})
        keys = {m: {_key(m.name, which) for which in "AB"} for m in modules}
        keys = {m: pair for m, pair in keys.items() if pair & header.keys()} or keys
        unexpected = header.keys() ^ set[str]().union(*keys.values())
        tensors = {} if unexpected else load(weights)
        made_for = metadata.get("backbone_fingerprint")
    except (SafetensorError, LookupError, TypeError, AttributeError, ValueError, RuntimeError):
        raise AdapterError("{label}: {file} is damaged or not a safetensors file.", label=label, file=WEIGHTS_FILE) from None
    if made_for and made_for != fingerprint:
        other = "{label} was made for another backbone (fingerprint {theirs}, this one is {ours})."
        raise AdapterError(other, label=label, theirs=brief(made_for), ours=fingerprint)
    if unexpected:
        key = min(unexpected)
        model = f" (it was made for {base_model})" if base_model else ""
        state = "unknown" if key in header else "missing"
        raise AdapterError(f"{label} does not fit this backbone{model}: {brief(key)} is {state}. Try --adapt texts or photos.")
    factors = {}
    for m in keys:
        a, b = (tensors[_key(m.name, which)] for which in "AB")
        rank = len(a) if a.dim() else 0
        if not 1 <= rank <= MAX_RANK or a.shape != (rank, m.in_features) or b.shape != (m.out_features, rank):
            shapes, sizes = (tuple(a.shape), tuple(b.shape)), (m.in_features, m.out_features)
            raise AdapterError(f"{label}: A and B of {m.name} are {shapes}, for sizes {sizes} and rank 1 to {MAX_RANK}.")
        if not {a.dtype, b.dtype} <= DTYPES:
            raise AdapterError(f"{label}: the weights of {m.name} are no floats of 16 bits or more ({a.dtype}, {b.dtype}).")
        factors[m.name] = Factors(a.float(), b.float() * scale(m.name, rank))
    lora = Lora(tuple(keys), factors)
    lora.check_finite(label)
    try:
        provenance = json.loads(metadata.get("sg_lora", "{}"))
    except (ValueError, RecursionError):
        provenance = {}
    return lora, provenance if isinstance(provenance, dict) else {}
