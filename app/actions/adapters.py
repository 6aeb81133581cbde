"""The adapter that a visitor takes home."""

import zipfile
from pathlib import Path

from app.languages import texts
from app.visitors.visitor import Visitor
from core.common.errors import AdapterError
from core.experts.adapter_files import WHOLE, adapter_files, adapter_part, names_provenance, with_names
from core.sglora.engine import Adaptation, SGLora


def write_zip(engine: SGLora, visitor: Visitor, adaptation: Adaptation | None, part: str = WHOLE) -> Path:
    """Write a part of the adapter (the whole: with the visitor's names), or names alone, as a ZIP. Raises AdapterError: as
    ``adapter_part``, when there is neither, or when names are taught and the part is not the whole."""
    names = visitor.names(engine)
    if adaptation is None and not names.entries:
        raise AdapterError(texts.LORA_NONE)
    if adaptation is None:
        stem, lora, origin = "names", engine.backbone.shared, names_provenance(engine.backbone)
    else:
        stem, lora, origin = f"adapter-seed{adaptation.request.seed}", *adapter_part(engine, adaptation, part)
    if part != WHOLE and names.entries:
        raise AdapterError(texts.API_PART_NAMES)
    lora, origin = with_names(names, lora, origin)
    assert lora is not None
    files = adapter_files(engine.backbone, lora, origin)
    path = visitor.files.new(f"sg-lora-{stem}.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # compression would save only 8 % of weights
        for name, content in files.items():
            archive.writestr(name, content)
    return path
