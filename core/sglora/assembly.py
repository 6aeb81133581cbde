"""From what the generator decodes to the LoRA that is applied: exact mixtures, and what all tasks share.

The generator decodes factors theta = mu* + own. As factors, mu* is no mixture of the experts: (sum_i alpha_i B_i)(sum_i
alpha_i A_i) has cross terms B_i A_j. And what all tasks share is best learned from all of them. So, in weight changes,

    dW = (1 - share) (sum_i alpha_i B_i A_i + dW(theta) - dW(mu*)) + share dW(shared)

cut to a rank. A decoder that adds nothing leaves the merge of the routed experts with the shared part.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from core.backbones.lora import Lora, LoraLayout
from core.backbones.lora_algebra import merge, reduce_rank


@dataclass(frozen=True)
class Assembly:
    """How a generated LoRA is put together.

    Attributes:
        shared: [P] one LoRA trained on all tasks together. share: its part, 0 to 1.
        rank: of the LoRA that comes out.
    """

    shared: Tensor
    share: float
    rank: int

    def whole(self, layout: LoraLayout, theta: Tensor, centre: Tensor, merged: Lora) -> Lora:
        """All of dW, uncut; differentiable.

        Args:
            layout: of the vectors. theta: [P] as decoded. centre: [P] as decoded where the decoder adds nothing.
            merged: sum_i alpha_i B_i A_i, exact.
        """
        rest = 1 - self.share
        parts = [merged, *(Lora.from_vector(layout, vector) for vector in (theta, centre, self.shared))]
        return merge(parts, [rest, rest, -rest, self.share])

    def lora(self, layout: LoraLayout, theta: Tensor, centre: Tensor, merged: Lora) -> Lora:
        """``whole`` at its rank: the closest one, linear by linear (Eckart-Young)."""
        return reduce_rank(self.whole(layout, theta, centre, merged), self.rank)[0]
