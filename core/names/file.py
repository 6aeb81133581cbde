"""The file of taught names (safetensors): prefix activations of their photos. The LoRA is computed again from them."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from core.backbones.base import Backbone
from core.common.errors import DescriptionError, RepositoryError
from core.common.messages import Message
from core.common.tensor_files import header_of
from core.names.teach import MAX_NAMES, MAX_PHOTOS, MOST_PHOTOS, TaughtNames

NAMES_FILE = "names.safetensors"
KIND, FORMAT = "SG-LoRA Studio names", "1"
DAMAGED_NAMES = "{label} is damaged or not a file of names: choose the file that “Save names” wrote."
HEADER_BYTES = 2**20


def save_names(names: TaughtNames) -> bytes:
    """The file's content. Raises RepositoryError: when there are no names."""
    if not names.entries:
        raise RepositoryError("There are no names to save yet: teach one first.")
    tensors = {f"{i}.photos": entry.photos.contiguous() for i, entry in enumerate(names.entries)}
    tensors |= {f"{i}.without": e.without.contiguous() for i, e in enumerate(names.entries) if e.without is not None}
    metadata = {
        "kind": KIND,
        "format": FORMAT,
        "backbone_fingerprint": names.backbone.fingerprint,
        "names": json.dumps([entry.name for entry in names.entries], ensure_ascii=False),
    }
    return save(tensors, metadata)


def most_bytes(backbone: Backbone) -> int:
    """The maximum size of a names file for a backbone."""
    bytes_a_photo = 2 * int(torch.Size(backbone.prefix_shape).numel())
    return HEADER_BYTES + MOST_PHOTOS * bytes_a_photo


def read_names(file: Path, backbone: Backbone) -> TaughtNames:
    """``load_names`` from a file; checks its size before reading. Raises as ``load_names``; OSError: when unreadable."""
    if file.stat().st_size > most_bytes(backbone):
        raise RepositoryError("{name} is too large for names: choose the file that “Save names” wrote.", name=file.name)
    return load_names(file.read_bytes(), backbone, file.name)


def load_names(content: bytes, backbone: Backbone, label: str | Message = Message("The file of names")) -> TaughtNames:
    """The names in the content of a file from ``save_names``. Not trusted: anyone may have changed the file. ``label``: its
    name in messages. Raises RepositoryError: when it is another file, damaged, or made for another backbone."""
    try:
        header = header_of(content)["__metadata__"]
        if (header["kind"], header["format"]) != (KIND, FORMAT):
            raise ValueError("another kind")
        listed, made_for = json.loads(header["names"]), str(header["backbone_fingerprint"])
        if not (isinstance(listed, list) and 1 <= len(listed) <= MAX_NAMES and all(isinstance(n, str) for n in listed)):
            raise ValueError("no names")
        tensors = load(content)
        photos = [_photos(tensors[f"{i}.photos"], backbone) for i in range(len(listed))]
        marks = {i: _photos(tensors[f"{i}.without"], backbone) for i in range(len(listed)) if f"{i}.without" in tensors}
    except (SafetensorError, LookupError, TypeError, ValueError, OverflowError, RecursionError):
        raise RepositoryError(DAMAGED_NAMES, label=label) from None
    if made_for != backbone.fingerprint:
        raise RepositoryError("{label} belongs to another backbone: teach the names again here.", label=label)
    try:
        return TaughtNames(backbone).add_all((name, photos[i], marks.get(i)) for i, name in enumerate(listed))
    except DescriptionError as error:
        raise RepositoryError("{label}: {error}", label=label, error=error.message) from None


def _photos(stored: Tensor, backbone: Backbone) -> Tensor:
    """Check stored prefix activations. Raises ValueError: when their dtype or shape is wrong, or they are not finite."""
    if stored.dtype != torch.float16 or tuple(stored.shape[1:]) != tuple(backbone.prefix_shape) or len(stored) > MAX_PHOTOS:
        raise ValueError("another form")
    if not bool(torch.isfinite(stored).all()):
        raise ValueError("not finite")
    return stored
