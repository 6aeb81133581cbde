"""From the routed experts to a LoRA: its facts, its download, and the strength with which it is applied."""

from __future__ import annotations

from dataclasses import replace

import gradio as gr

from app.actions import answering
from app.answers.commands import adapt_command
from app.languages import texts
from app.page.steps.context import ANSWER, Controls, Part, Updates
from app.page.steps.step import Step, copied, private
from app.page.views import page_html
from app.visitors.tab import Tab
from core.sglora.request import DEFAULT_WEIGHT
from core.sglora.router import DEFAULT_K, DEFAULT_TAU

MOST = 2.0  # maximum of the strength's slider, if the strength scales the adapter


class Generate(Step):
    def layout(self) -> None:
        with gr.Row(equal_height=True, elem_classes="sg-made"):
            self.lora = gr.HTML(page_html.note(self.t("LORA_EMPTY")), elem_id="lora")
            self.download = gr.Button(self.t("DOWNLOAD"), size="sm", scale=0, min_width=150, elem_id="download")

    def more(self) -> None:
        with gr.Row():
            self.resample = gr.Button(texts.RESAMPLE, size="sm", min_width=200, elem_id="resample")
            self.strength = gr.Slider(
                0, MOST, DEFAULT_WEIGHT, step=0.01, label=texts.STRENGTH_LABEL, min_width=200, elem_id="strength"
            )
            self.seed = gr.Number(0, label=texts.SEED_LABEL, info=texts.SEED_INFO, precision=0, min_width=160, elem_id="seed")
            self.k = gr.Slider(1, 100, DEFAULT_K, step=1, label=texts.K_LABEL, info=texts.K_INFO, min_width=200, elem_id="k")
            self.tau = gr.Slider(
                0.01, 1, DEFAULT_TAU, step=0.01, label=texts.TAU_LABEL, info=texts.TAU_INFO, min_width=200, elem_id="tau"
            )
        self.facts = gr.HTML(elem_id="facts")
        self.command = copied("command", texts.COMMAND_LABEL, max_lines=4)
        self.context.controls |= {"k": self.k, "tau": self.tau, "seed": self.seed, "strength": self.strength}
        self.context.shows(Part.ADAPTER, [self.lora, self.command], self.show)
        self.context.shows_once_open(self.context.drawer.expand, [self.facts], self._details, Part.ADAPTER)
        self.context.shows(Part.EXPERTS, [self.k, self.strength], self._limits)

    def wire(self) -> None:
        # Sliders only redo what the page shows. A reset of the strength fires release.
        moved = [control.change for control in (self.k, self.tau, self.seed)]
        moved += [self.strength.input, self.strength.release]
        self.on(moved, self._redo, parts=ANSWER, trigger_mode="always_last")
        self.downloads(self.download, self._write, self.lora)
        self.resample.click(None, None, self.seed, js="() => Math.floor(Math.random() * 10000)", **private())

    def _redo(self, tab: Tab, controls: Controls) -> Updates:
        if tab.adaptation is None:
            return self.context.show(tab, controls, Part.ROUTING)
        # The sliders change the adapter that is shown, whatever the visitor is typing.
        asked = controls._replace(description=tab.adaptation.request.description).asked(tab.asked.question)
        return self.context.show_again(tab, controls, *ANSWER, asked=asked)

    def _write(self, tab: Tab, _: Controls) -> str:
        return str(answering.write_zip(self.context.engine(tab), tab))

    def show(self, tab: Tab, _: Controls) -> Updates:
        adaptation, engine = tab.adaptation, self.context.engine(tab)
        if adaptation is None:
            return {self.lora: page_html.note(texts.LORA_EMPTY), self.command: gr.Textbox(visible=False)}
        request = replace(adaptation.request, strength=adaptation.strength)
        command = adapt_command(request, self.context.models.options(tab.visitor.backbone))
        # The command line knows only the shipped experts.
        own = int(adaptation.routing.chosen.max()) >= len(tab.visitor.own_experts(engine).shipped)
        shown = gr.Textbox(command, info=texts.COMMAND_OWN if own else "", visible=True)
        return {self.lora: page_html.adapter(engine, adaptation), self.command: shown}

    def _details(self, tab: Tab, _: Controls) -> Updates:
        """Show the adapter's facts."""
        return {self.facts: "" if tab.adaptation is None else page_html.adapter_details(tab.adaptation)}

    def _limits(self, tab: Tab, controls: Controls) -> Updates:
        engine = self.context.engine(tab)
        experts, most = max(2, len(engine.repository)), 1.0 if engine.mixes else MOST
        return {
            self.k: gr.Slider(maximum=experts, value=min(controls.k, experts)),
            self.strength: gr.Slider(maximum=most, value=min(controls.strength, most)),
        }
