"""The commands ``learn``: names from keywords and folders that photos have already; and ``tag``: keywords in XMP sidecars."""

import csv
from argparse import Namespace
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from operator import add
from pathlib import Path
from typing import Any

from core.cli import format
from core.cli.commands import Answer, chosen_adapter, log, reported, task_request
from core.cli.search import load_names, read_gallery
from core.common.errors import DataError, UsageError
from core.common.files import check_free, whole
from core.common.progress import Steps
from core.common.text import clean_text, one_line
from core.data.keywords import SOURCES, folder_keywords, grouped, keywords_of
from core.data.sidecars import change_all
from core.data.xmp import LEVELS
from core.names.file import NAMES_FILE, save_names
from core.names.teach import TaughtNames
from core.retrieval.adapter import Adapter
from core.retrieval.gaps import Proposal, proposals
from core.retrieval.learning import Keyword, with_known
from core.retrieval.learning import learn as learn_keywords
from core.retrieval.library import PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.name_scores import LeftOut, proposed_cut, scores_left_out
from core.retrieval.photo_set import Where, background
from core.retrieval.questions import Query
from core.retrieval.search import search

Tags = list[tuple[dict[str, Any], list[Path]]]  # what the JSON says of each keyword, and the photos to give it to
Words = list[list[str]]  # of each photo


def learn(arguments: Namespace) -> Answer:
    if (arguments.folder is None) == (arguments.library is None):
        raise UsageError("`learn` needs a folder of photos, or --library DIR.")
    check_free(arguments.out, NAMES_FILE, DataError)
    library = None if arguments.library is None else PhotoLibrary.open(arguments.library)
    backbone, _, adapter = chosen_adapter(arguments)
    unread = list[dict[str, str]]()
    if library is None:
        photos, paths, unread = read_gallery(arguments.folder, backbone)
        files = [(row, arguments.folder / path, path.parent) for row, path in paths]
    else:
        photos = LibraryPhotos(library, backbone)
        files = [(row, file, photos.inner_folder(file)) for row, file in photos.all_files()]
    words, folders, failed = _read_words(len(photos), files, arguments.source)
    both = list(map(add, words, folders))
    learned = learn_keywords(photos, grouped(both), adapter, partial(Steps(log), "learning", unit="keywords"))
    out = None
    if learned.names.entries:
        out = str(arguments.out)
        with whole(arguments.out / NAMES_FILE) as file:
            file.write_bytes(save_names(learned.names))
    keywords = sorted(learned.keywords, key=lambda each: -each.photos)
    told = {
        "photos": len(photos),
        "with_keywords": sum(map(bool, both)),
        "learned": [_fact(each) for each in keywords if each.reason is None],
        "not_learned": [_fact(each) for each in keywords if each.reason is not None],
        "left_out": {"photos": learned.left_out, "before": learned.before, "after": learned.after},
        "failed": [*unread, *failed],
        "out": out,
    }
    return Answer(told, format.learned)


def _fact(keyword: Keyword) -> dict[str, Any]:
    """A keyword as plain data; average precision in percent."""
    before, after = (None if value is None else round(100 * value, 1) for value in (keyword.before, keyword.after))
    reason = None if keyword.reason is None else str(keyword.reason)
    return {"keyword": keyword.name, "photos": keyword.photos, "before": before, "after": after, "reason": reason}


def _read_words(
    photos: int, files: Sequence[tuple[int, Path, Path]], source: str = SOURCES[0]
) -> tuple[Words, Words, list[dict[str, str]]]:
    """The keywords of each photo, what its folders say, and what cannot be read. ``files``: each photo's row, file, and folder
    inside the indexed one."""
    words, folders = Words([] for _ in range(photos)), Words([] for _ in range(photos))
    steps, failed = Steps(log), list[tuple[object, object]]()
    for done, (row, file, folder) in enumerate(files, 1):
        if source != SOURCES[2]:
            found, damaged = keywords_of(file)
            words[row] += found
            failed += damaged
        if source != SOURCES[1]:
            folders[row] += folder_keywords(folder)
        steps("reading keywords", done, len(files), "files")
    return words, folders, reported(failed)


def tag(arguments: Namespace) -> Answer:
    # Check the input before loading models, which takes seconds.
    wanted = task_request(arguments)
    if not (arguments.names or arguments.query) and not (arguments.remove and arguments.keyword):
        raise UsageError("`tag` needs --names FILE, --query TEXT, or --remove --keyword WORD.")
    gaps = arguments.review is not None or arguments.precision is not None
    if gaps and (arguments.names is None or arguments.query or arguments.remove or arguments.keyword or arguments.folder):
        raise UsageError("--review and --precision need --names FILE, without --query, --keyword, --folder and --remove.")
    texts = [clean_text(text, "query") for text in arguments.query or ()]
    keyword = _keyword(arguments.keyword or ", ".join(texts)) if arguments.keyword or texts else ""
    library = PhotoLibrary.open(arguments.library)
    backbone, _, adapter = chosen_adapter(arguments, wanted)
    photos = LibraryPhotos(library, backbone)
    names = load_names(arguments.names, backbone).among(background([photos]))
    if gaps:
        chosen, facts, failed = _proposed(arguments, photos, names, adapter)
    else:
        chosen, facts, failed = _found(arguments, photos, names, adapter, keyword, texts), {}, []
    tags = list[dict[str, Any]]()
    for about, files in chosen:
        word = about["keyword"]
        show = partial(Steps(log), f"“{word}”")
        report = change_all(files, word, arguments.style, arguments.remove, arguments.dry_run, show)
        tags.append(about | {"changed": [str(file) for file in report.changed], "same": report.same})
        failed += reported(report.failed)
    facts |= {"tags": tags, "failed": failed, "dry_run": arguments.dry_run, "remove": arguments.remove}
    return Answer(facts, format.gaps if gaps else format.tagged)


def _keyword(text: str) -> str:
    word = one_line(text)
    if not word or any(sign in word for sign in LEVELS):
        raise UsageError(f"The keyword “{word}” is unusable, since / and | are levels in photo programs: change --keyword.")
    return word


def _found(
    arguments: Namespace, photos: LibraryPhotos, names: TaughtNames, adapter: Adapter, keyword: str, texts: list[str]
) -> Tags:
    """The photos that each name or the query finds; all photos, to remove a keyword from."""
    where = Where(arguments.folder and arguments.folder.absolute())
    if where.folder is not None:
        photos.check_folder(where.folder)
    asked = [(keyword or _keyword(entry.name), [entry.name]) for entry in names.entries]
    if texts or not asked:
        asked = [(keyword, texts)]
    ranks = not (arguments.remove and arguments.first is arguments.at_least is None)
    scores = scores_left_out(names, adapter) if ranks and not texts else {}
    first, least = arguments.first or 0, float("inf") if arguments.at_least is None else arguments.at_least
    chosen = Tags()
    for word, words in asked:
        facts, rows = dict[str, Any](keyword=word), list(range(len(photos)))
        if words and ranks:
            question = Query(tuple(words)).question(photos.backbone)
            ranked = search(photos, question, adapter.with_names(names), None, photos.among(where))
            rows = [row for place, (row, score) in enumerate(ranked) if place < first or score >= least]
            facts |= {"photos": len(rows), "score": round(ranked[len(rows) - 1][1], 6) if rows else None}
            own = scores.get(words[0], LeftOut([], []))
            facts |= {key: [round(score, 6) for score in each] for key, each in own._asdict().items()}
            cut = proposed_cut(own.own)
            facts |= {"proposed": cut, "proposed_photos": cut and sum(score >= cut for _, score in ranked)}
        files = photos.files(rows, where.folder) if rows else []
        chosen.append((facts | {"files": len(files)}, files))
    return chosen


def _proposed(
    arguments: Namespace, photos: LibraryPhotos, names: TaughtNames, adapter: Adapter
) -> tuple[Tags, dict[str, Any], list[dict[str, str]]]:
    """The photos without a name that have a sure proposal, facts, and what cannot be read. Writes the file of ``--review``."""
    files = [(row, file, photos.inner_folder(file)) for row, file in photos.all_files()]
    words, folders, failed = _read_words(len(photos), files)
    names = with_known(names, photos, grouped(map(add, words, folders)), adapter)
    tagged = [row for row, own in enumerate(words) if any(map(names.find, own))]
    found = proposals(photos, names, adapter, tagged)
    if arguments.review is not None:
        _write(arguments.review, photos, found)
    copies, sure = defaultdict[int, list[Path]](list), defaultdict[str, set[int]](set)
    for row, file, _ in files:
        copies[row].append(file)
    for proposal in found:
        if arguments.precision is not None and 100 * proposal.right >= arguments.precision:
            sure[proposal.name].add(proposal.row)
    chosen: Tags = [
        ({"keyword": word, "photos": len(rows)}, sorted(file for row in rows for file in copies[row]))
        for word, rows in sure.items()
    ]
    highest = max((proposal.right for proposal in found), default=0.0)
    facts = {"with_keyword": len(tagged), "proposals": len(found), "highest": round(100 * highest)}
    facts |= {"precision": arguments.precision, "review": arguments.review and str(arguments.review)}
    return chosen, facts, failed


def _write(out: Path, photos: LibraryPhotos, found: list[Proposal]) -> None:
    """The proposals as CSV: keyword by keyword, the least sure first."""
    by_name = sorted(found, key=lambda proposal: (proposal.name, proposal.right))
    paths = photos.paths([proposal.row for proposal in by_name])
    with whole(out) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["photo", "keyword", "right in percent"])
        writer.writerows((path, each.name, round(100 * each.right)) for path, each in zip(paths, by_name, strict=True))
