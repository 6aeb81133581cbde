"""LoRA algebra: exact merging, rank reduction, and projection on a frozen A."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from core.backbones.lora import VISION, Factors, Lora, LoraLayout

NEGLIGIBLE = 1e-6  # singular values below this share of the largest count as zero
HALF_ROUNDING = 2**-10  # relative rounding error of a product of two float16 factors


def reduce_rank(lora: Lora, rank: int) -> tuple[Lora, float]:
    """The closest LoRA of a rank (Eckart-Young, linear by linear), and the share of the squared norm that it loses, 0 to 1. A
    LoRA of that rank is returned unchanged. A lower rank is padded with zeros and loses nothing."""
    if set(lora.ranks.values()) == {rank}:
        return lora, 0.0
    factors, kept, whole = {}, 0.0, 0.0
    for name, f in lora.factors.items():
        u, s, v = _svd(f)
        root = s[:rank].sqrt()
        a, b = root[:, None] * v[:rank], u[:, :rank] * root
        missing = rank - len(root)
        if missing > 0:
            a = torch.cat([a, a.new_zeros(missing, a.shape[1])])
            b = torch.cat([b, b.new_zeros(len(b), missing)], 1)
        factors[name] = Factors(a.float(), b.float())
        kept, whole = kept + float(s[:rank].square().sum()), whole + float(s.square().sum())
    return Lora(lora.modules, factors), max(0.0, 1 - kept / whole) if whole else 0.0


def _svd(factors: Factors) -> tuple[Tensor, Tensor, Tensor]:
    """Singular values [r] and vectors ([out, r], [r, in]) of B A, in float64, without forming B A."""
    qb, rb = torch.linalg.qr(factors.b.double())
    qa, ra = torch.linalg.qr(factors.a.double().T)
    u, s, v = torch.linalg.svd(rb @ ra.T, full_matrices=False)
    return qb @ u, s, v @ qa.T


def compact(lora: Lora) -> Lora:
    """The same weight change without negligible singular values, in the lowest rank that all its linears allow."""
    values = [_svd(f)[1] for f in lora.factors.values()]
    return reduce_rank(lora, max(1, *(int((s > NEGLIGIBLE * s[0]).sum()) for s in values)))[0]


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
    only one LoRA adapts a linear, with weight 1, the result has its tensors, not copies: a backbone recognises the shared LoRA
    by them.
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


def same_on_photos(one: Lora, other: Lora) -> bool:
    """Whether two LoRAs change photos in the same way: the same tensors, or weight changes equal within float16 rounding."""
    ours, theirs = ({name: f for name, f in lora.factors.items() if name.startswith(VISION)} for lora in (one, other))
    return ours.keys() == theirs.keys() and all(_same(f, theirs[name]) for name, f in ours.items())


def _same(one: Factors, other: Factors) -> bool:
    if one is other or (torch.equal(one.a, other.a) and torch.equal(one.b, other.b)):
        return True
    return bool((one.delta - other.delta).norm() <= HALF_ROUNDING * other.delta.norm())
