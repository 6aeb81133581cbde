"""Image-text models behind one interface (``base.Backbone``), loaded by name. No module of this package imports this file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.backbones.spec import EMBEDDED, Side
from core.common.errors import BackboneError

__all__ = ["EMBEDDED", "load_backbone"]

if TYPE_CHECKING:
    from core.backbones.base import Backbone


def load_backbone(
    spec: str = EMBEDDED, pretrained: str | None = None, adapt_blocks: int | None = None, adapt: Side | None = None
) -> Backbone:
    """Load the embedded backbone, or any open_clip model with a plain ViT image tower, on this process's device.

    ``pretrained``, ``adapt_blocks``: see ``core.backbones.open_clip``. ``adapt``: the tower that LoRAs adapt (None: texts with
    the embedded backbone, photos with others). Raises BackboneError: when a model or file cannot be loaded.
    """
    from core.common.device import current  # imports torch

    if spec == EMBEDDED:
        if pretrained is not None or adapt_blocks is not None:
            raise BackboneError("`embedded` brings its own weights: checkpoints and blocks are for open_clip models.")
        from core.backbones.embedded import load_embedded
        from core.common.paths import heads_path

        return load_embedded(heads_path(), adapt=adapt or "texts").to(current())
    # Imported here, since it takes seconds and most visitors never need it.
    try:
        from core.backbones.open_clip import load_open_clip
    except ModuleNotFoundError as error:
        raise BackboneError(f"{spec} needs the package {error.name}: `pip install open_clip_torch`.") from error
    return load_open_clip(spec, pretrained, adapt_blocks, adapt=adapt or "photos").to(current())
