"""Names that the visitor teaches from photos. Every question uses them at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import gradio as gr

from app.actions import teaching
from app.answers.commands import NAMES
from app.api import HEAVY
from app.languages import texts
from app.languages.texts import Text
from app.page.steps.context import ANSWER, Controls, Part, Updates
from app.page.steps.step import Step, clicked, private, rows, textbox
from app.page.views import page_html, results_html
from app.page.views.template import script
from app.visitors.tab import Tab
from core.names.file import save_names
from core.names.teach import TaughtNames, left_out
from core.sglora.engine import SGLora

# The chosen photos replace the strip's HTML as an input.
CHOSEN = "(kept, name, _, ...others) => [kept, name, document.body.dataset.forName ?? '[]', ...others]"
TAUGHT = "() => { document.body.dataset.forName = '[]'; document.dispatchEvent(new Event('sg-chosen')); }"


class Names(Step):
    def layout(self) -> None:
        """Lay out the taught names, always visible. ``panel`` teaches new ones."""
        self.taught_chips = self.chips("names-chips", self.t("NAMES_TAUGHT"))

    def panel(self) -> None:
        with gr.Accordion(self.t("NAMES_TITLE"), open=False, elem_id="names") as self.folded:
            gr.HTML(page_html.note(self.t("NAMES_LEAD")))
            self.strip = gr.HTML(js_on_load=script("strip"), elem_id="names-strip")
            with gr.Row(equal_height=False, elem_classes="sg-ask"):
                self.name = textbox("names-name", self.t("NAMES_NAME"), self.t("NAMES_PLACEHOLDER"), scale=2, min_width=120)
                self.button = gr.Button(self.t("NAMES_TEACH"), variant="primary", scale=1, min_width=90, elem_id="names-teach")
            self.taught = gr.Radio(label=self.t("NAMES_TAUGHT"), choices=[], visible=False, elem_id="names-taught")
            with gr.Row():
                self.marks = gr.Button(self.t("NAMES_MARKS"), size="sm", min_width=150, visible=False, elem_id="names-marks")
                self.rename = gr.Button(self.t("NAMES_RENAME"), size="sm", min_width=100, visible=False, elem_id="names-rename")
                self.remove = gr.Button(self.t("NAMES_REMOVE"), size="sm", min_width=100, visible=False, elem_id="names-remove")
                self.save = gr.Button(self.t("NAMES_SAVE"), size="sm", min_width=100, visible=False, elem_id="names-save")
                self.load = gr.UploadButton(
                    self.t("NAMES_LOAD"), file_types=[".safetensors"], size="sm", min_width=100, elem_id="names-load"
                )
            self.report = gr.HTML(elem_id="names-report")
        self.kept = gr.BrowserState(None, storage_key="sg-lora-studio-names", secret="sg-lora-studio")
        self.context.kept_names = self.kept
        shown = [self.taught_chips, self.taught, self.marks, self.rename, self.remove, self.save, self.kept]
        for part in (Part.NAMES, Part.PHOTOS):
            self.context.shows(part, shown, self.show)
        self.context.shows_once_open(self.folded.expand, [self.strip], self._strip, Part.RESULTS, Part.PHOTOS)

    def wire(self) -> None:
        shown = [self.report, self.name, self.taught]

        def changes(event: Any, handler: Callable[..., Updates], *first: Any, **options: Any) -> Any:
            # The browser's kept names go with each change: it may be the first event after a restart.
            return self.on(event, handler, [self.kept, *first], shown, (Part.NAMES, *ANSWER), self.report, HEAVY, **options)

        taught = changes([self.button.click, self.name.submit], self._teach, self.name, self.strip, js=CHOSEN)
        taught.success(None, js=TAUGHT, **private())
        changes(self.marks.click, self._from_marks, self.name)
        changes(self.rename.click, self._rename, self.taught, self.name)
        changes(self.remove.click, self._remove, self.taught)
        changes(self.load.upload, self._load, self.load)
        self.on(self.taught.input, self._select, [self.taught], [self.name])
        self.downloads(self.save, self._save, self.report)
        # The enlarged photo fires ``edit``.
        opened = self.on(self.context.answer.edit, self._open, (), [self.folded, self.strip])
        opened.then(None, js=script("to_the_name"), **private())
        self.answers(self.taught_chips.select, self._ask, trigger_mode="multiple")

    def _ask(self, tab: Tab, event: gr.SelectData, controls: Controls) -> Updates:
        name, _ = clicked(tab.visitor.taught, _chip, event.value)
        return self.answer(tab, controls, query=name)

    def _open(self, tab: Tab, controls: Controls) -> Updates:
        """Open the panel. The browser has chosen the photo."""
        tab.opened.add("names-strip")
        return self._strip(tab, controls) | {self.folded: gr.Accordion(open=True)}

    def _engine(self, kept: object, tab: Tab) -> SGLora:
        tab.visitor.hear_names(kept)
        return self.context.engine(tab)

    def _select(self, name: str | None, tab: Tab, _: Controls) -> Updates:
        """Select a name, to rename it or to give it more photos."""
        tab.name = name or ""
        return {self.name: tab.name}

    def _teach(self, kept: object, name: str, chosen: str | None, tab: Tab, controls: Controls) -> Updates:
        photos: list[str] = []
        with suppress(ValueError, TypeError):  # an API client may send anything
            photos = [key for key in json.loads(chosen or "[]") if isinstance(key, str)]
        names = teaching.from_photos(self._engine(kept, tab), tab, name or "", photos, None, self.context.sources)
        return self._taught(tab, controls, names, len(photos))

    def _from_marks(self, kept: object, name: str, tab: Tab, controls: Controls) -> Updates:
        names = teaching.from_marks(self._engine(kept, tab), tab, name or "", self.context.sources)
        return self._taught(tab, controls, names, len(tab.ticked))

    def _taught(self, tab: Tab, controls: Controls, names: TaughtNames, photos: int) -> Updates:
        return self._changed(tab, controls, left_out(tab.name, photos)) | {self.name: ""}

    def _rename(self, kept: object, old: str | None, new: str, tab: Tab, controls: Controls) -> Updates:
        teaching.rename(self._engine(kept, tab), tab, old or "", new or "")
        return self._changed(tab, controls) | {self.name: ""}

    def _remove(self, kept: object, name: str | None, tab: Tab, controls: Controls) -> Updates:
        tab.visitor.change_names(self._engine(kept, tab), lambda names: names.remove(name or ""))
        return self._changed(tab, controls) | {self.name: ""}

    def _load(self, kept: object, path: str, tab: Tab, controls: Controls) -> Updates:
        n, failed = teaching.from_file(self._engine(kept, tab), tab, path)
        return self._changed(tab, controls, [texts.NAMES_LOADED.format(n=n), *failed])

    def _save(self, tab: Tab, _: Controls) -> str:
        names = tab.visitor.names(self.context.engine(tab))
        return str(tab.visitor.files.write(NAMES, save_names(names)))

    def _changed(self, tab: Tab, controls: Controls, remarks: Sequence[Text] = ()) -> Updates:
        return self.context.show_again(tab, controls, Part.NAMES, *ANSWER) | {self.report: page_html.report(remarks)}

    def show(self, tab: Tab, _: Controls) -> Updates:
        kept = self._keep(tab)  # also restores the browser's names
        choices = [(_chip(taught), taught[0]) for taught in tab.visitor.taught]
        has_names = bool(choices)
        names = [name for _, name in choices]
        selected = tab.name if tab.name in names else next(reversed(names), None)
        shown = {
            self.taught_chips: gr.Dataset(samples=rows(label for label, _ in choices), visible=has_names),
            self.taught: gr.Radio(choices=choices, value=selected, visible=has_names),
            self.marks: gr.Button(visible=bool(tab.ticked)),
        }
        return kept | shown | {button: gr.Button(visible=has_names) for button in (self.rename, self.remove, self.save)}

    def _keep(self, tab: Tab) -> Updates:
        """Send the current names to the browser's storage. Shows a notice about damaged or too large ones."""
        visitor = tab.visitor
        if visitor.kept is None:  # the browser has not sent its names yet
            return {}
        names = visitor.names(self.context.engine(tab))
        if visitor.names_lost:
            visitor.names_lost = False
            gr.Warning(texts.NAMES_NOT_BACK)
        if names.entries is tab.names_sent:
            return {}
        tab.names_sent, visitor.kept = names.entries, visitor.kept.with_names(names)
        if names.entries and names.backbone.fingerprint not in visitor.kept.files:
            gr.Warning(texts.NAMES_NOT_KEPT)
        return {self.kept: visitor.kept.files}

    def _strip(self, tab: Tab, controls: Controls) -> Updates:
        """Photos to choose from: the results, or else the photos that are searched."""
        photos, files = self.context.photos(tab, controls)
        return {self.strip: results_html.strip(tab.comparison, tab.visitor.files, photos, files)}


def _chip(taught: tuple[str, int]) -> str:
    return page_html.taught_name(*taught)
