"""From the routed experts to a LoRA: its facts, its download, and the strength with which it is applied."""

from __future__ import annotations

import random
from dataclasses import replace

import gradio as gr

from app import actions, texts
from app.cli_snippets import adapt_command
from app.steps.context import Controls, Part, Updates
from app.steps.step import ANSWER, Step, copied, private
from app.views import experts_html, page_html
from app.visitors.comparison import Comparison
from app.visitors.session import Session
from core.experts.compare import nearest_distances
from core.experts.projection import latent_map
from core.sglora.engine import Adaptation, SGLora
from core.sglora.request import DEFAULT_WEIGHT
from core.sglora.router import DEFAULT_K, DEFAULT_TAU

MOST = 2.0  # end of the strength's slider, if the strength scales the adapter


class Generate(Step):
    def layout(self) -> None:
        with gr.Row(equal_height=True, elem_classes="sg-made"):
            self.lora = gr.HTML(page_html.note(texts.LORA_EMPTY), elem_id="lora")
            self.download = gr.Button(texts.DOWNLOAD, size="sm", scale=0, min_width=150, interactive=False, elem_id="download")

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
        # Sliders only redo what the page shows. A loaded session changes the strength too, but fires neither input nor release.
        # A reset of the strength fires release.
        moved = [control.change for control in (self.k, self.tau, self.seed)]
        moved += [self.strength.input, self.strength.release]
        self.on(moved, self._redo, parts=ANSWER, trigger_mode="always_last")
        self.opens(self.context.drawer.expand, Part.DETAILS)
        self.downloads(self.download, self._write, self.lora)
        self.resample.click(lambda: random.randrange(10_000), None, self.seed, **private())

    def _redo(self, session: Session, controls: Controls) -> Updates:
        before = session.adaptation
        if before is None:
            return self.context.show(session, controls, Part.ROUTING)
        # The sliders change the adapter that is shown, whatever the visitor is typing.
        wanted, engine = actions.request(before.request.description, *controls[1:5]), self.context.engine(session)
        adaptation = actions.generate(engine, session, wanted)
        answered, words = session.comparison, ""
        same = before.routing is adaptation.routing  # only the strength or the sample changed
        shown = self.context.show_again(session, controls, *([] if same else [Part.ROUTING]), Part.ADAPTER, Part.RESULTS)
        if wanted.seed != before.request.seed and answered is not None and session.comparison is not None:
            words = page_html.note(_varied(wanted.seed, answered, session.comparison, int(controls.top)))
        return shown | {self.varied: words}

    def _write(self, session: Session, _: Controls) -> str:
        return str(actions.write_zip(self.context.engine(session), session))

    def show(self, session: Session, _: Controls) -> Updates:
        adaptation = session.adaptation
        if adaptation is None:
            return {
                self.lora: page_html.note(texts.LORA_EMPTY),
                self.download: gr.Button(interactive=bool(session.album.taught)),
                self.resample: gr.Button(interactive=False),
                self.varied: "",
                self.command: gr.Textbox(value="", visible=False),
            }
        engine = self.context.engine(session)
        made_from = replace(adaptation.request, strength=adaptation.strength)
        return {
            self.lora: page_html.adapter(engine.repository, adaptation),
            self.download: gr.Button(interactive=True),
            self.resample: gr.Button(interactive=True),
            self.varied: "",  # it told about an adapter before
            self.command: gr.Textbox(
                value=adapt_command(made_from, self.context.models.options(session.album.backbone)),
                info=_command_info(engine, session, adaptation),
                visible=True,
            ),
        }

    def _details(self, session: Session, _: Controls) -> Updates:
        """Show the adapter's size in each layer, its distances to the experts, and the sample in the latent space."""
        adaptation = session.adaptation
        if adaptation is None:
            return {self.facts: "", self.latent: ""}
        engine = self.context.engine(session)
        owned = len(session.album.own_experts(engine).entries)
        space = latent_map(engine, adaptation.routing, adaptation.z, owned)
        norms = self.context.models.engine(session.album.backbone).expert_norms
        distances = nearest_distances(engine.repository, adaptation.routing, adaptation.full)
        return {
            self.facts: page_html.adapter_details(adaptation, norms, distances),
            self.latent: experts_html.latent(engine.repository, adaptation.routing, space, owned),
        }

    def _limits(self, session: Session, controls: Controls) -> Updates:
        engine = self.context.engine(session)
        experts, most = len(engine.repository), most_strength(engine)
        return {
            self.k: gr.Slider(maximum=experts, value=min(controls.k, experts)),
            self.strength: gr.Slider(maximum=most, value=min(controls.strength, most)),
        }


def _varied(seed: int, before: Comparison, after: Comparison, top: int) -> str:
    old_keys, new_keys = ([hit.key for hit in comparison.columns[-1].ranking.hits[:top]] for comparison in (before, after))
    moved = sum(key in old_keys and old_keys.index(key) != place for place, key in enumerate(new_keys))
    return texts.VARIED.format(seed=seed, new=len(set(new_keys) - set(old_keys)), moved=moved, top=len(new_keys))


def most_strength(engine: SGLora) -> float:
    """The end of the strength's slider."""
    return 1.0 if engine.mixes else MOST


def _command_info(engine: SGLora, session: Session, result: Adaptation) -> str:
    """A notice if own experts take part: the command line knows only the shipped ones."""
    shipped = len(session.album.own_experts(engine).shipped)
    return texts.COMMAND_OWN if any(i >= shipped for i in result.routing.chosen.tolist()) else ""
