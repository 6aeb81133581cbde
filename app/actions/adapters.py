"""The adapter that a visitor takes home."""

import zipfile
from pathlib import Path

from app.languages import texts
from app.visitors.visitor import Visitor
from core.common.errors import AdapterError
from core.experts.adapter_files import SHARED, WHOLE, adapter_files, adapter_part, shared_provenance, with_names
from core.sglora.engine import Adaptation, SGLora


def write_zip(engine: SGLora, visitor: Visitor, adaptation: Adaptation | None, part: str = WHOLE) -> Path:
    """Write a part of the adapter (the whole: with the visitor's names) as a ZIP. Without one that is applied: the shared LoRA
    and the names. Raises AdapterError: as ``adapter_part``, when there is none of these, or when names are taught and the part
    is not the whole."""
    names, shared = visitor.names(engine), engine.backbone.shared
    if adaptation is None:
        if shared is None and not names.entries:
            raise AdapterError(texts.LORA_NONE)
        stem, lora, origin = "names" if names.entries else SHARED, shared, shared_provenance(engine.backbone)
    else:
        stem = f"adapter-seed{adaptation.request.seed}" if adaptation.fits else SHARED
        lora, origin = adapter_part(engine, adaptation, part)
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
