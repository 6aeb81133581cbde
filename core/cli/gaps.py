"""``tag --review`` and ``tag --precision``: keywords for photos that have none of the names yet."""

import csv
from argparse import Namespace
from collections import defaultdict
from pathlib import Path
from typing import Any

from core.cli import format
from core.cli.commands import Answer, log, reported
from core.common.errors import UsageError
from core.common.files import whole
from core.common.progress import Steps
from core.data.keywords import keywords_of
from core.data.sidecars import change_all
from core.names.teach import TaughtNames
from core.retrieval.adapter import Adapter
from core.retrieval.gaps import Proposal, proposals
from core.retrieval.library_photos import LibraryPhotos


def fill_gaps(arguments: Namespace, photos: LibraryPhotos, names: TaughtNames, adapter: Adapter) -> Answer:
    """Write the proposals to a file, and the sure ones into sidecars."""
    if arguments.names is None or arguments.query or arguments.remove or arguments.keyword or arguments.folder:
        raise UsageError("--review and --precision need --names FILE, without --query, --keyword, --folder and --remove.")
    tagged, failed, steps, files = set[int](), list[tuple[object, object]](), Steps(log), photos.all_files()
    for done, (row, file) in enumerate(files, 1):
        words, damaged = keywords_of(file)
        failed += damaged
        tagged |= {row} if any(names.find(word) for word in words) else set()
        steps("reading keywords", done, len(files), "files")
    found = proposals(photos, names, adapter, tagged)
    if arguments.review is not None:
        _write(arguments, photos, found)
    sure = defaultdict[str, list[int]](list)
    least = float("inf") if arguments.precision is None else float(arguments.precision)
    for proposal in found:
        if 100 * proposal.right >= least:
            sure[proposal.name].append(proposal.row)
    tags, wrong, places = list[dict[str, Any]](), reported(failed), defaultdict[int, list[Path]](list)
    for row, file in files:
        places[row].append(file)
    for word, rows in sure.items():
        tagging = sorted(file for row in rows for file in places[row])
        report = change_all(tagging, word, arguments.style, False, arguments.dry_run)
        changed = [str(file) for file in report.changed]
        tags.append({"keyword": word, "photos": len(rows), "changed": changed, "same": report.same})
        wrong += reported(report.failed)
    told = {"with_keyword": len(tagged), "proposals": len(found), "review": arguments.review and str(arguments.review)}
    return Answer({**told, "tags": tags, "failed": wrong, "dry_run": arguments.dry_run, "remove": False}, format.gaps)


def _write(arguments: Namespace, photos: LibraryPhotos, found: list[Proposal]) -> None:
    """The proposals as CSV: keyword by keyword, the least sure first."""
    paths = dict(zip((p.row for p in found), photos.paths([p.row for p in found]), strict=True))
    with whole(arguments.review) as partial, partial.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["photo", "keyword", "right in percent"])
        for proposal in sorted(found, key=lambda proposal: (proposal.name, proposal.right)):
            writer.writerow([str(paths[proposal.row]), proposal.name, round(100 * proposal.right)])
