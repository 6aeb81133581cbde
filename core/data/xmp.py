"""Keywords in XMP, the metadata that photo programs keep beside photos: add one or remove one, and copy every other byte.

Programs keep keywords in three lists, so a keyword goes into each list that is there. digiKam and immich read one of the last
two first, and immich reads no ``dc:subject``: XMP without these two gets Lightroom's, with the words that it has. Text is
spliced in, and an XML parser reads the result: unless exactly the keyword has come or gone, an error is raised.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape, unescape
from xml.etree import ElementTree

from core.common.errors import DataError

SUBJECT, TAGS, HIERARCHY = LISTS = ("dc:subject", "digiKam:TagsList", "lr:hierarchicalSubject")
LEVELS = "/|"  # between a keyword and the keyword above it, in digiKam's list and in Lightroom's
NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
}
EMPTY = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="SG-LoRA Studio">
 <rdf:RDF xmlns:rdf="{NAMESPACES["rdf"]}">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
""".encode()
NO_XMP = "it is no XMP: move it away. It was left alone."
OTHER_FORM = "it keeps keywords in a form that this command does not know. It was left alone."
Words = Mapping[str, Sequence[str]]  # by one of LISTS

_KINDS = {f"{{{NAMESPACES[prefix]}}}{name}": f"{prefix}:{name}" for prefix, name in (kind.split(":") for kind in LISTS)}
_FORM = r"(<{}\s*>\s*<rdf:(Bag|Seq)\s*)(?:/>|>(\s*)(.*?)(\s*)</rdf:\2>)"
_LIST = {kind: re.compile(_FORM.format(kind).encode(), re.DOTALL) for kind in LISTS}
_ITEM, _END = re.compile(rb"\s*<rdf:li[^>]*>([^<]*)</rdf:li>"), b"</rdf:RDF>"


def keywords(content: bytes) -> dict[str, list[str]]:
    """The words of each list that is there. Raises DataError: when XMP is damaged, no XMP, or has lists in another form."""
    if b"<!DOCTYPE" in content:  # entities may grow to gigabytes
        raise DataError(NO_XMP)
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"it is damaged ({error!s}): repair or delete it. It was left alone.") from None
    rdf = root if root.tag == f"{{{NAMESPACES['rdf']}}}RDF" else root.find("rdf:RDF", NAMESPACES)
    if rdf is None:
        raise DataError(NO_XMP)
    found: dict[str, list[str]] = {}
    for description in rdf:
        lists = [each for each in description if each.tag in _KINDS]
        if _KINDS.keys() & description.attrib.keys() or any(len(each) != 1 for each in lists):
            raise DataError(OTHER_FORM)
        for each in lists:
            words = [(item.text or "").strip() for item in each.findall("*/rdf:li", NAMESPACES)]
            found[_KINDS[each.tag]] = found.get(_KINDS[each.tag], []) + words
    return found


def with_keyword(content: bytes, word: str, inside: Words | None = None) -> bytes:
    """XMP with a keyword added. ``inside``: keywords inside the photo, for new lists, since programs read a sidecar's in their
    place. Raises as ``keywords``."""
    before = keywords(content)
    wanted, item = dict(before), _items([word])
    for kind, words in before.items():
        if word not in (re.split(f"[{LEVELS}]", each)[-1] for each in words):
            wanted[kind] = [*words, word]
            content = _LIST[kind].sub(lambda found: _with_item(found, item), content, count=1)
    for kind in [SUBJECT] * (SUBJECT not in before) + [HIERARCHY] * (not {TAGS, HIERARCHY} & before.keys()):
        wanted[kind] = list(dict.fromkeys([*_first_words(kind, before, inside), word]))
        begin, end, rest = content.rpartition(_END)
        content = begin + _block(kind, wanted[kind]) + end + rest
    return _checked(content, wanted)


def without_keyword(content: bytes, word: str, inside: Words | None = None) -> bytes:
    """XMP without a keyword, and without lists that ``with_keyword`` made for it alone. Raises as ``keywords``."""
    before = keywords(content)
    wanted = {kind: [each for each in words if each != word] for kind, words in before.items()}
    if wanted == before:
        return content

    def kept(item: re.Match[bytes]) -> bytes:
        return b"" if unescape(item[1].decode(errors="replace")).strip() == word else item[0]

    for kind in wanted:
        content = _LIST[kind].sub(lambda found: _ITEM.sub(kept, found[0]), content)
    content = _checked(content, wanted)
    for kind in (SUBJECT, HIERARCHY):
        content = content.replace(_block(kind, _first_words(kind, keywords(content), inside)), b"")
    return content


def _first_words(kind: str, there: Words, inside: Words | None) -> Sequence[str]:
    """What a new list has beside the keyword."""
    return there[SUBJECT] if kind == HIERARCHY and SUBJECT in there else (inside or {}).get(kind, ())


def _items(words: Sequence[str]) -> bytes:
    return "".join(f"<rdf:li>{escape(word, quote=False)}</rdf:li>" for word in words).encode()


def _with_item(found: re.Match[bytes], item: bytes) -> bytes:
    opened, name, space, items, end = (part or b"" for part in found.groups())
    return opened + b">" + space + items + (space if items else b"") + item + end + b"</rdf:" + name + b">"


def _block(kind: str, words: Sequence[str]) -> bytes:
    prefix = kind.partition(":")[0]
    begin = f' <rdf:Description rdf:about="" xmlns:{prefix}="{NAMESPACES[prefix]}">\n   <{kind}><rdf:Bag>'.encode()
    return begin + _items(words) + f"</rdf:Bag></{kind}>\n  </rdf:Description>\n ".encode()


def _checked(content: bytes, wanted: Words) -> bytes:
    try:
        if keywords(content) == wanted:
            return content
    except DataError:
        pass
    raise DataError(OTHER_FORM)
