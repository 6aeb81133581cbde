"""Step 2: from the routed experts to a LoRA, its facts, and its download."""

from __future__ import annotations

import random
from typing import Any

import gradio as gr

from app import actions, texts
from app.cli_snippets import adapt_command
from app.errors import friendly
from app.steps.step import LIGHT, Step, Updates, by_column, private
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
        self.sliders = [self.k, self.tau, self.seed, self.follow, self.strength]

    @property
    def controls(self) -> list[Any]:
        """All that an adapter is made from."""
        return [self.studio.describe.description, *self.sliders]

    @property
    def made(self) -> list[Any]:
        """All that shows an adapter."""
        describe = self.studio.describe
        shown = [describe.routing, describe.map, self.lora, self.latent, self.download, self.command, self.strength]
        return [self.studio.session, *shown]

    def wire(self) -> None:
        compare, session = self.studio.compare, self.studio.session
        asked, shown = [session, *self.controls, *compare.view], [*self.made, *compare.shown]
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
            [self.button.click, self.studio.describe.description.submit],
            self._make,
            asked,
            shown,
            show_progress_on=self.lora,
            **private(LIGHT, 2),
        )

    @friendly
    def _make(self, session: Session, progress: gr.Progress = gr.Progress(), *values: Any) -> Updates:
        *controls, only_changed, top = values
        engine = self.engine(session)
        updates = self.adapter(engine, session, *controls)
        actions.compare_again(engine, session, by_column(progress, len(session.album.photos)))
        return updates | self.studio.compare.results(session, only_changed, top)

    @friendly
    def _redo(self, session: Session, description: str, *values: Any) -> Updates:
        *controls, only_changed, top = values
        if session.adaptation is None:
            shown = self.studio.describe.route(session, description, *controls)
            return {self.studio.session: session} | shown
        # An adapter is there: the sliders speak about that one, whatever is being typed above.
        engine = self.engine(session)
        updates = self.adapter(engine, session, session.adaptation.routing.description, *controls, current=description)
        actions.compare_again(engine, session)
        return updates | self.studio.compare.results(session, only_changed, top)

    def adapter(
        self,
        engine: SGLora,
        session: Session,
        description: str,
        k: float,
        tau: float,
        seed: float,
        follow: bool,
        strength: float,
        current: str | None = None,
    ) -> Updates:
        """Generate an adapter (where the settings changed) and show it."""
        wanted = actions.page_settings(description, k, tau, seed, follow, strength)
        before = session.adaptation
        result = actions.generate(engine, session, wanted)
        download = actions.write_zip(engine, session, result)
        updates = {
            self.studio.session: session,
            self.lora: self._facts(engine, session, result, download.weights, current or description),
            self.download: gr.DownloadButton(value=str(download.path), interactive=True),
            self.command: gr.Textbox(
                value=adapt_command(wanted, self.studio.models.options(session.album.backbone)),
                info=_command_info(engine, session, result),
                visible=True,
            ),
            self.strength: gr.Slider(value=round(result.strength, 2)) if follow else gr.skip(),
        }
        if before is not None and before.routing is result.routing and before.z is result.z:
            return updates  # only the strength is another one: routing and sample are on the page already
        found = latent_map(engine, result.routing, result.z)
        owned = len(session.album.library(engine).own)
        drawn = experts_html.latent(engine.repository, result.routing, found, owned)
        return updates | self.studio.describe.show(engine, session, result.routing) | {self.latent: drawn}

    def nothing(self) -> Updates:
        """No adapter is there."""
        return {
            self.lora: page_html.note(texts.LORA_EMPTY),
            self.latent: "",
            self.download: gr.DownloadButton(value=None, interactive=False),
            self.command: gr.Textbox(value="", visible=False),
        }

    def _facts(self, engine: SGLora, session: Session, result: Adaptation, weights: int, current: str) -> str:
        far = nearest_distances(engine.repository, result.routing, result.full)
        norms = self.studio.models.engine(session.album.backbone).expert_norms
        follows = session.settings is not None and session.settings.strength is None
        return page_html.adapter(result, norms, weights, current, far, follows)

    def stale(self, engine: SGLora, session: Session, description: str) -> Any:
        """The adapter's facts again, with a remark where the sentence above is another one by now."""
        if session.adaptation is None or session.download is None or session.repository is not engine.repository:
            return gr.skip()
        return self._facts(engine, session, session.adaptation, session.download.weights, description)


def _command_info(engine: SGLora, session: Session, result: Adaptation) -> str:
    """The command line knows the shipped experts only."""
    shipped = len(session.album.library(engine).shipped)
    return texts.COMMAND_OWN if any(i >= shipped for i in result.routing.chosen.tolist()) else ""


def _free(follow: bool) -> Any:
    """The strength can be moved where it does not follow."""
    return gr.Slider(interactive=not follow)


def _another_seed() -> int:
    return random.randrange(10_000)
