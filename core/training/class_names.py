"""Sentences about the 1,000 classes of ImageNet, which an adapter should not forget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.backbones.base import Backbone
from core.names.ordinary_texts import imagenet_class_names


@dataclass(frozen=True)
class ClassNames:
    """One sentence per class."""

    prefixes: Tensor  # text prefixes [c, …]
    embeddings: Tensor  # [c, d], zero-shot or under the backbone's shared LoRA; adapters should not move them

    @staticmethod
    def of(backbone: Backbone, read: Callable[[Sequence[str]], Tensor]) -> ClassNames:
        """The class names in a backbone; ``read`` turns texts into prefixes [t, …]."""
        prefixes = read(class_name_texts())
        return ClassNames(prefixes, backbone.text_suffix(prefixes, backbone.shared))

    def some(self, rng: np.random.Generator, most: int) -> ClassNames:
        """A random sample of at most ``most`` classes, for one training step."""
        if len(self.embeddings) <= most:
            return self
        rows = torch.from_numpy(rng.choice(len(self.embeddings), most, replace=False))
        return ClassNames(self.prefixes[rows], self.embeddings[rows])


def class_name_texts() -> list[str]:
    """One sentence per class."""
    return [f"a photo of a {name}" for name in imagenet_class_names()]
