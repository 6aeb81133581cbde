"""SG-LoRA engine: from a sentence to a LoRA adapter to better photo search (arXiv 2509.10535)."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.backbones import load_backbone
    from core.data.image_io import open_photo
    from core.experts.adapter_files import save_adapter
    from core.experts.load import load_adapter, load_engine
    from core.names.file import read_names, save_names
    from core.names.teach import TaughtNames
    from core.retrieval.adapter import ZERO_SHOT, Adapter
    from core.retrieval.indexing import index_folders
    from core.retrieval.library import PhotoLibrary
    from core.retrieval.library_photos import LibraryPhotos
    from core.retrieval.questions import Query
    from core.retrieval.search import search
    from core.sglora.request import AdapterRequest

# Set before torch loads OpenMP, so that waiting threads sleep. When more threads compute than there are cores (two visitors at
# once, a shared machine), spinning threads take cores from threads that have work. Then everything takes ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.2.0"

# What other programs import (docs/python.md). Each name is imported when it is first used: torch takes seconds.
_MODULES = {
    "backbones": ("load_backbone",),
    "data.image_io": ("open_photo",),
    "experts.adapter_files": ("save_adapter",),
    "experts.load": ("load_adapter", "load_engine"),
    "names.file": ("read_names", "save_names"),
    "names.teach": ("TaughtNames",),
    "retrieval.adapter": ("ZERO_SHOT", "Adapter"),
    "retrieval.indexing": ("index_folders",),
    "retrieval.library": ("PhotoLibrary",),
    "retrieval.library_photos": ("LibraryPhotos",),
    "retrieval.questions": ("Query",),
    "retrieval.search": ("search",),
    "sglora.request": ("AdapterRequest",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = [  # noqa: RUF022 (by use)
    "load_backbone", "load_engine", "AdapterRequest", "save_adapter", "load_adapter", "Adapter", "ZERO_SHOT",
    "PhotoLibrary", "index_folders", "LibraryPhotos", "Query", "search", "open_photo",
    "TaughtNames", "save_names", "read_names",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"core.{_HOME[name]}"), name)
