"""Keywords that people gave their photos: inside the photo (XMP, IPTC), in sidecars, and as names of folders."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from core.common.text import trimmed
from core.data.sidecars import keywords_beside, keywords_inside
from core.data.xmp import HIERARCHY, SUBJECT, TAGS, Words

SOURCES = ("both", "keywords", "folders")
# Folders that say where photos come from or go to, not what they show.
_PLACES = frozenset(
    """album albums archive backup bilder camera cameraroll data dataset dcim desktop downloads edited edits export exported
    exports favorites favourites final fotos image images img import imported imports inbox incoming iphone jpeg jpg misc
    mobile new newfolder original originals other pending photo photos phone pics picks pictures pngs processed raw raws
    samples select selects sort sorted temp test tmp todo train training trash unsorted untitled upload uploads val valid
    validation web whatsapp whatsappimages 写真 图片 照片""".split()
)
# A date before what a folder shows, as in "2024-05-31 hiking", and the folders that cameras make, such as 100CANON.
_DATE, _CAMERA = re.compile(r"^\d{2,4}([-_. ]?\d{1,2}){0,2}(?:[-_. ]+|$)"), re.compile(r"\d{3}[A-Z0-9_]{5}")


def keywords_of(photo: Path) -> tuple[list[str], list[tuple[Path, object]]]:
    """The keywords of a photo file and of its sidecars, and (sidecar, reason) for those that cannot be read."""
    beside, failed = keywords_beside(photo)
    words = [word for lists in (keywords_inside(photo), *beside) for word in levels(lists)]
    return list(dict.fromkeys(words)), failed


def levels(lists: Words) -> list[str]:
    """The words of a photo's lists. A level above a keyword is one, too: “animals|dog” is “animals” and “dog”."""
    words = [word for kind in (SUBJECT, HIERARCHY) for each in lists.get(kind, ()) for word in each.split("|")]
    words += [word for each in lists.get(TAGS, ()) for word in re.split("[/|]", each)]
    return list(dict.fromkeys(filter(None, map(trimmed, words))))


def folder_keywords(folder: PurePath) -> list[str]:
    """What the names of a folder and of those above it say. ``folder``: inside the folder that was given. Dates, cameras'
    folders and words such as "export" say nothing."""
    words = [trimmed(_DATE.sub("", part).replace("_", " ")) for part in folder.parts if not _CAMERA.fullmatch(part)]
    return [w for w in words if any(c.isalpha() for c in w) and re.sub(r"[\W\d]", "", w).casefold() not in _PLACES]


def grouped(photos: Iterable[Sequence[str]]) -> dict[str, list[int]]:
    """The rows of each keyword, from the keywords of each row. Spellings that differ by case are one: the most frequent."""
    rows, spellings = defaultdict[str, list[int]](list), defaultdict[str, Counter[str]](Counter)
    for row, words in enumerate(photos):
        for key, word in {word.casefold(): word for word in words}.items():
            rows[key].append(row)
            spellings[key][word] += 1
    return {spellings[key].most_common(1)[0][0]: rows[key] for key in rows}
