"""Names that the visitor teaches from photos. Every question uses them at once."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from app import name_actions, texts
from app.api import HEAVY
from app.cli_snippets import NAMES
from app.steps.context import Controls, Part, Updates
from app.steps.step import ANSWER, Step, clicked, private, rows, textbox
from app.views import page_html
from app.views.template import script
from app.visitors.album import LISTED
from app.visitors.question import Question
from app.visitors.session import Session
from core.common.errors import GalleryError
from core.names.file import save_names
from core.names.teach import TaughtNames, left_out


class Names(Step):
    def layout(self) -> None:
        """Lay out what was taught, always visible. ``panel`` teaches."""
        self.taught_chips = self.chips("names-chips", texts.NAMES_TAUGHT)

    def panel(self) -> None:
        with gr.Accordion(texts.NAMES_TITLE, open=False, elem_id="names") as self.folded:
            gr.HTML(page_html.note(texts.NAMES_LEAD))
            with gr.Row(equal_height=False, elem_classes="sg-ask"):
                self.photos = gr.Dropdown(
                    label=texts.NAMES_PHOTOS, choices=[], multiselect=True, scale=3, min_width=180, elem_id="names-photos"
                )
                self.name = textbox("names-name", texts.NAMES_NAME, texts.NAMES_PLACEHOLDER, scale=2, min_width=120)
                self.button = gr.Button(texts.NAMES_TEACH, variant="primary", scale=1, min_width=90, elem_id="names-teach")
            self.taught = gr.Radio(label=texts.NAMES_TAUGHT, choices=[], visible=False, elem_id="names-taught")
            with gr.Row():
                self.marks = gr.Button(texts.NAMES_MARKS, size="sm", min_width=150, visible=False, elem_id="names-marks")
                self.rename = gr.Button(texts.NAMES_RENAME, size="sm", min_width=100, visible=False, elem_id="names-rename")
                self.remove = gr.Button(texts.NAMES_REMOVE, size="sm", min_width=100, visible=False, elem_id="names-remove")
                self.save = gr.Button(texts.NAMES_SAVE, size="sm", min_width=100, visible=False, elem_id="names-save")
                self.load = gr.UploadButton(
                    texts.NAMES_LOAD, file_types=[".safetensors"], size="sm", min_width=100, elem_id="names-load"
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

    def _ask(self, session: Session, event: gr.SelectData, controls: Controls) -> Updates:
        name, _ = clicked(session.album.taught, _chip, event)
        return self.answer(session, Question.words(name), controls) | self.context.boxes(query=name)

    def _choose(self, session: Session, event: gr.SelectData, _: Controls) -> Updates:
        """Open the panel with this photo chosen."""
        if event.index not in _photo_names(session):
            raise GalleryError(texts.NOT_THERE)
        session.for_name.choose([event.index], session.ticked)
        return {self.folded: gr.Accordion(open=True), self.photos: self._box(session)}

    def _select(self, name: str | None, session: Session, _: Controls) -> Updates:
        """Select a name, to rename it or to give it more photos."""
        session.name = name or ""
        return {self.name: session.name}

    def _pick(self, photos: Sequence[str] | None, session: Session, _: Controls) -> Updates:
        session.for_name.choose(photos or [], session.ticked)
        return {}

    def _teach(self, name: str, photos: Sequence[str] | None, session: Session, controls: Controls) -> Updates:
        engine = self.context.engine(session)
        names = name_actions.teach(engine, session, name or "", photos or [])
        return self._taught(session, controls, names, len(photos or []))

    def _from_marks(self, name: str, session: Session, controls: Controls) -> Updates:
        names = name_actions.from_marks(self.context.engine(session), session, name or "")
        return self._taught(session, controls, names, len(session.ticked))

    def _taught(self, session: Session, controls: Controls, names: TaughtNames, photos: int) -> Updates:
        remarks = [str(remark) for remark in (*left_out(session.name, photos), *names.remarks())]
        return self._changed(session, controls, remarks) | {self.name: ""}

    def _rename(self, old: str | None, new: str, session: Session, controls: Controls) -> Updates:
        name_actions.rename(self.context.engine(session), session, old or "", new or "")
        return self._changed(session, controls) | {self.name: ""}

    def _remove(self, name: str | None, session: Session, controls: Controls) -> Updates:
        session.album.change_names(self.context.engine(session), lambda names: names.remove(name or ""))
        return self._changed(session, controls) | {self.name: ""}

    def _load(self, path: str, session: Session, controls: Controls) -> Updates:
        n, failed = name_actions.load(self.context.engine(session), session, path)
        return self._changed(session, controls, [texts.NAMES_LOADED.format(n=n), *failed])

    def _save(self, session: Session, _: Controls) -> str:
        names = session.album.names(self.context.engine(session))
        return str(session.album.write(NAMES, save_names(names)))

    def _changed(self, session: Session, controls: Controls, remarks: Sequence[str] = ()) -> Updates:
        return self.context.show_again(session, controls, Part.NAMES, *ANSWER) | {self.report: page_html.report(remarks)}

    def show(self, session: Session, _: Controls) -> Updates:
        choices = [(_chip(taught), taught[0]) for taught in session.album.taught]
        has_names = bool(choices)
        names = [name for _, name in choices]
        selected = session.name if session.name in names else next(reversed(names), None)
        ticked = not _photo_names(session).keys().isdisjoint(session.ticked)
        return {
            self.taught_chips: gr.Dataset(samples=rows(label for label, _ in choices), visible=has_names),
            self.photos: self._box(session),
            self.taught: gr.Radio(choices=choices, value=selected, visible=has_names),
            self.marks: gr.Button(visible=ticked),
        } | {button: gr.Button(visible=has_names) for button in (self.rename, self.remove, self.save)}

    def _box(self, session: Session) -> gr.Dropdown:
        """The box with the photos for the next name."""
        names = _photo_names(session)
        chosen = [photo for photo in session.for_name.all(session.ticked) if photo in names]
        listed = dict.fromkeys((*(photo.id for photo in session.album.photos[:LISTED]), *chosen))
        return gr.Dropdown(choices=[(names[photo], photo) for photo in listed], value=chosen, multiselect=True)


def _photo_names(session: Session) -> dict[str, str]:
    """The photos that can be taught, by key: the visitor's own, and those of a library in the last answer."""
    comparison = session.comparison
    columns = () if comparison is None or comparison.library is None else comparison.columns
    found = {hit.key: hit.label for column in columns for hit in column.ranking.hits}
    return found | {photo.id: photo.name for photo in session.album.photos}


def _chip(taught: tuple[str, int]) -> str:
    """What a chip says about a name and the number of its photos."""
    return page_html.taught_name(*taught)
