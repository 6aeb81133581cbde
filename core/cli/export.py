"""The command ``export``: adapters in the formats of other programs."""

from __future__ import annotations

from argparse import Namespace

from core.backbones.open_clip_export import check_folder, write_merged
from core.cli.commands import Answer, chosen_backbone
from core.experts.load import load_adapter


def open_clip(arguments: Namespace) -> Answer:
    check_folder(arguments.out)  # before seconds of loading models
    backbone = chosen_backbone(arguments, "photos")
    adapter = load_adapter(backbone, arguments.adapter)
    assert adapter.lora is not None
    files = write_merged(backbone, adapter.lora, arguments.out)
    data = {"backbone": backbone.name, "adapter": str(arguments.adapter), "out": str(arguments.out), "files": files}
    return Answer(
        data, lambda data: f"{data['backbone']} with {data['adapter']} is in {data['out']}: {', '.join(data['files'])}"
    )
