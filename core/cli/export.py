"""The commands ``export``: adapters in the formats of other programs."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from core.backbones.base import Backbone
from core.backbones.lora import Lora, Side
from core.backbones.open_clip_export import CONFIG_FILE, write_merged, write_textual
from core.cli.commands import Answer, chosen_backbone
from core.common.errors import BackboneError
from core.common.files import check_free
from core.experts.load import load_adapter


def open_clip(arguments: Namespace) -> Answer:
    check_free(arguments.out, CONFIG_FILE, BackboneError)  # before seconds of loading models
    return _export(arguments, write_merged, "photos")


def immich(arguments: Namespace) -> Answer:
    return _export(arguments, write_textual, "texts")


def _export(arguments: Namespace, write: Callable[[Backbone, Lora, Path], list[str]], side: Side) -> Answer:
    backbone = chosen_backbone(arguments, side)
    adapter = load_adapter(backbone, arguments.adapter)
    assert adapter.lora is not None
    files = write(backbone, adapter.lora, arguments.out)
    return Answer({"backbone": backbone.name, "adapter": str(arguments.adapter), "out": str(arguments.out), "files": files})
