"""Step 1: a sentence, and the experts that it is routed to."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import texts, views
from app.session import Session
from app.steps.base import LIGHT, Step, Updates, private
from core.errors import StudioError
from core.samples import EXAMPLES


class Describe(Step):
    def layout(self) -> None:
        gr.HTML(views.step(1, texts.DESCRIBE, texts.DESCRIBE_LEAD))
        with gr.Row():
            with gr.Column(min_width=320):
                self.description = gr.Textbox(
                    label=texts.DESCRIPTION_LABEL,
                    placeholder=texts.DESCRIPTION_PLACEHOLDER,
                    lines=2,
                    max_lines=6,
                    elem_id="description",
                )
                self.examples = gr.Dataset(
                    label=texts.EXAMPLES_LABEL,
                    components=[self.description],
                    samples=[[description] for description, _ in EXAMPLES],
                    type="index",
                    elem_id="examples",
                )
            with gr.Column(min_width=320):
                self.routing = gr.HTML(views.note(texts.ROUTE_EMPTY), elem_id="routing")

    def wire(self) -> None:
        generate, compare = self.studio.generate, self.studio.compare
        # Typing routes at once; the last text wins.
        self.description.change(
            self.route,
            [self.studio.session, self.description, *generate.sliders],
            [self.routing, generate.lora],
            trigger_mode="always_last",
            **private(LIGHT, 2, "hidden"),
        )
        self.examples.click(_example, self.examples, [self.description, compare.query], **private(LIGHT, 2, "hidden"))

    def route(self, session: Session, description: str, k: float, tau: float, *_: Any) -> Updates:
        """Shown where the text is typed, so what is wrong with it is said there too, and not in a toast."""
        generate = self.studio.generate
        if not description.strip():
            return {self.routing: views.note(texts.ROUTE_EMPTY), generate.lora: gr.skip()}
        try:
            engine = self.engine(session)
            shown = views.routing(engine, engine.route(description, int(k), tau))
        except StudioError as error:
            shown = views.note(str(error), "sg-warn")
        return {self.routing: shown, generate.lora: generate.stale(session, description)}


def _example(index: int) -> tuple[str, str]:
    return EXAMPLES[index]
