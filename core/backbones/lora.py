"""The LoRA: its layout and its vector form.

A LoRA adds ``B @ A`` (rank r) to the weight of each adapted linear. SG-LoRA generates LoRAs as vectors, so a layout defines the
order of the flattened factors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from core.common.digest import digest, tensors_digest
from core.common.errors import AdapterError
from core.common.lazy import lazy
from core.common.messages import Message

MAX_RANK = 256
LORA_RANK = 2  # default of generated and trained LoRAs, as in the paper
TEXT, VISION = "text.", "vision."  # how names of linears start, by tower


@dataclass(frozen=True)
class LoraModule:
    """One adapted linear: its dotted name in ``Backbone.adapted``, such as "text.mlp.3", and its widths."""

    name: str
    in_features: int
    out_features: int


class _OnTowers:
    """Linears of one or both towers. They change how texts are embedded, or photos, which must then be embedded again."""

    modules: tuple[LoraModule, ...]

    @property
    def moves_texts(self) -> bool:
        return any(m.name.startswith(TEXT) for m in self.modules)

    @property
    def moves_photos(self) -> bool:
        return any(m.name.startswith(VISION) for m in self.modules)


@dataclass(frozen=True)
class LoraLayout(_OnTowers):
    """The linears that a LoRA adapts, in order, and the rank. The layout defines the vector form: module by module, A [r, in]
    and then B [out, r], both row-major.

    With a frozen A (LoRA-FA, arXiv 2308.03303) the vector holds the B's alone. Then a weighted mean of vectors is the weighted
    mean of weight changes: sum_i w_i B_i A = (sum_i w_i B_i) A.
    """

    modules: tuple[LoraModule, ...]
    rank: int
    a: Mapping[str, Tensor] | None = field(default=None, compare=False)  # [r, in] by linear, if frozen

    @staticmethod
    def of(linears: Mapping[str, LoraModule], names: Iterable[str], rank: int) -> LoraLayout:
        """The layout of some of a backbone's ``linears``, by name. Raises AdapterError: when one does not exist."""
        names = tuple(names)
        if unknown := [name for name in names if name not in linears]:
            raise AdapterError(f"{unknown[0]} is not a linear that a LoRA can adapt here.")
        return LoraLayout(tuple(linears[name] for name in names), rank)

    def frozen(self, a: Mapping[str, Tensor]) -> LoraLayout:
        """The layout with this A [r, in] of each linear frozen; the rank is the largest of theirs."""
        return LoraLayout(self.modules, max(len(a[m.name]) for m in self.modules), {m.name: a[m.name] for m in self.modules})

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(m.name for m in self.modules)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """The shapes of the factors in a vector, in order."""
        if self.a:
            return [(m.out_features, len(self.a[m.name])) for m in self.modules]
        return [shape for m in self.modules for shape in ((self.rank, m.in_features), (m.out_features, self.rank))]

    @property
    def size(self) -> int:
        """Number of parameters P of a vector."""
        return sum(rows * columns for rows, columns in self.shapes)


@dataclass(frozen=True)
class Factors:
    """The two factors of one adapted linear: A [r, in] and B [out, r]; the weight gains B @ A."""

    a: Tensor
    b: Tensor

    @property
    def delta(self) -> Tensor:
        """The weight change, [out, in]."""
        return self.b @ self.a

    @lazy
    def digest(self) -> str:
        """Digest of the numbers. Cached, so that the shared LoRA is hashed once for all adapters."""
        return tensors_digest({"a": self.a, "b": self.b})


@dataclass(frozen=True)
class Lora(_OnTowers):
    """A LoRA adapter: one pair of factors per adapted linear. Ranks may differ. It is never injected into a model. A backbone
    takes it as an argument, so that no visitor changes another's model."""

    modules: tuple[LoraModule, ...]
    factors: Mapping[str, Factors]

    @staticmethod
    def from_vector(layout: LoraLayout, vector: Tensor) -> Lora:
        """Unflatten a vector [P]; differentiable. Raises AdapterError: when its length does not match the layout."""
        if vector.shape != (layout.size,):
            raise AdapterError(f"Expected a LoRA vector of {layout.size:,} numbers, got shape {tuple(vector.shape)}.")
        shapes = layout.shapes
        split = vector.split([rows * columns for rows, columns in shapes])
        parts = iter([part.view(shape) for part, shape in zip(split, shapes, strict=True)])
        frozen = layout.a or {}
        factors = {m.name: Factors(frozen[m.name] if frozen else next(parts), next(parts)) for m in layout.modules}
        return Lora(layout.modules, factors)

    @staticmethod
    def read(tensors: Mapping[str, Tensor], modules: Iterable[LoraModule], start: str = "") -> Lora:
        """The inverse of ``tensors``, of some of these linears; names may begin with ``start``. Raises LookupError, ValueError:
        when the tensors are not factors of the linears, or there are others that begin so."""
        named = {name.removeprefix(start).rpartition(".")[0] for name in tensors if name.startswith(start)}
        kept = tuple(m for m in modules if m.name in named)
        factors = {m.name: Factors(*(tensors[f"{start}{m.name}.{x}"].float() for x in "ab")) for m in kept}
        for m, f in zip(kept, factors.values(), strict=True):
            if f.a.shape != (len(f.a), m.in_features) or f.b.shape != (m.out_features, len(f.a)):
                raise ValueError(f"{m.name} has other shapes")
        if len(kept) != len(named):
            raise ValueError("there are other tensors")
        return Lora(kept, factors)

    def tensors(self) -> dict[str, Tensor]:
        """The factors by name, for a file: ``<linear>.a`` [r, in] and ``<linear>.b`` [out, r]."""
        return {f"{name}.{x}": part for name, f in self.factors.items() for x, part in (("a", f.a), ("b", f.b))}

    def vector(self) -> Tensor:
        """All factors, flattened, as in the vector of a layout without a frozen A."""
        return torch.cat([part.reshape(-1) for m in self.modules for part in (self.factors[m.name].a, self.factors[m.name].b)])

    @property
    def ranks(self) -> Mapping[str, int]:
        """Rank r of the weight change of each linear."""
        return {name: len(f.a) for name, f in self.factors.items()}

    @property
    def rank(self) -> int:
        """The highest rank of its linears."""
        return max(self.ranks.values(), default=0)

    @lazy
    def digest(self) -> str:
        return digest(" ".join(f"{name} {self.factors[name].digest}" for name in sorted(self.factors)))

    @lazy
    def parameters(self) -> int:
        return sum(f.a.numel() + f.b.numel() for f in self.factors.values())

    def to(self, device: torch.device) -> Lora:
        return Lora(self.modules, {name: Factors(f.a.to(device), f.b.to(device)) for name, f in self.factors.items()})

    def scaled(self, strength: float) -> Lora:
        """Multiply the weight change by ``strength`` (0: zero-shot, 1: unchanged)."""
        return Lora(self.modules, {name: Factors(f.a, f.b * strength) for name, f in self.factors.items()})

    def only(self, modules: Iterable[LoraModule]) -> Lora:
        """Keep the factors of these linears; skip linears that it does not adapt."""
        kept = tuple(m for m in modules if m.name in self.factors)
        return Lora(kept, {m.name: self.factors[m.name] for m in kept})

    def check_finite(self, label: str | Message) -> None:
        """Raise AdapterError if a factor holds NaN or infinite numbers."""
        for name, f in self.factors.items():
            if not (bool(torch.isfinite(f.a).all()) and bool(torch.isfinite(f.b).all())):
                raise AdapterError(f"{label}: the weights of {name} hold NaN or infinite numbers.")


def initial_vector(layout: LoraLayout, seed: int) -> Tensor:
    """The initial vector [P]: A drawn as in peft (Kaiming-uniform with a = sqrt 5), B zero. With a frozen A: zeros."""
    if layout.a:
        return torch.zeros(layout.size)
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for m in layout.modules:
        bound = m.in_features**-0.5
        parts.append((torch.rand(layout.rank * m.in_features, generator=generator) * 2 - 1) * bound)
        parts.append(torch.zeros(m.out_features * layout.rank))
    return torch.cat(parts)
