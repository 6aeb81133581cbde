"""HTML of experts: the table, one expert, and the visitor's own."""

from collections.abc import Sequence
from textwrap import shorten
from typing import Any

from markupsafe import Markup

from app.languages import ENGLISH, language, texts
from app.page.views.template import macros
from core.backbones.description import subject
from core.common.metrics import mean_of_ways
from core.experts.own import OwnExperts
from core.sglora.repository import Expert
from core.sglora.router import Routing
from core.training.own_expert import OwnExpert

SHORT = 46  # characters of an expert's description
_html, _told = macros("experts.html"), macros("page.html").told


def gain(expert: Expert) -> str:
    points = expert.gain(1)
    return texts.NOT_MEASURED if points is None else texts.GAIN.format(gain=points, k=1)


def short(expert: Expert) -> str:
    """A few words about an expert: in English a scene's name, else what the description says that its photos show."""
    if expert.group == "scenes" and language() == ENGLISH:
        return expert.name
    return shorten(subject(texts.topic(expert.description)), SHORT, placeholder=" …")


def percents(routing: Routing) -> dict[int, int]:
    """The weight of each routed expert in whole percents that add up to 100: the largest remainders are rounded up."""
    exact = {i: 100 * weight for i, weight in zip(routing.chosen.tolist(), routing.weights.tolist(), strict=True)}
    whole = {i: int(weight) for i, weight in exact.items()}
    for i in sorted(exact, key=lambda i: whole[i] - exact[i])[: 100 - sum(whole.values())]:
        whole[i] += 1
    return whole


def headers() -> list[str]:
    return texts.EXPERTS_HEADERS.split("; ")


def table(experts: Sequence[Expert], words: str = "") -> dict[str, Any]:
    """The table as Gradio takes it, with a row for each expert that contains all ``words``. It has headers, since Gradio would
    show those of the server's first layout."""
    rows = []
    for e in experts:
        description = texts.topic(e.description)
        text = f"{e.name} {description} {e.group} {e.source}".casefold()
        if all(word in text for word in words.casefold().split()):
            recalls = [round(mean_of_ways(r, "R@1"), 1) if r else None for r in (e.before, e.after)]
            gains = [None if (points := e.gain(k)) is None else round(points, 1) for k in (1, 5)]
            rows.append([e.name, description, e.group, e.source, e.images, *recalls, *gains])
    return {"headers": headers(), "data": rows, "metadata": None}


def details(expert: Expert) -> Markup:
    """One expert: its training data, and recall before and after in both directions."""
    return _html.details(expert, gain(expert))


def count(rows: int, experts: int, words: str) -> Markup:
    """How many experts a search found, and what to do if it found none."""
    if not words.strip():
        return Markup("")
    return _told(texts.EXPERTS_FOUND.format(n=rows, total=experts) if rows else texts.EXPERTS_NONE.format(words=words.strip()))


def own_list(own_experts: OwnExperts) -> Markup:
    """The visitor's own experts, each with its measured gain or loss, over the shared LoRA too where it was measured."""
    experts = [entry.expert for entry in own_experts.entries]
    lost = {e.name: [texts.OWN_LOST.format(share=f"{e.lost * 100:.0f}")] for e in experts if e.lost > 0.005}
    more = {e.name: mean_of_ways(e.after, "R@1") - mean_of_ways(e.shared, "R@1") for e in experts if e.measured and e.shared}
    over = {name: [texts.OWN_OVER_SHARED.format(gain=points)] for name, points in more.items()}
    return _html.own_list([(e, [gain(e), *over.get(e.name, []), *lost.get(e.name, [])]) for e in experts])


def trained(result: OwnExpert) -> Markup:
    """The result of a training, on photos that it did not see."""
    points = result.expert.gain(1) or 0.0
    start = mean_of_ways(result.start, "R@1") - mean_of_ways(result.expert.before, "R@1")
    verdict = texts.TRAINED_LOST if points <= 0 else texts.TRAINED_GAINED if points > start else texts.TRAINED_SHARED
    note = texts.TRAINED_START.format(start=start, points=100 / result.expert.before["images"])
    return _html.trained(result, "sg-ok" if points > 0 else "sg-warn", gain(result.expert), verdict, note)
