"""Read photo files into prefix activations, for commands that keep no gallery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from core.backbones.base import Backbone
from core.common.errors import PhotoError
from core.common.progress import Bar, Log
from core.data.image_io import open_photo
from core.data.read_ahead import read_ahead


def read_prefixes(backbone: Backbone, paths: Sequence[Path], log: Log) -> tuple[list[int], Tensor, list[str]]:
    """The indexes of the readable photos, their prefix activations [n, *prefix_shape] float16, and an error message for each
    other photo."""

    def pixels(index: int) -> Tensor | str:
        try:
            return backbone.pixels(open_photo(paths[index]))
        except PhotoError as error:
            return str(error)

    kept: list[int] = []
    skipped: list[str] = []
    parts = [torch.empty(0, *backbone.prefix_shape, dtype=torch.float16)]
    with Bar("reading", len(paths), log) as bar:
        for batch in read_ahead(range(len(paths)), pixels):
            good = {index: value for index, value in batch if isinstance(value, Tensor)}
            skipped += [value for _, value in batch if isinstance(value, str)]
            kept += good
            if good:
                parts.append(backbone.prefix(torch.stack(list(good.values()))))
            bar.to(batch[-1][0] + 1)
    return kept, torch.cat(parts), skipped
