"""From the routed experts to a LoRA: its facts, its download, and the strength with which it is applied."""

from __future__ import annotations

from dataclasses import replace

import gradio as gr

from app import actions, texts
from app.cli_snippets import adapt_command
from app.comparison import Comparison
from app.steps.context import ANSWER, Controls, Part, Updates
from app.steps.step import Step, copied, private
from app.tab import Tab
from app.views import experts_html, page_html
from core.experts.projection import latent_map
from core.sglora.engine import Adaptation, SGLora
from core.sglora.request import DEFAULT_WEIGHT
from core.sglora.router import DEFAULT_K, DEFAULT_TAU

MOST = 2.0  # maximum of the strength's slider, if the strength scales the adapter


class Generate(Step):
    def layout(self) -> None:
        with gr.Row(equal_height=True, elem_classes="sg-made"):
            self.lora = gr.HTML(page_html.note(self.t("LORA_EMPTY")), elem_id="lora")
            self.download = gr.Button(
                self.t("DOWNLOAD"), size="sm", scale=0, min_width=150, interactive=False, elem_id="download"
            )

    def more(self) -> None:
        with gr.Row():
            with gr.Column(min_width=200):
                self.resample = gr.Button(texts.RESAMPLE, size="sm", interactive=False, elem_id="resample")
                self.varied = gr.HTML(elem_id="varied")
            self.strength = gr.Slider(
                0, MOST, DEFAULT_WEIGHT, step=0.01, label=texts.STRENGTH_LABEL, min_width=200, elem_id="strength"
            )
            self.seed = gr.Number(0, label=texts.SEED_LABEL, info=texts.SEED_INFO, precision=0, min_width=160, elem_id="seed")
            self.k = gr.Slider(1, 100, DEFAULT_K, step=1, label=texts.K_LABEL, info=texts.K_INFO, min_width=200, elem_id="k")
            self.tau = gr.Slider(
                0.01, 1, DEFAULT_TAU, step=0.01, label=texts.TAU_LABEL, info=texts.TAU_INFO, min_width=200, elem_id="tau"
            )
        with gr.Row():
            self.facts = gr.HTML(elem_id="facts")
            self.latent = gr.HTML(elem_id="latent")
        self.command = copied("command", texts.COMMAND_LABEL, max_lines=4)
        self.context.controls |= {"k": self.k, "tau": self.tau, "seed": self.seed, "strength": self.strength}
        self.context.shows(Part.ADAPTER, [self.lora, self.download, self.resample, self.varied, self.command], self.show)
        self.context.shows_once_open(Part.DETAILS, Part.ADAPTER, [self.facts, self.latent], self._details)
        self.context.shows(Part.EXPERTS, [self.k, self.strength], self._limits)

    def wire(self) -> None:
        # Sliders only redo what the page shows. A reset of the strength fires release.
        moved = [control.change for control in (self.k, self.tau, self.seed)]
        moved += [self.strength.input, self.strength.release]
        self.on(moved, self._redo, parts=ANSWER, trigger_mode="always_last")
        self.opens(self.context.drawer.expand, Part.DETAILS)
        self.downloads(self.download, self._write, self.lora)
        self.resample.click(None, None, self.seed, js="() => Math.floor(Math.random() * 10000)", **private())

    def _redo(self, tab: Tab, controls: Controls) -> Updates:
        before = tab.adaptation
        if before is None:
            return self.context.show(tab, controls, Part.ROUTING)
        # The sliders change the adapter that is shown, whatever the visitor is typing.
        asked = controls._replace(description=before.request.description).asked(tab.asked.question)
        answered, words = tab.comparison, ""
        shown = self.context.show_again(tab, controls, Part.ROUTING, Part.ADAPTER, Part.RESULTS, asked=asked)
        if controls.seed != before.request.seed and answered is not None and tab.comparison is not None:
            words = page_html.note(_varied(int(controls.seed), answered, tab.comparison, int(controls.top)))
        return shown | {self.varied: words}

    def _write(self, tab: Tab, _: Controls) -> str:
        return str(actions.write_zip(self.context.engine(tab), tab))

    def show(self, tab: Tab, _: Controls) -> Updates:
        adaptation = tab.adaptation
        if adaptation is None:
            return {
                self.lora: page_html.note(texts.LORA_EMPTY),
                self.download: gr.Button(interactive=bool(tab.visitor.taught)),
                self.resample: gr.Button(interactive=False),
                self.varied: "",
                self.command: gr.Textbox(value="", visible=False),
            }
        engine = self.context.engine(tab)
        made_from = replace(adaptation.request, strength=adaptation.strength)
        return {
            self.lora: page_html.adapter(engine, adaptation),
            self.download: gr.Button(interactive=True),
            self.resample: gr.Button(interactive=True),
            self.varied: "",  # it was about the previous adapter
            self.command: gr.Textbox(
                value=adapt_command(made_from, self.context.models.options(tab.visitor.backbone)),
                info=_command_info(engine, tab, adaptation),
                visible=True,
            ),
        }

    def _details(self, tab: Tab, _: Controls) -> Updates:
        """Show the adapter's size in each layer, and the sample in the latent space."""
        adaptation = tab.adaptation
        if adaptation is None:
            return {self.facts: "", self.latent: ""}
        engine = self.context.engine(tab)
        owned = len(tab.visitor.own_experts(engine).entries)
        space = latent_map(engine, adaptation.routing, adaptation.z, owned)
        latent = "" if space is None else experts_html.latent(engine.repository, adaptation.routing, space, owned)
        norms = self.context.models.engine(tab.visitor.backbone).expert_norms
        return {
            self.facts: page_html.adapter_details(adaptation, norms),
            self.latent: latent,
        }

    def _limits(self, tab: Tab, controls: Controls) -> Updates:
        engine = self.context.engine(tab)
        experts, most = max(2, len(engine.repository)), most_strength(engine)
        return {
            self.k: gr.Slider(maximum=experts, value=min(controls.k, experts)),
            self.strength: gr.Slider(maximum=most, value=min(controls.strength, most)),
        }


def _varied(seed: int, before: Comparison, after: Comparison, top: int) -> str:
    old_keys, new_keys = ([hit.key for hit in comparison.columns[-1].ranking.hits[:top]] for comparison in (before, after))
    moved = sum(key in old_keys and old_keys.index(key) != i for i, key in enumerate(new_keys))
    return texts.VARIED.format(seed=seed, new=len(set(new_keys) - set(old_keys)), moved=moved, top=len(new_keys))


def most_strength(engine: SGLora) -> float:
    return 1.0 if engine.mixes else MOST


def _command_info(engine: SGLora, tab: Tab, result: Adaptation) -> str:
    """A notice if own experts take part: the command line knows only the shipped ones."""
    shipped = len(tab.visitor.own_experts(engine).shipped)
    return texts.COMMAND_OWN if any(i >= shipped for i in result.routing.chosen.tolist()) else ""
