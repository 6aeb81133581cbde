"""The JPEG preview in a camera's raw file. DNG, CR2, NEF and ARW are TIFF files."""

import io

from PIL.TiffImagePlugin import ImageFileDirectory_v2

SUFFIXES = (".dng", ".cr2", ".nef", ".arw")
MOST_DIRECTORIES = 64
HEADERS = (b"II\x2a\x00", b"MM\x00\x2a")
_SUB, _EXIF, _ORIENTATION, _CHANGED, _TAKEN = 0x014A, 0x8769, 0x0112, 0x0132, 0x9003
_PLACES = ((0x0111, 0x0117), (0x0201, 0x0202))  # pairs of tags: offset and byte count of picture data
_BASELINE_TO_PROGRESSIVE = (0xC0, 0xC1, 0xC2)  # JPEG frame types of photos; 0xC3 is lossless, for raw data


def raw_preview(content: bytes) -> tuple[bytes, dict[int, object]] | None:
    """The largest JPEG photo in a raw file, with its EXIF orientation and date tags. None if there is none."""
    if content[:4] not in HEADERS:
        return None
    waiting, seen = [int(ImageFileDirectory_v2(content[:8]).next or 0)], set[int]()
    best, tags = b"", dict[int, object]()
    while waiting and len(seen) < MOST_DIRECTORIES:
        offset = waiting.pop(0)
        if offset in seen or not 8 <= offset < len(content):
            continue
        seen.add(offset)
        directory = ImageFileDirectory_v2(content[:8])
        file = io.BytesIO(content)
        file.seek(offset)
        directory.load(file)
        waiting += [*_numbers(directory, _SUB), *_numbers(directory, _EXIF), int(directory.next or 0)]
        for tag in (_ORIENTATION, _CHANGED, _TAKEN):
            if tag in directory:
                tags.setdefault(tag, directory[tag])
        for starts, sizes in _PLACES:
            for start, size in zip(_numbers(directory, starts), _numbers(directory, sizes), strict=False):
                picture = content[start : start + size]
                if len(picture) > len(best) and _is_photo(picture):
                    best = picture
    changed = tags.get(_TAKEN) or tags.get(_CHANGED)
    return (best, {_ORIENTATION: tags.get(_ORIENTATION), _CHANGED: changed}) if best else None


def _numbers(directory: ImageFileDirectory_v2, tag: int) -> list[int]:
    value = directory.get(tag, ())
    values = value if isinstance(value, tuple) else (value,)
    return [number for number in values if isinstance(number, int)][:MOST_DIRECTORIES]


def _is_photo(picture: bytes) -> bool:
    """Whether the bytes are a JPEG with a frame type of photos."""
    place = 2
    while picture[:2] == b"\xff\xd8" and place + 4 <= len(picture) and picture[place] == 0xFF:
        if 0xC0 <= (kind := picture[place + 1]) <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            return kind in _BASELINE_TO_PROGRESSIVE
        place += 2 + int.from_bytes(picture[place + 2 : place + 4], "big")
    return False
