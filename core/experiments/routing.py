"""Does routing find experts of the right kind, and notice when there is none? On sentences that no training saw."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from core.common import markdown
from core.common.metrics import bootstrap_interval
from core.common.paths import data_of
from core.experiments import statistics
from core.experiments.context import ExperimentContext
from core.sglora.fit import Fit
from core.sglora.repository import Expert

WRITTEN: Mapping[str, Mapping[str, str]] = data_of(__file__)  # kind -> sentence -> expected words and groups
NONE, ALL = "no expert", "all with an expert"
RIGHT = ("first", "among the four")


def right(expected: str, experts: Sequence[Expert]) -> list[bool]:
    wanted = set(expected.split())
    return [bool(wanted & {*re.findall(r"[a-z-]+", e.description.lower()), f"{e.group}/"}) for e in experts]


def run(context: ExperimentContext) -> dict[str, Any]:
    """A row for each sentence, and shares in percent by kind, with intervals over sentences."""
    engine, experts, rows = context.engine, context.engine.repository.experts, []
    for kind, sentences in WRITTEN.items():
        for sentence, expected in sentences.items():
            routing, of_kind = engine.route(sentence), right(expected, experts)
            chosen = routing.chosen.tolist()
            found = {
                "first": of_kind[chosen[0]],
                "among the four": any(of_kind[i] for i in chosen),
                "notice": not Fit.of(engine, routing).fits,
                "chance": of_kind.count(True) / len(experts),
            }
            rows.append({"kind": kind, "sentence": sentence, "closest": experts[chosen[0]].description, **found})
    known = [row for row in rows if row["kind"] != NONE]
    kinds = {**{kind: [row for row in rows if row["kind"] == kind] for kind in WRITTEN}, ALL: known}
    return {"kinds": {kind: _shares(own) for kind, own in kinds.items()}, "rows": rows}


def _shares(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    shares = {name: [round(100 * v, 1) for v in bootstrap_interval([row[name] for row in rows])] for name in (*RIGHT, "notice")}
    chance = round(100 * sum(row["chance"] for row in rows) / len(rows), 1)
    return {"sentences": len(rows), "chance": chance, **shares}


def decides(result: Mapping[str, Any]) -> statistics.Interval:
    """The closest expert minus chance."""
    return statistics.interval([100 * (row["first"] - row["chance"]) for row in result["rows"] if row["kind"] != NONE])


def findings(result: Mapping[str, Any]) -> list[str]:
    known, none = result["kinds"][ALL], result["kinds"][NONE]
    return [
        f"The closest expert is of the right kind for {markdown.share(known['first'])} % of {known['sentences']} new sentences "
        f"(by chance {known['chance']:.0f} %).",
        f"Of {none['sentences']} topics without an expert, {none['notice'][0]:.0f} % get a notice; of the others "
        f"{known['notice'][0]:.0f} %.",
    ]


def table(result: Mapping[str, Any]) -> str:
    rows = []
    for kind, v in result["kinds"].items():
        right = ["", ""] if kind == NONE else [markdown.share(v[name]) for name in RIGHT]
        rows.append([kind, str(v["sentences"]), *right, markdown.share(v["notice"])])
    head = ["sentences", "number", "closest is right, %", "one of four is right, %", "notice that no expert fits, %"]
    return markdown.table(head, rows)
