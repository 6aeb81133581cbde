"""Is routing insensitive to wording, and does the app notice sentences that no expert fits?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.common import markdown
from core.common.paths import data_of
from core.experiments.context import ExperimentContext

WITHIN = 0.1  # of closeness
# "subjects" in five wordings each, some of them "translated", and "odd" sentences by kind, which the app should notice. Written
# before routing any.
SENTENCES = data_of(__file__)


def run(context: ExperimentContext) -> dict[str, Any]:
    """The closeness of each wording, and whether the app notices each odd sentence."""
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

    def all_judged(kind: str) -> dict[str, list[dict[str, Any]]]:
        return {name: [judged(text) for text in texts] for name, texts in SENTENCES[kind].items()}

    subjects = all_judged("subjects")
    values = [np.array([row["closeness"] for row in rows]) for rows in subjects.values()]
    deviations = np.concatenate([np.abs(v - v.mean()) for v in values])
    return {
        "subjects": subjects,
        "translated": all_judged("translated"),
        "wordings": len(deviations),
        "within": round(float((deviations <= WITHIN).mean()), 4),
        "odd": all_judged("odd"),
        "threshold": engine.repository.closeness_threshold,
    }


def findings(result: Mapping[str, Any]) -> list[str]:
    odd = result["odd"]
    noticed = {kind: sum(not row["fits"] for row in rows) for kind, rows in odd.items()}
    closest = {name: {row["closest"] for row in rows} for name, rows in result["subjects"].items()}
    same = sum(len(experts) == 1 for experts in closest.values())
    others = [row["closest"] in closest[name] for name, rows in result["translated"].items() for row in rows]
    wordings = [row for rows in result["subjects"].values() for row in rows]
    return [
        f"{result['within']:.0%} of {result['wordings']} wordings stay within {WITHIN} of the mean closeness of their subject, "
        f"and {same} of {len(result['subjects'])} subjects have one closest expert in all wordings.",
        f"{sum(others)} of {len(others)} wordings in German, French, Spanish, Italian and Chinese have the closest expert "
        "of an English one.",
        f"{noticed['not photos']} of {len(odd['not photos'])} sentences about no photos are noticed, "
        f"{noticed['other languages']} of {len(odd['other languages'])} in a language that the model does not know, "
        f"{noticed['far']} of {len(odd['far'])} about photos of another kind; of the {len(wordings)} wordings "
        f"{sum(not row['fits'] for row in wordings)}.",
    ]


def table(result: Mapping[str, Any]) -> str:
    rows = []
    for name, wordings in result["subjects"].items():
        values = [row["closeness"] for row in wordings]
        rows.append([name, f"{np.mean(values):.2f}", f"{max(values) - min(values):.2f}", wordings[0]["closest"]])
    odd = [
        [row["text"], row["remark"] or "-", f"{row['closeness']:.2f}", "yes" if row["fits"] else "no", row["closest"]]
        for sentences in result["odd"].values()
        for row in sentences
    ]
    return (
        f"{markdown.table(['subject, five wordings', 'mean closeness', 'largest difference', 'closest expert'], rows)}\n\n"
        f"{markdown.table(['sentence', 'remark', 'closeness', 'an expert fits', 'closest expert'], odd)}"
    )
