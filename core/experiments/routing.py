"""Does routing find experts of the right kind, and notice when there is none? On sentences that no training saw.

The sentences are written by hand, before any of them was routed. A right expert has one of the expected words in its
description, or belongs to the expected group ("aerial/").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

from core.common import markdown
from core.common.metrics import bootstrap_interval
from core.common.paths import data_of
from core.experiments.context import ExperimentContext
from core.sglora.repository import Expert
from core.sglora.request import DEFAULT_K

WRITTEN: Mapping[str, Mapping[str, str]] = data_of(__file__)  # kind -> sentence -> expected words and groups
NONE, ALL = "no expert", "all with an expert"
SHARES = ("first", "among the four", "weight", "fits")


def right(expected: str, experts: Sequence[Expert]) -> list[bool]:
    """Whether each expert is one of the expected ones."""
    wanted = set(expected.split())
    return [bool(wanted & {*re.findall(r"[a-z-]+", e.description.lower()), f"{e.group}/"}) for e in experts]


def run(context: ExperimentContext) -> dict[str, Any]:
    """A row for each sentence, and shares in percent by kind, with intervals over sentences."""
    engine, experts, rows = context.engine, context.engine.repository.experts, []
    for kind, sentences in WRITTEN.items():
        for sentence, expected in sentences.items():
            routing, of_kind = engine.route(sentence), right(expected, experts)
            chosen, weights = routing.chosen.tolist(), routing.weights.tolist()
            n, wrong, k = len(experts), of_kind.count(False), len(chosen)
            found = {
                "first": of_kind[chosen[0]],
                "among the four": any(of_kind[i] for i in chosen),
                "weight": sum(w for i, w in zip(chosen, weights, strict=True) if of_kind[i]),
                "fits": engine.fit(routing).fits,
                "chance": [1 - wrong / n, 1 - comb(wrong, k) / comb(n, k)],
            }
            rows.append({"kind": kind, "sentence": sentence, "closest": experts[chosen[0]].description, **found})
    known = [row for row in rows if row["kind"] != NONE]
    kinds = {**{kind: [row for row in rows if row["kind"] == kind] for kind in WRITTEN}, ALL: known}
    return {"k": DEFAULT_K, "kinds": {kind: _shares(own) for kind, own in kinds.items()}, "rows": rows}


def _shares(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    shares = {name: [round(100 * v, 1) for v in bootstrap_interval([row[name] for row in rows])] for name in SHARES}
    chance = [round(100 * sum(row["chance"][i] for row in rows) / len(rows), 1) for i in range(2)]
    return {"sentences": len(rows), "chance": chance, **shares}


def findings(result: Mapping[str, Any]) -> list[str]:
    known, none = result["kinds"][ALL], result["kinds"][NONE]
    first, weight = markdown.share(known["first"]), markdown.share(known["weight"])
    missed = [f"“{row['sentence']}”" for row in result["rows"] if row["kind"] != NONE and not row["among the four"]]
    return [
        f"The closest expert is of the right kind for {first} % of {known['sentences']} new sentences (by chance "
        f"{known['chance'][0]:.0f} %), and the right ones get {weight} % of the weight.",
        f"Of {none['sentences']} topics without an expert, {100 - none['fits'][0]:.0f} % get a notice; of the others "
        f"{100 - known['fits'][0]:.0f} %.",
        f"Without a right expert among the {result['k']}: {', '.join(missed) or 'none'}.",
    ]


def table(result: Mapping[str, Any]) -> str:
    rows = []
    for kind, v in result["kinds"].items():
        cells = ["" if kind == NONE else markdown.share(v[name]) for name in SHARES[:3]]
        chance = "" if kind == NONE else " / ".join(f"{c:.0f}" for c in v["chance"])
        rows.append([kind, str(v["sentences"]), *cells, chance, markdown.share([100 - v["fits"][i] for i in (0, 2, 1)])])
    head = ["sentences", "number", "closest is right, %", "one of four is right, %", "weight of the right ones, %"]
    return markdown.table([*head, "by chance, closest / one of four", "notice that no expert fits, %"], rows)
