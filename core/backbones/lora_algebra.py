"""LoRA algebra: exact merging, rank reduction, and projection on a frozen A."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from core.backbones.lora import Factors, Lora, LoraLayout


def reduce_rank(lora: Lora, rank: int) -> Lora:
    """The closest LoRA of a rank (Eckart-Young), linear by linear."""
    factors = {}
    for name, f in lora.factors.items():
        u, s, v = torch.linalg.svd(f.delta.double(), full_matrices=False)
        root = s[:rank].sqrt()
        factors[name] = Factors((root[:, None] * v[:rank]).float(), (u[:, :rank] * root).float())
    return Lora(lora.modules, factors)


def project(lora: Lora, layout: LoraLayout, moments: Mapping[str, Tensor]) -> tuple[Tensor, float]:
    """The vector [P] of B's for the layout's frozen A that changes outputs most like the LoRA: linear by linear, the least
    squares of (BA - dW) x over inputs x with these second moments [in, in]. Also the share of the squared effect |dW x|^2 that
    is lost, 0 to 1."""
    frozen, parts, lost, whole = layout.a or {}, [], 0.0, 0.0
    for m in layout.modules:
        given, a, moment = lora.factors[m.name], frozen[m.name].double(), moments[m.name].double()
        inside = given.a.double() @ moment @ a.T
        b = given.b.double() @ torch.linalg.lstsq(a @ moment @ a.T, inside.T).solution.T
        rest = torch.cat([given.b.double(), -b], 1), torch.cat([given.a.double(), a])
        lost, whole = lost + _energy(*rest, moment), whole + _energy(given.b.double(), given.a.double(), moment)
        parts.append(b.float().reshape(-1))
    return torch.cat(parts), max(0.0, lost / whole) if whole else 0.0


def _energy(b: Tensor, a: Tensor, moment: Tensor) -> float:
    """E |B A x|^2 over inputs with this second moment."""
    return float(((b.T @ b) * (a @ moment @ a.T)).sum())


def merge(loras: Sequence[Lora], weights: Sequence[float]) -> Lora:
    """The exact weighted sum of weight changes, sum_i w_i B_i A_i, as one LoRA of rank sum_i r_i, linear by linear.

    Averaging A's and B's separately would add cross terms B_i A_j (docs/design.md, section 2), so factors are concatenated. If
    only one LoRA adapts a linear, with weight 1, the result has its tensors, not copies: so their digest is computed once.
    """
    weighted = list(zip(loras, weights, strict=True))
    modules = tuple(dict.fromkeys(m for lora in loras for m in lora.modules))
    parts = {m.name: [(lora.factors[m.name], w) for lora, w in weighted if m.name in lora.factors] for m in modules}
    return Lora(modules, {name: _sum(pairs) for name, pairs in parts.items()})


def _sum(parts: Sequence[tuple[Factors, float]]) -> Factors:
    if len(parts) == 1 and parts[0][1] == 1:
        return parts[0][0]
    return Factors(torch.cat([f.a for f, _ in parts], 0), torch.cat([f.b * w for f, w in parts], 1))


def cosines(layout: LoraLayout, vectors: Tensor) -> Tensor:
    """Cosines [n, n] of the weight changes of vectors [n, P] of B's, for the layout's frozen A."""
    frozen, parts = layout.a or {}, []
    split = vectors.split([rows * columns for rows, columns in layout.shapes], 1)
    for name, shape, part in zip(layout.names, layout.shapes, split, strict=True):
        a, b = frozen[name].double(), part.unflatten(1, shape)
        parts.append((b.double() @ torch.linalg.cholesky(a @ a.T)).flatten(1))  # |B L| = |B A| where L L' = A A'
    unit = torch.nn.functional.normalize(torch.cat(parts, 1), dim=1)
    return unit @ unit.T
