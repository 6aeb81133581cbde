"""The processes of ``accelerate launch``: what each one trains, and on which device. Without the launcher there is one.

Experts are trained independently of each other, so processes share nothing but the cache folder: no gradients travel, and
gloo, which needs no GPU, is enough for the few times they wait for each other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env

from core.common.device import current

T = TypeVar("T")
PATIENCE = timedelta(days=30)  # the first process may take hours for features while the others wait


@dataclass(frozen=True)
class Processes:
    """This process among all, as accelerate sees it, working on ``device``."""

    state: PartialState
    device: torch.device

    @staticmethod
    def here() -> Processes:
        """Join the processes of the launcher, or be the only one."""
        cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or current().type == "cpu"
        launched = {"backend": "gloo", "timeout": PATIENCE} if "LOCAL_RANK" in os.environ else {}
        state = PartialState(cpu=cpu, **launched)
        return Processes(state, (state.device if cpu or state.num_processes > 1 else None) or current())

    @property
    def title(self) -> str:
        """What begins a line of progress: which process it is, if there are several."""
        index, count = self.state.process_index, self.state.num_processes
        return f"process {index + 1} of {count}: " if count > 1 else ""

    def agreed(self, items: Sequence[T]) -> list[T]:
        """What the first process has, in all of them."""
        return broadcast_object_list([list(items)])[0]

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part of what the first one sees as ``items``; together the parts are all of them."""
        return self.agreed(items)[self.state.process_index :: self.state.num_processes]
