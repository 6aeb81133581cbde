"""LoRA algebra: exact merging, rank reduction, and alignment of a foreign LoRA to the experts.

A weight change B A does not determine its factors: (B S^-1)(S A) is the same for any invertible S. All experts start from the
same factors, so that their parameters may be averaged. A LoRA from elsewhere is first aligned to that start. Otherwise the
prior's mean over experts would mean nothing (docs/design.md, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core.backbones.lora import VISION, Factors, Lora

NEGLIGIBLE = 1e-6  # singular values below this share of the largest count as zero
ITERATIONS = 100
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


def align(lora: Lora, origin: Lora) -> Lora:
    """The same weight change in factors closer to those of ``origin``, which has the same rank.

    Linear by linear, S minimises ||S A - A_origin||^2 + ||B S^-1 - B_origin||^2. Matching A alone would let B explode if both
    A's have little in common. The result is never further from ``origin`` than the given factors.
    """
    return Lora(lora.modules, {name: _closest(f, origin.factors[name]) for name, f in lora.factors.items()})


def _closest(given: Factors, origin: Factors) -> Factors:
    target = Factors(origin.a.double(), origin.b.double())
    a, b = _balanced(given, target.a)
    # The best rotation and the best reflection. No descent leads from one to the other, since S would be singular in between.
    u, _, v = torch.linalg.svd(target.a @ a.T + target.b.T @ b)
    candidates = []
    for left in (u, torch.cat([u[:, :-1], -u[:, -1:]], 1)):
        s = _descend(left @ v, a, b, target)
        candidates.append(Factors((s @ a).float(), torch.linalg.solve(s, b, left=False).float()))
    delta = given.delta.double()
    tolerance = 1e-5 * float(delta.norm())
    same = [f for f in candidates if float((f.b.double() @ f.a.double() - delta).norm()) <= tolerance]
    return min([given, *same], key=lambda f: float((f.a - target.a).square().sum() + (f.b - target.b).square().sum()))


def _svd(factors: Factors) -> tuple[Tensor, Tensor, Tensor]:
    """Singular values [r] and vectors ([out, r], [r, in]) of B A, in float64, without forming B A."""
    qb, rb = torch.linalg.qr(factors.b.double())
    qa, ra = torch.linalg.qr(factors.a.double().T)
    u, s, v = torch.linalg.svd(rb @ ra.T, full_matrices=False)
    return qb @ u, s, v @ qa.T


def _balanced(given: Factors, target: Tensor) -> tuple[Tensor, Tensor]:
    """Factors A [r, in] and B [out, r] of the same product, with its singular values split evenly.

    If the product has a lower rank, the other columns of B are zero, and the rows of A beside them are free. They take the part
    of the target that the used rows cannot form.
    """
    u, s, v = _svd(given)
    used = int((s > NEGLIGIBLE * s[0]).sum()) if float(s[0]) > 0 else 0
    root = s[:used].sqrt()
    rest = target - target @ v[:used].T @ v[:used]
    _, spread, directions = torch.linalg.svd(rest, full_matrices=False)
    free = given.a.shape[0] - used
    a = torch.cat([root[:, None] * v[:used], spread[:free, None] * directions[:free]])
    b = torch.cat([u[:, :used] * root, u.new_zeros(len(u), free)], 1)
    return a, b


def _descend(start: Tensor, a: Tensor, b: Tensor, target: Factors) -> Tensor:
    """Find an S [r, r] that minimises the squared distance, with products of size r only."""
    aa, ca, bb, cb = a @ a.T, a @ target.a.T, b.T @ b, b.T @ target.b
    with torch.inference_mode(False), torch.enable_grad():
        s = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([s], max_iter=ITERATIONS, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

        def distance() -> Tensor:
            optimizer.zero_grad()
            t = torch.linalg.inv(s)
            value = ((s @ aa) * s).sum() - 2 * (s * ca.T).sum() + ((bb @ t) * t).sum() - 2 * (t * cb).sum()
            value.backward()
            return value

        try:
            optimizer.step(distance)
        except RuntimeError:  # a step reached a singular S; the start is a valid answer
            return start
    minimum = s.detach()
    return minimum if bool(torch.isfinite(minimum).all()) and float(torch.linalg.cond(minimum)) < 1e8 else start


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


def same_on_photos(one: Lora, other: Lora) -> bool:
    """Whether two LoRAs change photos in the same way: the same tensors, or weight changes equal within float16 rounding."""
    ours, theirs = ({name: f for name, f in lora.factors.items() if name.startswith(VISION)} for lora in (one, other))
    return ours.keys() == theirs.keys() and all(_same(f, theirs[name]) for name, f in ours.items())


def _same(one: Factors, other: Factors) -> bool:
    if one is other or (torch.equal(one.a, other.a) and torch.equal(one.b, other.b)):
        return True
    return bool((one.delta - other.delta).norm() <= HALF_ROUNDING * other.delta.norm())
