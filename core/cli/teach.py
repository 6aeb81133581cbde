"""The command ``teach``: names from photos, written as an adapter in PEFT format."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from core.backbones.base import Backbone
from core.cli import format
from core.cli.commands import Answer, chosen_backbone, load_chosen_engine, log, reported, task_request, written
from core.common.errors import DataError, DescriptionError, GalleryError, UsageError
from core.common.messages import Message, message
from core.data.find_images import photos_in
from core.data.xmp import LEVELS
from core.experts import adapter_files
from core.experts.load import load_adapter
from core.names.file import NAMES_FILE, save_names
from core.names.teach import MAX_PHOTOS, TaughtNames, left_out
from core.retrieval.encoding import read_prefixes
from core.retrieval.library import PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.photo_set import background


def teach(arguments: Namespace) -> Answer:
    # Check the input before loading models, which takes seconds.
    for name, *_ in arguments.name:
        if any(sign in name for sign in LEVELS):
            raise UsageError(
                f"The name “{name}” cannot be a keyword, since / and | are levels in photo programs: change --name."
            )
    library = None if arguments.library is None else PhotoLibrary.open(arguments.library)
    base = task_request(arguments)
    if base is None:
        backbone = chosen_backbone(arguments)
        lora = backbone.shared if arguments.adapter is None else load_adapter(backbone, arguments.adapter).lora
        origin = adapter_files.shared_provenance(backbone)
    else:
        engine = load_chosen_engine(arguments)
        adaptation = engine.adapt(base)
        backbone, lora, origin = engine.backbone, adaptation.lora, adapter_files.provenance(engine, adaptation)
    photos = None if library is None else LibraryPhotos(library, backbone)
    names, failed, remarks = _taught(backbone, photos, arguments.name)
    if not names.entries:
        raise DataError(f"Nothing could be taught: {' '.join(reason for _, reason in failed)}")
    adapter, origin = adapter_files.with_names(names, lora, origin)
    assert adapter is not None
    files = {**adapter_files.adapter_files(backbone, adapter, origin), NAMES_FILE: save_names(names)}
    told = {"names": adapter_files.listed_names(names), "failed": reported(failed), "remarks": list(map(str, remarks))}
    return Answer({**told, **written(arguments, adapter, files)}, format.taught)


def _taught(
    backbone: Backbone, library: LibraryPhotos | None, wanted: Sequence[Sequence[str]]
) -> tuple[TaughtNames, list[tuple[str, str]], list[Message]]:
    """The taught names, the errors of other names and of photos, and remarks. ``wanted``: each name, with the files and folders
    of its photos, which are of ``library``, or files (None)."""
    names, failed, remarks = TaughtNames(backbone, background=background([library])), [], []
    for name, *paths in wanted:
        files = [photo for path in map(Path, paths) for photo in (sorted(photos_in(path)) if path.is_dir() else [path])]
        remarks += left_out(name, len(files))
        files = files[:MAX_PHOTOS]
        photos, skipped = read_prefixes(backbone, files, log)[1:] if library is None else _from_library(library, files)
        failed += [(name, reason) for reason in skipped]
        if (same := names.find(name)) is not None:
            remarks.append(message(f"“{same.name}” and “{name}” are one name: the photos of both were taught together."))
        try:
            names = names.add(name, photos)
        except DescriptionError as error:
            failed.append((name, str(error)))
    return names, failed, remarks


def _from_library(library: LibraryPhotos, photos: Sequence[Path]) -> tuple[Tensor, list[str]]:
    """The prefixes [n, …] of a library's photos, and an error message for each that it does not have."""
    rows, failed = [], []
    for photo in photos:
        try:
            rows.append(library.find(str(photo)))
        except GalleryError as error:
            failed.append(str(error))
    return library.prefixes(rows), failed
