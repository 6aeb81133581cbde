"""Step 2: from the routed experts to a LoRA, its facts, and its download."""

from __future__ import annotations

import random
from typing import Any

import gradio as gr

from app import actions, texts
from app.cli_snippets import adapt_command
from app.errors import friendly
from app.steps.context import Controls, Part, Updates
from app.steps.step import LIGHT, Step, by_column, private
from app.views import experts_html, page_html
from app.visitors.session import Session
from core.sglora.compare import nearest_distances
from core.sglora.engine import DEFAULT_STRENGTH, Adaptation, SGLora
from core.sglora.projection import latent_map
from core.sglora.router import DEFAULT_K, DEFAULT_TAU


class Generate(Step):
    def layout(self) -> None:
        gr.HTML(page_html.step(2, texts.GENERATE, texts.GENERATE_LEAD))
        with gr.Row():
            with gr.Column(min_width=320):
                with gr.Row():
                    self.button = gr.Button(texts.GENERATE_BUTTON, variant="primary", min_width=150, elem_id="generate")
                    self.resample = gr.Button(texts.RESAMPLE, min_width=120, elem_id="resample")
                with gr.Accordion(texts.SETTINGS, open=False, elem_id="settings"):
                    self.follow = gr.Checkbox(True, label=texts.FOLLOW_LABEL, info=texts.FOLLOW_INFO, elem_id="follow")
                    self.strength = gr.Slider(
                        0,
                        2,
                        DEFAULT_STRENGTH,
                        step=0.01,
                        label=texts.STRENGTH_LABEL,
                        info=texts.STRENGTH_INFO,
                        interactive=False,
                        elem_id="strength",
                    )
                    self.seed = gr.Number(0, label=texts.SEED_LABEL, info=texts.SEED_INFO, precision=0, elem_id="seed")
                    self.k = gr.Slider(1, 100, DEFAULT_K, step=1, label=texts.K_LABEL, info=texts.K_INFO, elem_id="k")
                    self.tau = gr.Slider(
                        0.01, 1, DEFAULT_TAU, step=0.01, label=texts.TAU_LABEL, info=texts.TAU_INFO, elem_id="tau"
                    )
                self.download = gr.DownloadButton(texts.DOWNLOAD, interactive=False, elem_id="download")
                self.command = gr.Textbox(
                    label=texts.COMMAND_LABEL,
                    interactive=False,
                    buttons=["copy"],
                    max_lines=4,
                    visible=False,
                    elem_id="command",
                )
                self.latent = gr.HTML(elem_id="latent")
            with gr.Column(min_width=320):
                self.lora = gr.HTML(page_html.note(texts.LORA_EMPTY), elem_id="lora")
        controls = {"k": self.k, "tau": self.tau, "seed": self.seed, "follow": self.follow, "strength": self.strength}
        self.context.controls |= controls
        made = [self.lora, self.latent, self.download, self.command, self.strength]
        self.context.shows(Part.ADAPTER, made, self.show)
        self.context.shows(Part.LIMITS, [self.k], self._limits)

    def wire(self) -> None:
        context = self.context
        asked, shown = [context.session, *context.inputs], context.outputs(Part.ROUTING, Part.ADAPTER, Part.RESULTS)
        self.follow.change(_free, self.follow, self.strength, **private(LIGHT, 2, "hidden"))
        # Sliders redo what is on the page, and nothing that is not. The strength also moves on its own, to where it follows,
        # which is a change but neither input nor release; its reset is a release.
        moved = [control.change for control in (self.k, self.tau, self.seed, self.follow)]
        gr.on(
            [*moved, self.strength.input, self.strength.release],
            self._redo,
            asked,
            shown,
            trigger_mode="always_last",
            **private(LIGHT, 2, "hidden"),
        )
        self.resample.click(_another_seed, None, self.seed, **private(LIGHT, 2, "hidden"))
        gr.on(
            [self.button.click, context.controls["description"].submit],
            self._make,
            asked,
            shown,
            show_progress_on=self.lora,
            **private(LIGHT, 2),
        )

    @friendly
    def _make(self, session: Session, progress: gr.Progress = gr.Progress(), *values: Any) -> Updates:
        controls = Controls(*values)
        engine = self.context.engine(session)
        actions.generate(engine, session, actions.page_settings(*controls.adapter))
        actions.compare_again(engine, session, by_column(progress, len(session.album.photos)))
        return self.context.show(session, controls, Part.ROUTING, Part.ADAPTER, Part.RESULTS)

    @friendly
    def _redo(self, session: Session, *values: Any) -> Updates:
        controls = Controls(*values)
        if session.adaptation is None:
            return self.context.show(session, controls, Part.ROUTING)
        engine = self.context.engine(session)
        before = session.adaptation
        # The sliders speak about the adapter that is there, whatever is being typed above.
        wanted = controls._replace(description=before.routing.description)
        made = actions.generate(engine, session, actions.page_settings(*wanted.adapter))
        actions.compare_again(engine, session)
        same = before.routing is made.routing and before.z is made.z  # only the strength is another one
        return self.context.show(session, controls, *([] if same else [Part.ROUTING]), Part.ADAPTER, Part.RESULTS)

    def show(self, session: Session, controls: Controls) -> Updates:
        """The adapter's facts, where it lies, and its download."""
        made, wanted = session.adaptation, session.settings
        if made is None or wanted is None:
            return {
                self.lora: page_html.note(texts.LORA_EMPTY),
                self.latent: "",
                self.download: gr.DownloadButton(value=None, interactive=False),
                self.command: gr.Textbox(value="", visible=False),
            }
        engine = self.context.engine(session)
        download = actions.write_zip(engine, session, made)
        found = latent_map(engine, made.routing, made.z)
        owned = len(session.album.library(engine).own)
        models = self.context.models
        return {
            self.lora: self._facts(engine, session, made, download.weights, controls.description),
            self.latent: experts_html.latent(engine.repository, made.routing, found, owned),
            self.download: gr.DownloadButton(value=str(download.path), interactive=True),
            self.command: gr.Textbox(
                value=adapt_command(wanted, models.options(session.album.backbone)),
                info=_command_info(engine, session, made),
                visible=True,
            ),
            self.strength: gr.Slider(value=round(made.strength, 2)) if wanted.strength is None else gr.skip(),
        }

    def _facts(self, engine: SGLora, session: Session, result: Adaptation, weights: int, current: str) -> str:
        far = nearest_distances(engine.repository, result.routing, result.full)
        norms = self.context.models.engine(session.album.backbone).expert_norms
        follows = session.settings is not None and session.settings.strength is None
        return page_html.adapter(result, norms, weights, current, far, follows)

    def _limits(self, session: Session, controls: Controls) -> Updates:
        experts = len(self.context.engine(session).repository)
        return {self.k: gr.Slider(maximum=experts, value=min(controls.k, experts))}


def _command_info(engine: SGLora, session: Session, result: Adaptation) -> str:
    """The command line knows the shipped experts only."""
    shipped = len(session.album.library(engine).shipped)
    return texts.COMMAND_OWN if any(i >= shipped for i in result.routing.chosen.tolist()) else ""


def _free(follow: bool) -> Any:
    """The strength can be moved where it does not follow."""
    return gr.Slider(interactive=not follow)


def _another_seed() -> int:
    return random.randrange(10_000)
