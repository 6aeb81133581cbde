"""Is routing insensitive to wording, and are sentences noticed that no expert is about?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.common import markdown
from core.common.paths import data_of
from core.experiments.context import ExperimentContext

WITHIN = 0.1
# Written before any was routed: "subjects" in five wordings each, some of them "translated", and "odd" sentences by kind, which
# should be noticed.
SENTENCES = data_of(__file__)


def run(context: ExperimentContext) -> dict[str, Any]:
    """Closeness of each wording, and what is noticed of sentences that no expert is about."""
    engine = context.engine

    def judged(text: str) -> dict[str, Any]:
        routing = engine.route(text)
        fit = engine.fit(routing)
        return {
            "text": text,
            "closeness": round(fit.closeness, 4),
            "fits": fit.fits,
            "remark": fit.remark.kind if fit.remark else "",
            "closest": engine.repository.experts[int(routing.chosen[0])].name,
        }

    def each(kind: str) -> dict[str, list[dict[str, Any]]]:
        return {name: [judged(text) for text in texts] for name, texts in SENTENCES[kind].items()}

    subjects = each("subjects")
    values = [np.array([row["closeness"] for row in rows]) for rows in subjects.values()]
    apart = np.concatenate([np.abs(v - v.mean()) for v in values])
    return {
        "subjects": subjects,
        "translated": each("translated"),
        "wordings": len(apart),
        "within": round(float((apart <= WITHIN).mean()), 4),
        "odd": each("odd"),
        "threshold": engine.repository.closeness_threshold,
    }


def findings(result: Mapping[str, Any]) -> list[str]:
    odd = result["odd"]
    noticed = {kind: sum(not row["fits"] for row in rows) for kind, rows in odd.items()}
    rows = [row for own in result["subjects"].values() for row in own]
    same = sum(len({row["closest"] for row in own}) == 1 for own in result["subjects"].values())
    english = {name: {row["closest"] for row in own} for name, own in result["subjects"].items()}
    others = [row["closest"] in english[name] for name, own in result["translated"].items() for row in own]
    return [
        f"{result['within']:.0%} of {result['wordings']} wordings stay within {WITHIN} of the mean closeness of their subject, "
        f"and {same} of {len(result['subjects'])} subjects have one closest expert in all wordings.",
        f"{sum(others)} of {len(others)} wordings in German, French, Spanish, Italian and Chinese have the closest expert "
        "of an English one.",
        f"{noticed['not photos']} of {len(odd['not photos'])} sentences about no photos are noticed, "
        f"{noticed['other languages']} of {len(odd['other languages'])} in a language that the model does not know, "
        f"{noticed['far']} of {len(odd['far'])} about photos of another kind; of the {len(rows)} wordings "
        f"{sum(not r['fits'] for r in rows)}.",
    ]


def table(result: Mapping[str, Any]) -> str:
    rows = []
    for name, own in result["subjects"].items():
        values = [row["closeness"] for row in own]
        rows.append([name, f"{np.mean(values):.2f}", f"{max(values) - min(values):.2f}", own[0]["closest"]])
    odd = [
        [row["text"], row["remark"] or "-", f"{row['closeness']:.2f}", "yes" if row["fits"] else "no", row["closest"]]
        for own in result["odd"].values()
        for row in own
    ]
    return (
        f"{markdown.table(['subject, five wordings', 'mean closeness', 'largest difference', 'closest expert'], rows)}\n\n"
        f"{markdown.table(['sentence', 'remark', 'closeness', 'an expert fits', 'closest expert'], odd)}"
    )
