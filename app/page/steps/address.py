"""The page's address. A reload, Back or a shared link shows the same question again."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from app.answers.question import OWN, Question, Scope
from app.page.step import Step
from app.page.view import FILTERS, Controls, Event, Now, Updates
from app.photos.samples import OPENING
from core.common.errors import StudioError
from core.common.text import without_controls
from core.data.sample_photos import Example
from core.sglora.request import written_weights

SAMPLING = ("k", "tau", "seed", "strength")  # names in the address and in ``Controls``
ASKED = {"q": "query", "about": "description", "in": "where"} | {name: name for name in (*FILTERS, "weights")}
KINDS = ("similar", "photo")  # questions about a photo of the gallery, by its id


class Address(Step):
    def layout(self) -> None:
        address = self.address = self.part("address", "", "address", visible="hidden")
        self.shows(address, self._shown)

    def wire(self) -> None:
        self.asks(self.address.go, self._go, sets=[*ASKED.values(), *SAMPLING, "random"], trigger_mode="multiple")
        self.on(self.address.look)  # the visitor is back: another tab may have changed the photos or the names

    def _shown(self, now: Now) -> str:
        """The question and the sentence that were asked, and the numbers that differ from the usual ones."""
        question, request = now.tab.asked.question, now.tab.asked.request
        asked = {"q": now.tab.asked.words, "about": now.tab.asked.sentence, "in": now.controls.where}
        if question is not None:
            asked |= {name: str(getattr(question.scope, name) or "") for name in FILTERS}
            asked |= {question.kind: question.what} if question.kind in KINDS and not question.file else {}
            asked["in"] = question.scope.value
        if request is not None:
            usual = Controls(strength=now.engine.usual_strength)
            values = {name: getattr(request, name) for name in SAMPLING}
            asked["weights"] = "\n".join(written_weights(request.weights))
            asked |= {name: f"{value:g}" for name, value in values.items() if value not in (None, getattr(usual, name))}
        return urlencode({name: value for name, value in asked.items() if value and (name, value) != ("in", OWN)})

    def resume(self, event: Event, asked: Mapping[str, str], first: Example | None) -> Updates:
        """What a new tab asks: what the address says, or else the ``first`` example, if there is one. Returns the values of the
        controls. The question is asked once models and photos are there."""
        asked = _cleaned(asked)
        if not any(asked.get(name) for name in ASKED) and first is not None and not (event.visitor.has_own or event.had):
            asked = {"q": first.query, "about": first.description, "in": OPENING}
        values = self._values(asked, event.visitor.has_own or event.had)
        with suppress(StudioError):  # a made-up link: its error appears when the visitor asks
            wanted = Controls(**values).asked(self._question(asked, values))
            if wanted.request is not None and "strength" not in values:  # the usual one, which the models know
                wanted = replace(wanted, request=replace(wanted.request, strength=None))
            event.tab.asked = wanted
        return values

    def _go(self, event: Event) -> Updates:
        asked = _cleaned(dict(parse_qsl(str(event.data.get("search")).lstrip("?"))))
        values = {"strength": event.engine.usual_strength} | self._values(asked, event.visitor.has_own)
        return self.again(event, self._question(asked, values), **values)

    def _question(self, asked: Mapping[str, str], values: Mapping[str, Any]) -> Question | None:
        controls = Controls(**values)
        return next((Question(kind, asked[kind], None, controls.scope) for kind in KINDS if asked.get(kind)), controls.words)

    def _values(self, asked: Mapping[str, str], has_own: bool) -> dict[str, Any]:
        """The values of the controls. If the address does not say where to search: own photos for a question or a visitor with
        data, else the default."""
        values: dict[str, Any] = {name: asked.get(key, "") for key, name in ASKED.items()}
        where, own = self.context.controls["where"], any(asked.get(name) for name in ("q", *KINDS))
        own = own or (bool(Scope.of(where.value).samples) and has_own)
        wanted = values["where"] or (OWN if own else where.value)
        values["where"] = wanted if wanted in [choice for _, choice in where.choices] else where.value
        values["weights"] = f"{values['description']}\n{values['weights']}"
        values |= {name: getattr(Controls(), name) for name in SAMPLING if name != "strength"}
        for name in SAMPLING:
            with suppress(KeyError, ValueError):
                values[name] = float(asked[name])
        return values | {"random": bool(Scope.of(values["where"]).samples)}


def _cleaned(asked: Mapping[str, str]) -> dict[str, str]:
    """Without control characters: the server rejects calls that have them."""
    return {name: without_controls(value) for name, value in asked.items()}
