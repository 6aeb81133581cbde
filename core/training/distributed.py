"""The processes of ``accelerate launch``: what each one trains, and on which device. Without the launcher there is one.

Experts are trained independently, so processes share only the cache folder and exchange no gradients. The gloo backend, which
needs no GPU, is enough for the few times they wait for each other.
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
    """This process, its number among all, and its device."""

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
        """The start of a progress line: the process's number, if there are several."""
        index, count = self.state.process_index, self.state.num_processes
        return f"process {index + 1} of {count}: " if count > 1 else ""

    def agreed(self, items: Sequence[T]) -> list[T]:
        """The first process's items, in all processes."""
        return broadcast_object_list([list(items)])[0]

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part of items that are the same in all processes."""
        return [*items[self.state.process_index :: self.state.num_processes]]
