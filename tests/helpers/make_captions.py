"""Hostile captions files."""

import json
import pickle
from collections.abc import Iterator
from functools import cache

from hostile_cases import Case

MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def texts() -> Iterator[Case]:
    head = "image,caption\n"
    taken = {
        "a formula": '=HYPERLINK("https://127.0.0.1/","x")',
        "markup": MARKUP,
        "a link": "[x](javascript:alert(1)) javascript:alert(1)",
        "right to left": "a \u202edog\u202c on the beach",
        "control characters": "a\x07 dog\x1b[31m on the\x00 beach",
        "no visible character": "\u200b\u2060\ufeff",
        "a million letters": "d" * 1_000_000,
    }
    for what, caption in taken.items():
        row = json.dumps({"image": "good.png", "captions": [caption]})
        refused = "holds no captions" if what == "no visible character" else None
        yield Case(f"JSONL with {what}", "words.jsonl", row.encode(), refused)
    yield Case("CSV with a formula", "formula.csv", (head + "good.png,=1+1\n").encode())
    half = b'{"image": "good.png", "captions": ["a \\ud800 dog"]}\n{"image":"a","captions":["b"]}'
    yield Case("JSON with half a surrogate", "half.jsonl", half)
    yield Case("captions of photos that are not there", "absent.csv", (head + "../../etc/passwd,root\n<b>.png,bold\n").encode())
    yield Case("names that are paths", "paths.csv", (head + "/etc/passwd,x\nC:\\x\\good.png,a dog\n").encode())


def encodings() -> Iterator[Case]:
    yield Case("surrogates in UTF-8", "surrogates.csv", b"image,caption\ngood.png,\xed\xa0\x80", "not UTF-8")
    yield Case("NUL bytes", "nul.csv", b"image,caption\n\x00,\x00\n", "")
    yield Case("a pickle", "pickle.jsonl", pickle.dumps({"image": "x"}), "")


def tables() -> Iterator[Case]:
    yield Case("100,001 captions", "many.csv", b"image,caption\n" + b"a,b\n" * 100_001, "100,000")
    yield Case("a million lines that are blank", "blank.csv", b"\n" * 1_000_000, "holds no captions")
    yield Case("9 MB", "large.csv", b"image,caption\n" + b"x" * 9 * 2**20, "8 MB")
    # On these lines, a regular expression that backtracks takes hours.
    yield Case("a line of blanks", "blanks.csv", b"a" + b" " * 4_000_000 + b"b", "")
    yield Case("a line of quotes", "quotes.csv", b'"' + b'""' * 1_000_000, "")
    yield Case("a line of dots", "dots.csv", b"a.jpg#" * 200_000 + b"," + b"#1" * 200_000, "")


def objects() -> Iterator[Case]:
    for what, text in {
        "brackets without end": "[" * 1_000_000,
        "objects without end": '{"a":' * 100_000,
        "a number of 10,000 digits": '{"image": ' + "9" * 10_000 + "}",
    }.items():
        yield Case(f"JSON of {what}", "captions.jsonl", text.encode(), "")


@cache
def captions() -> tuple[Case, ...]:
    return tuple(case for maker in (texts, encodings, tables, objects) for case in maker())
