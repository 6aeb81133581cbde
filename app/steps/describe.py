"""Step 1: a sentence, and the experts that it is routed to."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import texts
from app.errors import friendly
from app.steps.step import LIGHT, Step, Updates, chosen, private
from app.views import experts_html, page_html
from app.visitors.session import Session
from core.common.errors import StudioError
from core.data.sample_photos import EXAMPLES
from core.sglora.engine import SGLora
from core.sglora.router import Routing


class Describe(Step):
    def layout(self) -> None:
        gr.HTML(page_html.step(1, texts.DESCRIBE, texts.DESCRIBE_LEAD))
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
                self.map = gr.HTML(elem_id="map")
            with gr.Column(min_width=320):
                self.routing = gr.HTML(page_html.note(texts.ROUTE_EMPTY), elem_id="routing")

    def wire(self) -> None:
        generate, compare = self.studio.generate, self.studio.compare
        # Typing routes at once; the last text wins.
        self.description.change(
            self.route,
            [self.studio.session, self.description, *generate.sliders],
            [self.routing, self.map, generate.lora],
            trigger_mode="always_last",
            **private(LIGHT, 2, "hidden"),
        )
        self.examples.click(_example, self.examples, [self.description, compare.query], **private(LIGHT, 2, "hidden"))

    def route(self, session: Session, description: str, k: float, tau: float, *_: Any) -> Updates:
        """Shown where the text is typed, so what is wrong with it is said there too, and not in a toast."""
        generate = self.studio.generate
        try:
            engine = self.engine(session)
            if not description.strip():
                return self.show(engine, session, None) | {generate.lora: gr.skip()}
            return self.show(engine, session, engine.route(description, int(k), tau)) | {
                generate.lora: generate.stale(engine, session, description)
            }
        except StudioError as error:
            return {self.routing: page_html.note(str(error), "sg-warn"), self.map: gr.skip(), generate.lora: gr.skip()}

    def show(self, engine: SGLora, session: Session, routing: Routing | None) -> Updates:
        """A routing, in words, as bars and on the map."""
        shown = page_html.note(texts.ROUTE_EMPTY) if routing is None else page_html.routing(engine, routing)
        owned = len(session.album.library(engine).own)
        return {self.routing: shown, self.map: experts_html.routing_map(engine.repository, routing, owned)}


@friendly
def _example(index: int) -> tuple[str, str]:
    return chosen(EXAMPLES, index)
