"""“How it works”: each step of the method with its controls, and what it makes of the tab's sentence and question."""

from typing import Any

import gradio as gr

from app.page.step import Step, small, textbox
from app.page.view import Event, Now, Same, Updates
from app.page.views import method_html, page_html
from core.sglora.request import MAX_WEIGHTS, written_weights

BOXES = ("sentence", "experts", "prior", "draw", "decoder", "search")  # in the order of the method


class Method(Step):
    def layout(self) -> None:
        context, parts = self.context, dict[str, Any]()
        tour = self.t.html("TOUR_HTML", method_html.tour) if context.sources.samples is not None else ""
        context.tour = self.part("tour", tour, "tour")
        with gr.Row(equal_height=False, elem_classes="sg-how"):
            for name in BOXES:
                with gr.Column(min_width=0, elem_id=f"box-{name}"):
                    scripted = "weights" if name == "experts" else ""
                    parts[name] = self.part(f"how-{name}", page_html.note(self.t("LOADING")), scripted)
                    if name == "sentence":
                        self.sentence = textbox("sentence", self.t("HOW_SENTENCE"), self.t("DESCRIPTION_PLACEHOLDER"), 3)
                        self.other = textbox("other-sentence", self.t("HOW_OTHER"), self.t("OWN_DESCRIPTION_HINT"), 3)
                        self.path = gr.Slider(0, 1, 0, step=0.01, label=self.t("HOW_PATH"), elem_id="path")
                    if name == "draw":
                        self.draw = small(self.t("HOW_AGAIN"), "draw-again")
        context.bars.append(parts["experts"])
        found, self.parts = parts.pop("search"), parts
        self.shows(found, lambda now: method_html.search(now.tab), lambda now: Same(now.tab.answer), when="about")
        self.view([*parts.values(), self.sentence], lambda now: Same(now.tab.adaptation), self._draw, when="about")

    def wire(self) -> None:
        self.asks(self.sentence.submit, self._ask, [self.sentence], sets=["description", self.path])
        self.asks([self.other.submit, self.path.input], self._between, [self.other, self.path], sets=["weights"])
        self.asks(self.draw.click, lambda event: self._adapt(event, seed=event.controls.seed + 1), sets=["seed"])

    def _ask(self, event: Event, sentence: str) -> Updates:
        return self._adapt(event, description=sentence) | {self.path: 0}

    def _between(self, event: Event, other: str, t: float) -> Updates:
        """Take the weights on the path from the sentence to another one."""
        engine, wanted = event.engine, event.controls.request
        if wanted is None or not other.strip():
            return {}
        k = min(wanted.k, MAX_WEIGHTS // 2)
        first, last = (engine.route(sentence, k, wanted.tau) for sentence in (wanted.description, other))
        path, experts = first.between(last, t), engine.repository.experts
        weights = written_weights({experts[i].name: weight for i, weight in path.items()})
        return self._adapt(event, weights="\n".join([wanted.description, *weights]))

    def _draw(self, now: Now) -> Updates:
        boxes = method_html.boxes(now.engine, now.tab.adaptation)
        return {self.sentence: now.tab.asked.sentence} | {self.parts[name]: html for name, html in boxes.items()}
