"""Names that the visitor teaches from photos. Every question uses them at once."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from app import name_actions, texts
from app.api import HEAVY
from app.cli_snippets import NAMES
from app.question import Question
from app.steps.context import ANSWER, Controls, Part, Updates
from app.steps.step import Step, clicked, private, rows, textbox
from app.tab import Tab
from app.texts import Text
from app.views import page_html
from app.views.template import script
from app.visitor import LISTED
from core.common.errors import GalleryError
from core.names.file import save_names
from core.names.teach import TaughtNames, left_out


class Names(Step):
    def layout(self) -> None:
        """Lay out what was taught, always visible. ``panel`` teaches."""
        self.taught_chips = self.chips("names-chips", self.t("NAMES_TAUGHT"))

    def panel(self) -> None:
        with gr.Accordion(self.t("NAMES_TITLE"), open=False, elem_id="names") as self.folded:
            gr.HTML(page_html.note(self.t("NAMES_LEAD")))
            with gr.Row(equal_height=False, elem_classes="sg-ask"):
                self.photos = gr.Dropdown(
                    label=self.t("NAMES_PHOTOS"),
                    choices=[],
                    multiselect=True,
                    scale=3,
                    min_width=180,
                    elem_id="names-photos",
                )
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
        shown = [self.taught_chips, self.photos, self.taught, self.marks, self.rename, self.remove, self.save]
        self.context.shows(Part.NAMES, shown, self.show)
        self.context.shows(Part.PHOTOS, shown, self.show)

    def wire(self) -> None:
        shown = [self.report, self.name, self.taught, self.photos]
        for event, handler, first in (
            ([self.button.click, self.name.submit], self._teach, [self.name, self.photos]),
            (self.marks.click, self._from_marks, [self.name]),
            (self.rename.click, self._rename, [self.taught, self.name]),
            (self.remove.click, self._remove, [self.taught]),
            (self.load.upload, self._load, [self.load]),
        ):
            self.on(event, handler, first, shown, (Part.NAMES, *ANSWER), self.report, HEAVY)
        self.on(self.taught.input, self._select, [self.taught], [self.name])
        self.on(self.photos.input, self._pick, [self.photos])
        self.downloads(self.save, self._save, self.report)
        # The enlarged photo fires ``edit``.
        opened = self.on(self.context.answer.edit, self._choose, (), [self.folded, self.photos])
        opened.then(None, js=script("to_the_name"), **private())
        self.answers(self.taught_chips.select, self._ask, [self.context.controls["query"]], trigger_mode="multiple")

    def _ask(self, tab: Tab, event: gr.SelectData, controls: Controls) -> Updates:
        name, _ = clicked(tab.visitor.taught, _chip, event)
        return self.answer(tab, Question.words(name, controls.scope), controls) | self.context.boxes(query=name)

    def _choose(self, tab: Tab, event: gr.SelectData, _: Controls) -> Updates:
        """Open the panel with this photo chosen."""
        if event.index not in _photo_names(tab):
            raise GalleryError(texts.NOT_THERE)
        tab.for_name.choose([event.index], tab.ticked)
        return {self.folded: gr.Accordion(open=True), self.photos: self._box(tab)}

    def _select(self, name: str | None, tab: Tab, _: Controls) -> Updates:
        """Select a name, to rename it or to give it more photos."""
        tab.name = name or ""
        return {self.name: tab.name}

    def _pick(self, photos: Sequence[str] | None, tab: Tab, _: Controls) -> Updates:
        tab.for_name.choose(photos or [], tab.ticked)
        return {}

    def _teach(self, name: str, photos: Sequence[str] | None, tab: Tab, controls: Controls) -> Updates:
        engine = self.context.engine(tab)
        names = name_actions.teach(engine, tab, name or "", photos or [], None, self.context.sources)
        return self._taught(tab, controls, names, len(photos or []))

    def _from_marks(self, name: str, tab: Tab, controls: Controls) -> Updates:
        names = name_actions.from_marks(self.context.engine(tab), tab, name or "", self.context.sources)
        return self._taught(tab, controls, names, len(tab.ticked))

    def _taught(self, tab: Tab, controls: Controls, names: TaughtNames, photos: int) -> Updates:
        return self._changed(tab, controls, [*left_out(tab.name, photos), *names.remarks()]) | {self.name: ""}

    def _rename(self, old: str | None, new: str, tab: Tab, controls: Controls) -> Updates:
        name_actions.rename(self.context.engine(tab), tab, old or "", new or "")
        return self._changed(tab, controls) | {self.name: ""}

    def _remove(self, name: str | None, tab: Tab, controls: Controls) -> Updates:
        tab.visitor.change_names(self.context.engine(tab), lambda names: names.remove(name or ""))
        return self._changed(tab, controls) | {self.name: ""}

    def _load(self, path: str, tab: Tab, controls: Controls) -> Updates:
        n, failed = name_actions.load(self.context.engine(tab), tab, path)
        return self._changed(tab, controls, [texts.NAMES_LOADED.format(n=n), *failed])

    def _save(self, tab: Tab, _: Controls) -> str:
        names = tab.visitor.names(self.context.engine(tab))
        return str(tab.visitor.files.write(NAMES, save_names(names)))

    def _changed(self, tab: Tab, controls: Controls, remarks: Sequence[Text] = ()) -> Updates:
        return self.context.show_again(tab, controls, Part.NAMES, *ANSWER) | {self.report: page_html.report(remarks)}

    def show(self, tab: Tab, _: Controls) -> Updates:
        choices = [(_chip(taught), taught[0]) for taught in tab.visitor.taught]
        has_names = bool(choices)
        names = [name for _, name in choices]
        selected = tab.name if tab.name in names else next(reversed(names), None)
        ticked = not _photo_names(tab).keys().isdisjoint(tab.ticked)
        return {
            self.taught_chips: gr.Dataset(samples=rows(label for label, _ in choices), visible=has_names),
            self.photos: self._box(tab),
            self.taught: gr.Radio(choices=choices, value=selected, visible=has_names),
            self.marks: gr.Button(visible=ticked),
        } | {button: gr.Button(visible=has_names) for button in (self.rename, self.remove, self.save)}

    def _box(self, tab: Tab) -> gr.Dropdown:
        """The box with the photos for the next name."""
        names, comparison = _photo_names(tab), tab.comparison
        chosen = [photo for photo in tab.for_name.all(tab.ticked) if photo in names]
        gallery = [*tab.visitor.photos[:LISTED], *(() if comparison is None else comparison.photos[:LISTED])]
        listed = dict.fromkeys((*(photo.id for photo in gallery if photo.id in names), *chosen))
        return gr.Dropdown(choices=[(names[photo], photo) for photo in listed], value=chosen, multiselect=True)


def _photo_names(tab: Tab) -> dict[str, str]:
    """The photos that can be taught, by key: the visitor's own, the samples once they are asked, and a library's results."""
    comparison, own = tab.comparison, {photo.id: photo.name for photo in tab.visitor.photos}
    if comparison is None:
        return own
    samples = comparison.photos if comparison.asked.scope.samples else ()
    columns = comparison.columns if comparison.library is not None else ()
    found = {hit.key: hit.label for column in columns for hit in column.ranking.hits}
    return found | {photo.id: photo.name for photo in samples} | own


def _chip(taught: tuple[str, int]) -> str:
    """What a chip says about a name and the number of its photos."""
    return page_html.taught_name(*taught)
