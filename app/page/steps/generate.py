"""From the routed experts to a LoRA: its facts, its download, and the strength with which it is applied."""

import secrets
from dataclasses import replace
from typing import Any

import gradio as gr

from app.actions.adapters import write_zip
from app.answers.commands import adapt_command
from app.languages import texts
from app.page.step import Step, copied, small
from app.page.view import Event, Now, Same, Updates
from app.page.views import page_html
from core.sglora.request import DEFAULT_WEIGHT
from core.sglora.router import DEFAULT_K, DEFAULT_TAU

MOST = 2.0  # maximum of the strength's slider, if the strength scales the adapter


class Generate(Step):
    def layout(self) -> None:
        with gr.Row(equal_height=True, elem_classes="sg-made"):
            self.lora = self.part("lora", page_html.note(self.t("LORA_EMPTY")))
            self.without = small(self.t("WITHOUT_SENTENCE"), "without-sentence", 170, scale=0)
            self.download = small(self.t("DOWNLOAD"), "download", 150, scale=0)
        self.sight(self.without, _may_cost)

    def more(self) -> None:
        with gr.Row():
            self.resample = small(texts.RESAMPLE, "resample", 200)
            self.strength = gr.Slider(
                0, MOST, DEFAULT_WEIGHT, step=0.01, label=texts.STRENGTH_LABEL, min_width=200, elem_id="strength"
            )
            self.seed = gr.Number(0, label=texts.SEED_LABEL, info=texts.SEED_INFO, precision=0, min_width=160, elem_id="seed")
            self.k = gr.Slider(1, 100, DEFAULT_K, step=1, label=texts.K_LABEL, info=texts.K_INFO, min_width=200, elem_id="k")
            self.tau = gr.Slider(
                0.01, 1, DEFAULT_TAU, step=0.01, label=texts.TAU_LABEL, info=texts.TAU_INFO, min_width=200, elem_id="tau"
            )
        facts = self.part("facts")
        self.command = copied("command", texts.COMMAND_LABEL, max_lines=4)
        self.context.controls |= {"k": self.k, "tau": self.tau, "seed": self.seed, "strength": self.strength}
        self.view([self.lora, self.command], lambda now: Same(now.tab.adaptation), self._draw)
        self.shows(facts, self._facts, lambda now: Same(now.tab.adaptation), when="drawer")
        limits = [self.k, self.strength]
        self.view(limits, lambda now: (now.visitor.backbone, len(now.engine.repository)), self._draw_limits)

    def wire(self) -> None:
        # A reset of the strength fires release.
        moved = [control.input for control in (self.k, self.tau, self.strength, self.seed)]
        moved += [control.release for control in (self.k, self.tau, self.strength)]
        self.asks(moved, self._redo)
        self.asks(self.without.click, self._without, sets=["description"])
        self.downloads(self.download.click, self._write, self.lora)
        self.asks(self.resample.click, lambda event: self._redo(event, seed=secrets.randbelow(10_000)), sets=["seed"])

    def _redo(self, event: Event, **values: Any) -> Updates:
        if (made := event.tab.adaptation) is not None:
            # The sliders change the adapter that is shown, whatever the visitor is typing.
            self.again(event, event.tab.asked.question, description=made.request.description, **values)
        return values

    def _without(self, event: Event) -> Updates:
        return self.again(event, event.tab.asked.question, description="")

    def _write(self, event: Event) -> str:
        return str(write_zip(event.engine, event.visitor, event.tab.adaptation))

    def _draw(self, now: Now) -> Updates:
        adaptation, engine = now.tab.adaptation, now.engine
        if adaptation is None:
            return {self.lora: page_html.note(texts.LORA_EMPTY), self.command: gr.Textbox(visible=False)}
        request = replace(adaptation.request, strength=adaptation.strength)
        command = adapt_command(request, now.models.options(now.visitor.backbone))
        # The command line knows only the shipped experts.
        own = int(adaptation.routing.chosen.max()) >= len(now.visitor.own_experts(engine).shipped)
        shown = gr.Textbox(command, info=texts.COMMAND_OWN if own else "", visible=True)
        return {self.lora: page_html.adapter(engine, adaptation), self.command: shown}

    def _facts(self, now: Now) -> str:
        return "" if now.tab.adaptation is None else page_html.adapter_details(now.engine, now.tab.adaptation)

    def _draw_limits(self, now: Now) -> Updates:
        """Until a sentence is asked with another strength, the slider has the experts' usual one."""
        engine, request = now.engine, now.tab.asked.request
        # No fewer than the default: Gradio rejects an event that was sent with it meanwhile.
        experts, most = max(DEFAULT_K, len(engine.repository)), 1.0 if engine.mixes else MOST
        usual = engine.usual_strength if request is None or request.strength is None else min(now.controls.strength, most)
        return {
            self.k: gr.Slider(maximum=experts, value=min(now.controls.k, experts)),
            self.strength: gr.Slider(maximum=most, value=usual),
        }


def _may_cost(now: Now) -> bool:
    """Whether a sentence is applied, and search without it is known to find more, or nothing is known."""
    made, counted = now.tab.adaptation, now.tab.counted
    return made is not None and made.fits and (counted is None or not counted.measurable or counted.costs)
