"""The LoRA: its layout, its vector form, exact merging, and import/export in PEFT format.

A LoRA adds ``B @ A`` (rank r) to the weight of each adapted linear. SG-LoRA generates LoRAs as vectors, so a layout
fixes the order in which the factors are flattened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.common.errors import AdapterError, brief

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PEFT_PREFIX = "base_model.model."
MAX_RANK = 256
MAX_ADAPTER_BYTES = 64 * 1024 * 1024
# What peft can do beyond B @ A on frozen weights; the last kinds of initialisation change the frozen weights too.
UNSUPPORTED = ("use_dora", "rank_pattern", "alpha_pattern", "use_qalora", "use_bdlora", "alora_invocation_tokens")
UNSUPPORTED_INIT = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class LoraModule:
    """One adapted linear: its dotted name in the adapted tower, and its input and output width."""

    name: str
    in_features: int
    out_features: int


@dataclass(frozen=True)
class LoraLayout:
    """Which linears a LoRA adapts, in order, and at which rank; it defines the vector form.

    The vector holds, module by module, A [r, in] and then B [out, r], both row-major.
    """

    modules: tuple[LoraModule, ...]
    rank: int

    @property
    def size(self) -> int:
        """Number of parameters P (9,216 for `embedded`; 110,592 for ViT-B/16 at rank 2)."""
        return sum(self.rank * (m.in_features + m.out_features) for m in self.modules)


@dataclass(frozen=True)
class Factors:
    """The two factors of one adapted linear: A [r, in] and B [out, r]; the weight gains B @ A."""

    a: Tensor
    b: Tensor

    @property
    def delta(self) -> Tensor:
        """The weight change, [out, in]."""
        return self.b @ self.a


@dataclass(frozen=True)
class Lora:
    """A LoRA adapter: one pair of factors per adapted linear.

    It is never injected: a backbone's suffix takes it as an argument, so that no visitor changes another's model.
    """

    modules: tuple[LoraModule, ...]
    factors: Mapping[str, Factors]

    @staticmethod
    def from_vector(layout: LoraLayout, vector: Tensor) -> Lora:
        """Unflatten a vector [P]; differentiable.

        Raises:
            AdapterError: the vector has another length than the layout.
        """
        if vector.shape != (layout.size,):
            raise AdapterError(f"A LoRA vector of {layout.size:,} numbers is expected, not of shape {tuple(vector.shape)}.")
        factors, start, r = {}, 0, layout.rank
        for m in layout.modules:
            split = start + r * m.in_features
            stop = split + r * m.out_features
            factors[m.name] = Factors(vector[start:split].view(r, m.in_features), vector[split:stop].view(m.out_features, r))
            start = stop
        return Lora(layout.modules, factors)

    def vector(self) -> Tensor:
        """The flattened form [P] in layout order."""
        return torch.cat([part.reshape(-1) for m in self.modules for part in (self.factors[m.name].a, self.factors[m.name].b)])

    @property
    def rank(self) -> int:
        return self.factors[self.modules[0].name].a.shape[0]

    @property
    def parameters(self) -> int:
        return sum(f.a.numel() + f.b.numel() for f in self.factors.values())

    def scaled(self, strength: float) -> Lora:
        """The LoRA with its weight change multiplied by ``strength`` (0 = zero-shot, 1 = as it is)."""
        return Lora(self.modules, {name: Factors(f.a, f.b * strength) for name, f in self.factors.items()})

    def norms(self) -> dict[str, float]:
        """Frobenius norm of the weight change of each adapted linear."""
        return {m.name: float(self.factors[m.name].delta.norm()) for m in self.modules}

    def check_finite(self, label: str) -> None:
        """Raise AdapterError when a factor holds NaN or Inf."""
        for name, f in self.factors.items():
            if not (bool(torch.isfinite(f.a).all()) and bool(torch.isfinite(f.b).all())):
                raise AdapterError(f"{label}: the weights of {name} hold NaN or infinite numbers.")


def merge(loras: Sequence[Lora], weights: Sequence[float]) -> Lora:
    """The exact weighted sum of weight changes, sum_i w_i B_i A_i, as one LoRA of rank sum_i r_i.

    Averaging A's and B's separately would have cross terms B_i A_j (DESIGN 3), so factors are concatenated.
    """
    modules = loras[0].modules
    factors = {
        m.name: Factors(
            torch.cat([lora.factors[m.name].a for lora in loras], 0),
            torch.cat([lora.factors[m.name].b * w for lora, w in zip(loras, weights, strict=True)], 1),
        )
        for m in modules
    }
    return Lora(modules, factors)


def save_peft(lora: Lora, folder: Path, fingerprint: str, base_model: str, provenance: Mapping[str, Any]) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` as peft does (scale alpha / r = 1).

    ``provenance`` (any JSON: routing, seed, …) and the backbone's fingerprint go into the safetensors header, where
    peft ignores them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_model,
        "r": lora.rank,
        "lora_alpha": lora.rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": [m.name for m in lora.modules],
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors = {}
    for name, f in lora.factors.items():
        tensors[f"{PEFT_PREFIX}{name}.lora_A.weight"] = f.a.detach().float().contiguous()
        tensors[f"{PEFT_PREFIX}{name}.lora_B.weight"] = f.b.detach().float().contiguous()
    metadata = {"format": "pt", "backbone_fingerprint": fingerprint, "sg_lora": json.dumps(provenance)}
    save_file(tensors, folder / WEIGHTS_FILE, metadata=metadata)


def load_peft(folder: Path, modules: Sequence[LoraModule], fingerprint: str) -> tuple[Lora, dict[str, Any]]:
    """Read an adapter in PEFT format for the given adapted linears.

    Returns:
        The LoRA (its scale alpha / r folded into B) and its provenance ({} for adapters made elsewhere).

    Raises:
        AdapterError: files missing or damaged, another backbone, wrong shapes or dtypes, NaN, a rank above MAX_RANK.
    """
    label = f"Adapter {folder.name}"
    config_path, weights_path = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    for path in (config_path, weights_path):
        if not path.is_file():
            raise AdapterError(f"{label}: {path.name} is missing (a PEFT adapter has {CONFIG_FILE} and {WEIGHTS_FILE}).")
        if path.stat().st_size > MAX_ADAPTER_BYTES:
            raise AdapterError(f"{label}: {path.name} is larger than {MAX_ADAPTER_BYTES // 2**20} MB.")
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
        rank, alpha = int(config["r"]), float(config.get("lora_alpha", config["r"]))
        odd = [key for key in UNSUPPORTED if config.get(key)]
        odd += ["init_lora_weights"] if str(config.get("init_lora_weights")).startswith(UNSUPPORTED_INIT) else []
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError):
        raise AdapterError(f"{label}: {CONFIG_FILE} is not a LoRA configuration of peft.") from None
    if config.get("peft_type", "LORA") != "LORA" or odd:
        why = f"{odd[0]} is set" if odd else f"this is {brief(config['peft_type'])}"
        raise AdapterError(f"{label}: only plain LoRA adapters of one rank are supported ({why}).")
    if not 1 <= rank <= MAX_RANK:
        raise AdapterError(f"{label}: rank {brief(rank)} is not between 1 and {MAX_RANK}.")
    scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    expected = {f"{PEFT_PREFIX}{m.name}.lora_{x}.weight" for m in modules for x in "AB"}
    try:
        with safe_open(weights_path, framework="pt") as file:
            metadata, names = file.metadata() or {}, set(file.keys())
            # Only what is expected: a header may name a million tensors without any numbers.
            tensors = {key: file.get_tensor(key) for key in names & expected}
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError):
        raise AdapterError(f"{label}: {WEIGHTS_FILE} is damaged or not a safetensors file.") from None
    made_for = metadata.get("backbone_fingerprint")
    if made_for and made_for != fingerprint:
        made_for = brief(made_for)
        raise AdapterError(f"{label} was made for another backbone (fingerprint {made_for}, this one is {fingerprint}).")
    if names != expected:
        odd = min(names ^ expected)
        raise AdapterError(f"{label} does not fit this backbone: {brief(odd)} is {'unknown' if odd in names else 'missing'}.")
    factors = {}
    for m in modules:
        a = tensors[f"{PEFT_PREFIX}{m.name}.lora_A.weight"]
        b = tensors[f"{PEFT_PREFIX}{m.name}.lora_B.weight"]
        if a.shape != (rank, m.in_features) or b.shape != (m.out_features, rank):
            raise AdapterError(
                f"{label} does not fit this backbone: {m.name} has shapes {tuple(a.shape)} and {tuple(b.shape)}, "
                f"expected {(rank, m.in_features)} and {(m.out_features, rank)}."
            )
        if not (a.is_floating_point() and b.is_floating_point()):
            raise AdapterError(f"{label}: the weights of {m.name} are not floating point ({a.dtype}, {b.dtype}).")
        factors[m.name] = Factors(a.float(), b.float() * scale)
    lora = Lora(tuple(modules), factors)
    lora.check_finite(label)
    try:
        provenance = json.loads(metadata.get("sg_lora", "{}"))
    except (ValueError, RecursionError):
        provenance = {}
    return lora, provenance if isinstance(provenance, dict) else {}
