"""Is the confidence insensitive to wording, and does it notice sentences that no expert is about?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from core.experiments import figures
from core.experiments.context import ExperimentContext

WITHIN = 0.1
# Subjects, each in five wordings; written before any was routed.
WORDINGS: Mapping[str, tuple[str, str, str, str, str]] = {
    "kids": ("my kids", "photos of my kids", "kids", "pictures of kids", "a photo of kids"),
    "Christmas": ("Christmas", "photos of Christmas", "our Christmas", "Christmas photos", "pictures of Christmas"),
    "birthday party": (
        "birthday party",
        "a birthday party",
        "photos of a birthday party",
        "my birthday party",
        "images of a birthday party",
    ),
    "dogs": ("dogs", "photos of dogs", "my dogs", "pictures of dogs", "a photo of dogs"),
    "surfing": ("surfing", "photos of surfing", "surfing photos", "people surfing", "photos of people surfing"),
    "beach": ("beach", "the beach", "photos of the beach", "at the beach", "pictures of a beach"),
    "skiing": ("skiing", "photos of people skiing", "people skiing", "our skiing photos", "skiing pictures"),
    "wedding": ("wedding", "a wedding", "photos of our wedding", "wedding photos", "the wedding"),
    "food": ("food", "photos of food", "my food photos", "pictures of food", "food pictures"),
    "flowers": ("flowers", "photos of flowers", "flowers in bloom", "pictures of flowers", "my flowers"),
    "aerial": ("aerial photos", "aerial pictures", "aerial images", "some aerial photos", "my aerial photos"),
    "cats": ("cats", "my cat", "photos of cats", "a cat", "pictures of my cat"),
    "football": ("football", "a football game", "photos of football", "football photos", "people playing football"),
    "mountains": ("mountains", "photos of mountains", "the mountains", "mountain photos", "pictures of mountains"),
    "concert": ("concert", "a concert", "photos of a concert", "concert photos", "the concert"),
    "bicycles": ("bicycles", "photos of bicycles", "a bicycle", "my bicycle", "pictures of bicycles"),
    "horses": ("horses", "photos of horses", "my horse", "a horse", "horse pictures"),
    "street": ("street photos", "photos of the street", "the street", "street", "pictures of streets"),
    "sketches": ("sketches", "pencil sketches", "my sketches", "photos of sketches", "some sketches"),
    "garden": ("garden", "my garden", "photos of our garden", "the garden", "garden photos"),
}
NOT_PHOTOS = (
    "screenshots of code",
    "quarterly financial report",
    "an invoice from the dentist",
    "minutes of the board meeting",
)
OTHER_LANGUAGES = (
    "Fotos von meinem Hund im Schnee",
    "Kinder, die am Strand spielen und baden",
    "les photos de mon chien dans la neige",
    "fotos de mis hijos en la playa",
    "写真 犬 雪",
)
FAR = ("a black hole", "blood cells under a microscope", "circuit boards")


def run(context: ExperimentContext) -> dict[str, Any]:
    """Probability of each wording, and what is said of sentences that no expert is about."""
    engine = context.engine

    def judged(text: str) -> dict[str, Any]:
        routing = engine.route(text)
        found, remark = engine.confidence(routing), engine.remark(routing)
        return {
            "text": text,
            "probability": None if found is None else round(found.probability, 4),
            "own": None if found is None else round(found.own, 3),
            "gain": None if found is None else round(found.gain, 2),
            "remark": remark.kind if remark else "",
            "closest": engine.repository.experts[int(routing.chosen[0])].name,
        }

    subjects = {name: [judged(text) for text in texts] for name, texts in WORDINGS.items()}
    values = {name: np.array([row["probability"] or 0.0 for row in rows]) for name, rows in subjects.items()}
    apart = np.concatenate([np.abs(v - v.mean()) for v in values.values()])
    model = engine.repository.confidence
    return {
        "subjects": subjects,
        "wordings": len(apart),
        "within": round(float((apart <= WITHIN).mean()), 4),
        "odd": {
            "not photos": [judged(t) for t in NOT_PHOTOS],
            "other languages": [judged(t) for t in OTHER_LANGUAGES],
            "far": [judged(t) for t in FAR],
        },
        "calibration": None if model is None else asdict(model),
    }


def findings(result: Mapping[str, Any]) -> list[str]:
    """How many wordings stay close, and what was noticed."""
    odd = result["odd"]
    noticed = {kind: sum(bool(r["remark"]) for r in rows) for kind, rows in odd.items()}
    said = [
        f"{result['within']:.0%} of {result['wordings']} wordings stay within {WITHIN} of the mean chance of their subject.",
        f"{noticed['not photos']} of {len(odd['not photos'])} sentences about no photos are noticed, and "
        f"{noticed['other languages']} of {len(odd['other languages'])} in another language.",
    ]
    if result["calibration"]:
        said.append(
            f"Calibrated on {result['calibration']['points']} topics that were left out; rank correlation with what was gained "
            f"{result['calibration']['rank_correlation']:.2f}."
        )
    return said


def table(result: Mapping[str, Any]) -> str:
    """Every subject's chances, and every odd sentence."""
    from core.common import markdown

    rows = []
    for name, own in result["subjects"].items():
        values = [row["probability"] for row in own]
        rows.append([name, f"{np.mean(values):.2f}", f"{max(values) - min(values):.2f}", own[0]["closest"]])
    odd = [
        [row["text"], row["remark"] or "-", "" if row["probability"] is None else f"{row['probability']:.2f}", row["closest"]]
        for own in result["odd"].values()
        for row in own
    ]
    return (
        f"{markdown.table(['subject, five wordings', 'mean chance', 'largest difference', 'closest expert'], rows)}\n\n"
        f"{markdown.table(['sentence', 'remark', 'chance', 'closest expert'], odd)}"
    )


def plot(result: Mapping[str, Any]) -> Figure:
    """The chances of every subject's wordings."""
    figure, (axes,) = figures.panels(height=4.8, grid="x")
    for place, rows in enumerate(reversed(result["subjects"].values())):
        axes.plot([r["probability"] for r in rows], [place] * len(rows), "o", color=figures.ACCENT, alpha=0.6, markersize=5)
    axes.set_yticks(range(len(result["subjects"])), list(reversed(result["subjects"])))
    axes.set_xlim(-0.03, 1.03)
    axes.set_title("chance that adapting helps, in five wordings")
    return figure
