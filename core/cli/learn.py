"""The command ``learn``: names from keywords and folders that photos have already."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.backbones.base import Backbone
from core.cli import format
from core.cli.commands import Answer, chosen_backbone, log, reported
from core.cli.search import read_gallery
from core.common.errors import DataError, UsageError
from core.common.files import check_free, whole
from core.common.progress import Steps
from core.data.keywords import SOURCES, folder_keywords, grouped, keywords_of
from core.names.file import NAMES_FILE, save_names
from core.retrieval.learning import Keyword, Learned
from core.retrieval.learning import learn as learn_keywords
from core.retrieval.library import PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.photo_set import PhotoSet
from core.training.corpus import usual_adapter

Files = list[tuple[int, Path, Path]]  # row, file, and its folder inside the folder that was given


def learn(arguments: Namespace) -> Answer:
    if (arguments.folder is None) == (arguments.library is None):
        raise UsageError("`learn` needs a folder of photos, or --library DIR.")
    check_free(arguments.out, NAMES_FILE, DataError)
    library = None if arguments.library is None else PhotoLibrary.open(arguments.library)
    backbone, failed = chosen_backbone(arguments), list[tuple[object, object]]()
    photos, files, unread = _of_folder(arguments.folder, backbone) if library is None else _of_library(library, backbone)
    words: list[list[str]] = [[] for _ in range(len(photos))]
    steps = Steps(log)
    for done, (row, file, folder) in enumerate(files, 1):
        if arguments.source != SOURCES[2]:
            found, damaged = keywords_of(file)
            words[row] += found
            failed += damaged
        if arguments.source != SOURCES[1]:
            words[row] += folder_keywords(folder)
        steps("reading keywords", done, len(files), "files")
    adapter = usual_adapter(backbone, backbone.shared)
    learned = learn_keywords(photos, grouped(words), adapter, lambda done, total: steps("learning", done, total, "keywords"))
    out = None
    if learned.names.entries:
        out = str(arguments.out)
        with whole(arguments.out / NAMES_FILE) as partial:
            partial.write_bytes(save_names(learned.names))
    told = {"photos": len(photos), "with_keywords": sum(map(bool, words)), **_facts(learned)}
    return Answer({**told, "failed": [*unread, *reported(failed)], "out": out}, format.learned)


def _of_folder(folder: Path, backbone: Backbone) -> tuple[PhotoSet, Files, list[dict[str, str]]]:
    contents, paths, failed = read_gallery(folder, backbone)
    return contents, [(row, folder / path, path.parent) for row, path in paths], failed


def _of_library(library: PhotoLibrary, backbone: Backbone) -> tuple[PhotoSet, Files, list[dict[str, str]]]:
    photos, roots = LibraryPhotos(library, backbone), list(map(Path, library.about.folders))

    def places() -> Iterator[tuple[int, Path, Path]]:
        for row, file in photos.all_files():
            root = next((root for root in roots if file.is_relative_to(root)), file.parent)
            yield row, file, file.relative_to(root).parent

    return photos, list(places()), []


def _facts(learned: Learned) -> dict[str, Any]:
    """The report as plain data; average precision in percent."""

    def fact(keyword: Keyword) -> dict[str, Any]:
        percent = {
            key: None if value is None else round(100 * value, 1)
            for key, value in (("before", keyword.before), ("after", keyword.after))
        }
        reason = None if keyword.reason is None else str(keyword.reason)
        return {"keyword": keyword.name, "photos": keyword.photos, **percent, "reason": reason}

    facts = [fact(keyword) for keyword in sorted(learned.keywords, key=lambda each: -each.photos)]
    return {
        "learned": [each for each in facts if each["reason"] is None],
        "not_learned": [each for each in facts if each["reason"] is not None],
        "left_out": {"photos": learned.left_out, "before": learned.before, "after": learned.after},
    }
