"""Keywords in XMP, the metadata that photo programs keep beside photos: add one or remove one, and copy every other byte.

An XML parser finds where the lists of keywords are, and the keyword goes in there. Programs keep keywords in three lists, and
read one of the last two first: so a keyword goes into each list that is there. XMP without any gets ``dc:subject``, which all
programs read but immich, and digiKam's list, which immich reads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from core.common.errors import DataError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
SUBJECT, TAGS = "http://purl.org/dc/elements/1.1/ subject", "http://www.digikam.org/ns/1.0/ TagsList"
HIERARCHY = "http://ns.adobe.com/lightroom/1.0/ hierarchicalSubject"
LISTS = (SUBJECT, TAGS, HIERARCHY)
LEVELS = "/|"  # between a keyword and the keyword above it, in digiKam's list and in Lightroom's
EMPTY = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="SG-LoRA Studio">
 <rdf:RDF xmlns:rdf="{RDF}">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
""".encode()

Splice = tuple[int, int, str]  # where it begins and ends, and what is there instead


@dataclass(frozen=True)
class _Element:
    """An element: where its tag begins, where its end tag begins (of one like <a/>: where it ends), and where it ends."""

    name: str
    start: int
    close: int = 0
    end: int = 0
    text: str = ""


@dataclass(frozen=True)
class _List:
    kind: str  # one of LISTS
    container: _Element
    items: tuple[_Element, ...]

    def has(self, word: str) -> bool:
        """Whether the keyword is in the list, on any level."""
        return any(word in (item.text, re.split(f"[{LEVELS}]", item.text)[-1]) for item in self.items)


@dataclass(frozen=True)
class _Xmp:
    content: bytes
    root: _Element  # rdf:RDF
    about: str  # the resource, usually ""
    lists: tuple[_List, ...]

    def with_word(self, word: str) -> bytes:
        splices, kinds = [], {each.kind for each in self.lists}
        for kind in LISTS:
            lists = [each for each in self.lists if each.kind == kind]
            if lists and not any(each.has(word) for each in lists):
                items, item = lists[0].items, f"<rdf:li>{escape(word)}</rdf:li>"
                at = items[-1].end if items else 0
                splices.append((at, at, self._space(items[-1]) + item) if items else self.inside(lists[0].container, item))
        if SUBJECT not in kinds:
            splices.append(self.inside(self.root, _block(self.about, [word], None if kinds else [word])))
        return self.spliced(splices)

    def without_word(self, word: str) -> bytes:
        items = [item for each in self.lists for item in each.items if item.text == word]
        content = self.spliced([(item.start - len(self._space(item)), item.end, "") for item in items])
        for tags in ([], None):
            content = content.replace(_block(self.about, [], tags).encode(), b"")
        return content

    def _space(self, item: _Element) -> str:
        before = self.content[: item.start]
        return before[len(before.rstrip()) :].decode()

    def inside(self, element: _Element, added: str) -> Splice:
        """Put it at the end of an element."""
        if element.close < element.end:
            return element.close, element.close, added
        (name,) = re.findall(rb"\A<([^\s/>]+)", self.content[element.start :])
        return element.end - 2, element.end, f">{added}</{name.decode()}>"

    def spliced(self, splices: Sequence[Splice]) -> bytes:
        content = self.content
        for start, end, new in sorted(splices, reverse=True):
            content = content[:start] + new.encode() + content[end:]
        return content


def new_xmp(words: Sequence[str] = (), tags: Sequence[str] = ()) -> bytes:
    """XMP with these words in ``dc:subject`` and these tags in digiKam's list."""
    empty = _read(EMPTY)
    return empty.spliced([empty.inside(empty.root, _block("", words, tags))] if words or tags else [])


def keywords(content: bytes, kind: str = SUBJECT) -> tuple[str, ...]:
    """The words of one of LISTS. Raises as ``with_keyword``."""
    lists = [each for each in _read(content).lists if each.kind == kind]
    return tuple(dict.fromkeys(item.text for each in lists for item in each.items))


def with_keyword(content: bytes, word: str) -> bytes:
    """XMP with a keyword added. Raises DataError: when it is damaged, no XMP, or keeps keywords in another form."""
    return _checked(_read(content).with_word(word), word, True)


def without_keyword(content: bytes, word: str) -> bytes:
    """XMP without a keyword. Raises as ``with_keyword``."""
    return _checked(_read(content).without_word(word), word, False)


def _checked(content: bytes, word: str, has: bool) -> bytes:
    if (word in keywords(content)) != has:
        raise DataError("CORE_SIDECAR_FORM")
    return content


def _block(about: str, words: Sequence[str], tags: Sequence[str] | None) -> str:
    """A description with ``dc:subject``, and with digiKam's list unless ``tags`` is None."""
    subject, listed = ("".join(f"<rdf:li>{escape(word)}</rdf:li>" for word in each) for each in (words, tags or ()))
    declared = "" if tags is None else f'\n    xmlns:digiKam="{TAGS.split()[0]}"'
    theirs = "" if tags is None else f"\n   <digiKam:TagsList><rdf:Seq>{listed}</rdf:Seq></digiKam:TagsList>"
    return (
        f' <rdf:Description rdf:about={quoteattr(about)} xmlns:dc="{SUBJECT.split()[0]}"{declared}>\n'
        f"   <dc:subject><rdf:Bag>{subject}</rdf:Bag></dc:subject>{theirs}\n  </rdf:Description>\n "
    )


def _read(content: bytes) -> _Xmp:
    reader = _Reader(content)
    try:
        reader.parser.Parse(content, True)
    except (expat.ExpatError, UnicodeDecodeError) as error:
        raise DataError("CORE_SIDECAR_DAMAGED", error=str(error)) from None
    if reader.root is None:
        raise DataError("CORE_SIDECAR_FOREIGN")
    return _Xmp(content, reader.root, reader.about, tuple(reader.lists))


class _Reader:
    """Finds the lists of keywords. Expat gives the place of each tag in the bytes."""

    def __init__(self, content: bytes) -> None:
        self.content, self.path, self.lists = content, list[_Element](), list[_List]()
        self.root: _Element | None = None
        self.about, self.items, self.begun = "", list[_Element](), False
        self.parser = parser = expat.ParserCreate("utf-8", " ")
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler, parser.XmlDeclHandler = self._text, self._declared
        parser.StartDoctypeDeclHandler = self._no_doctype  # entities may grow to gigabytes

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        if (encoding or "utf-8").lower() != "utf-8":
            raise DataError("CORE_SIDECAR_FORM")

    def _no_doctype(self, *declaration: Any) -> None:
        raise DataError("CORE_SIDECAR_FOREIGN")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.path.append(_Element(name, self.parser.CurrentByteIndex))
        self.begun = True
        if self._is_at(f"{RDF} RDF", f"{RDF} Description"):
            self.about = self.about or attributes.get(f"{RDF} about", "")
            if any(kind in attributes for kind in LISTS):
                raise DataError("CORE_SIDECAR_FORM")

    def _text(self, text: str) -> None:
        self.begun = False
        if self.path:
            self.path[-1] = replace(self.path[-1], text=self.path[-1].text + text)

    def _end(self, name: str) -> None:
        at = self.parser.CurrentByteIndex
        alone = self.begun and self.content[at - 2 : at] == b"/>"  # like <rdf:Bag/>
        element = replace(self.path[-1], close=at, end=at if alone else self.content.index(b">", at) + 1)
        element = replace(element, text=element.text.strip())
        kind = next((kind for kind in LISTS if self._is_at(f"{RDF} RDF", f"{RDF} Description", kind)), None)
        above = self.path[-2].name if len(self.path) > 1 else ""
        if kind is not None and (not self.lists or self.lists[-1].container.start < element.start):
            raise DataError("CORE_SIDECAR_FORM")  # without a list in it
        if name == f"{RDF} RDF":
            if self.root is not None or self.content[element.start : element.start + 5] != b"<rdf:":
                raise DataError("CORE_SIDECAR_FORM")
            self.root = element
        elif name == f"{RDF} li" and len(self.path) > 2 and self.path[-3].name in LISTS:
            self.items.append(element)
        elif above in LISTS and name in (f"{RDF} Bag", f"{RDF} Seq"):
            self.lists.append(_List(above, element, tuple(self.items)))
            self.items = []
        self.path.pop()
        self.begun = False

    def _is_at(self, *names: str) -> bool:
        return tuple(element.name for element in self.path[-len(names) :]) == names
