"""Which photos: file, split and sha256, a line each, without the photos and their captions."""

import gzip
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.common.digest import digest
from core.common.paths import ASSETS

SHIPPED = ASSETS / "photos.tsv.gz"  # what trained and measured the shipped files


def manifest(data: Path, splits: Mapping[Path, str]) -> list[str]:
    """The lines for photos of a data folder, with the split of each. Photos that are not there have none."""
    there = ((path, split) for path, split in splits.items() if path.is_file())
    return sorted(
        f"{Path(os.path.relpath(path, data)).as_posix()}\t{split}\t{digest(path.read_bytes())}" for path, split in there
    )


def write_manifest(file: Path, lines: Sequence[str]) -> None:
    file.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))  # the same bytes each time


def read_manifest(file: Path = SHIPPED) -> list[str]:
    return gzip.decompress(file.read_bytes()).decode().splitlines()


def compared(lines: Sequence[str], listed: Sequence[str]) -> dict[str, Any]:
    """Which manifest these lines are, and how many differ from the ``listed`` ones."""
    gone, new = (sorted(set(a) - set(b)) for a, b in ((listed, lines), (lines, listed)))
    first = next((line.partition("\t")[0] for line in (*gone, *new)), None)
    facts = {"manifest": digest("\n".join(lines))[:16], "photos": len(lines)}
    return facts | {"missing or changed": len(gone), "new": len(new), "first": first}
