"""Is routing insensitive to wording, and are sentences noticed that no expert is about?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from core.common import markdown
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
TRANSLATED: Mapping[str, tuple[str, ...]] = {
    "dogs": ("Fotos von Hunden", "photos de chiens", "fotos de perros", "foto di cani", "狗的照片"),
    "surfing": ("Fotos von Leuten beim Surfen", "photos de surf", "fotos de gente surfeando", "foto di surf", "冲浪的照片"),
    "beach": ("Fotos vom Strand", "photos de la plage", "fotos de la playa", "foto della spiaggia", "海滩的照片"),
    "skiing": ("Leute beim Skifahren", "photos de ski", "fotos de gente esquiando", "foto di sci", "滑雪的照片"),
    "food": ("Fotos von Essen", "photos de nourriture", "fotos de comida", "foto di cibo", "食物的照片"),
    "flowers": ("Fotos von Blumen", "photos de fleurs", "fotos de flores", "foto di fiori", "花的照片"),
    "football": ("Fotos vom Fußball", "photos de football", "fotos de fútbol", "foto di calcio", "足球的照片"),
    "bicycles": ("Fotos von Fahrrädern", "photos de vélos", "fotos de bicicletas", "foto di biciclette", "自行车的照片"),
    "horses": ("Fotos von Pferden", "photos de chevaux", "fotos de caballos", "foto di cavalli", "马的照片"),
    "mountains": ("Fotos von Bergen", "photos de montagnes", "fotos de montañas", "foto di montagne", "山的照片"),
}
OTHER_LANGUAGES = (
    "fotky mého psa ve sněhu",
    "bilder på min hund i snön",
    "képek a kutyámról és az esküvőnkről",
    "φωτογραφίες του σκύλου μου στο χιόνι",
    "फोटो: बर्फ में मेरा कुत्ता",
)
FAR = ("a black hole", "blood cells under a microscope", "circuit boards")


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

    translated = {name: [judged(text) for text in texts] for name, texts in TRANSLATED.items()}
    subjects = {name: [judged(text) for text in texts] for name, texts in WORDINGS.items()}
    values = [np.array([row["closeness"] for row in rows]) for rows in subjects.values()]
    apart = np.concatenate([np.abs(v - v.mean()) for v in values])
    return {
        "subjects": subjects,
        "translated": translated,
        "wordings": len(apart),
        "within": round(float((apart <= WITHIN).mean()), 4),
        "odd": {
            "not photos": [judged(t) for t in NOT_PHOTOS],
            "other languages": [judged(t) for t in OTHER_LANGUAGES],
            "far": [judged(t) for t in FAR],
        },
        "threshold": engine.repository.closeness_threshold,
    }


def findings(result: Mapping[str, Any]) -> list[str]:
    """How many wordings stay close, and what was noticed."""
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
    """Every subject's closeness, and every odd sentence."""
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


def plot(result: Mapping[str, Any]) -> Figure:
    """The closeness of every subject's wordings, and the threshold."""
    figure, (axes,) = figures.panels(height=4.8, grid="x")
    for place, rows in enumerate(reversed(result["subjects"].values())):
        axes.plot([r["closeness"] for r in rows], [place] * len(rows), "o", color=figures.ACCENT, alpha=0.6, markersize=5)
    if result["threshold"] is not None:
        axes.axvline(result["threshold"], color="0.5", linestyle="--")
    axes.set_yticks(range(len(result["subjects"])), list(reversed(result["subjects"])))
    axes.set_xlim(-0.03, 1.03)
    axes.set_title("closeness of the routed experts, in five wordings")
    return figure
