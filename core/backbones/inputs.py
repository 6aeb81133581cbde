"""What the linears of a backbone read: the second moments of their inputs over some texts or photos."""

import copy
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from core.backbones.base import Backbone
from core.backbones.lora import TEXT, Lora, LoraModule

BATCH = 256


@torch.no_grad()
def second_moments(
    backbone: Backbone, modules: Sequence[LoraModule], prefixes: Tensor, lora: Lora | None = None
) -> dict[str, Tensor]:
    """E[x x^T] [in, in] float64 of the inputs x of each linear, under a LoRA. ``prefixes`` [n, …]: of texts if the linears are
    the text tower's, else of photos."""
    texts = modules[0].name.startswith(TEXT)
    # A copy takes the hooks, so that other threads may use the backbone. It shares the weights.
    towers = copy.deepcopy(backbone.adapted, {id(p): p for p in (*backbone.adapted.parameters(), *backbone.adapted.buffers())})
    sums = {m.name: torch.zeros(m.in_features, m.in_features, dtype=torch.float64) for m in modules}
    counts = dict.fromkeys(sums, 0)

    def add(name: str, linear: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].flatten(0, -2).double().cpu()
        sums[name] += x.T @ x
        counts[name] += len(x)

    for name in sums:
        towers.get_submodule(name).register_forward_pre_hook(partial(add, name))
    lora = lora and lora.to(backbone.device)
    for part in prefixes.split(BATCH):
        part = part.to(backbone.device)
        towers.text(part, lora) if texts else towers.vision(part.float(), lora)
    return {name: total / counts[name] for name, total in sums.items()}


def widest_directions(moment: Tensor, rank: int) -> Tensor:
    """The principal directions [rank, in] of inputs with a second moment [in, in], widest first: orthonormal rows."""
    return torch.linalg.eigh(moment).eigenvectors.flip(1)[:, :rank].T.float().contiguous()
