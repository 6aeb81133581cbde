"""Step 3: the visitor's photos and their captions."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import actions, texts
from app.errors import friendly
from app.steps.compare import DEFAULT_TOP
from app.steps.step import HEAVY, LIGHT, Step, Updates, by_photo, chosen, private
from app.views import page_html
from app.visitors.session import PHOTO_LIMIT, Session


class Photos(Step):
    def layout(self) -> None:
        minutes = f"{self.studio.keeper.limits.keep_seconds / 60:g}"
        lead = texts.GALLERY_LEAD.format(limit=PHOTO_LIMIT, minutes=minutes)
        gr.HTML(page_html.step(3, texts.GALLERY, lead))
        with gr.Row():
            with gr.Column(min_width=320):
                self.upload = gr.File(label=texts.UPLOAD_LABEL, file_count="multiple", height=150, elem_id="upload")
                with gr.Row():
                    self.samples = gr.Button(texts.SAMPLES, min_width=150, elem_id="samples")
                    self.remove = gr.Button(texts.REMOVE, min_width=150, interactive=False, elem_id="remove")
                    self.clear = gr.Button(texts.CLEAR, min_width=100, elem_id="clear")
                self.report = gr.HTML(elem_id="report")
                with gr.Accordion(texts.CAPTIONS, open=False, elem_id="captions"):
                    self.typed = gr.Textbox(
                        label=texts.CAPTIONS_LABEL,
                        placeholder=texts.CAPTIONS_PLACEHOLDER,
                        lines=4,
                        max_lines=12,
                        elem_id="typed",
                    )
                    with gr.Row():
                        self.use_typed = gr.Button(texts.CAPTIONS_SAVE, min_width=140, elem_id="use-typed")
                        self.use_names = gr.Button(texts.CAPTIONS_NAMES, min_width=140, elem_id="use-names")
            with gr.Column(min_width=320):
                self.gallery = gr.Gallery(
                    label=texts.GALLERY_LABEL,
                    columns=5,
                    height=330,
                    object_fit="cover",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    elem_id="gallery",
                )
                self.fill = gr.HTML(page_html.note(texts.GALLERY_EMPTY), elem_id="fill")

    @property
    def shown(self) -> list[Any]:
        """All that shows the gallery."""
        return [self.gallery, self.fill, self.studio.compare.pick, self.remove, self.report]

    def wire(self) -> None:
        session, compare = self.studio.session, self.studio.compare
        outputs = [session, *self.shown, *compare.shown]
        heavy = {"show_progress_on": self.gallery, **private(HEAVY, 1)}
        self.upload.upload(self._add, [session, self.upload, *compare.view], [self.upload, *outputs], **heavy)
        self.samples.click(self._add_samples, [session, *compare.view], outputs, **heavy)
        self.clear.click(self._clear, [session], outputs, **heavy)
        self.remove.click(self._remove, [session, compare.pick, *compare.view], outputs, **heavy)
        self.use_typed.click(self._caption, [session, self.typed, *compare.view], outputs, **heavy)
        self.use_names.click(self._caption_names, [session, *compare.view], outputs, **heavy)
        self.gallery.select(self._select, [session], [compare.pick, self.remove], **private(LIGHT, 2, "hidden"))
        picked = private(LIGHT, 2, "hidden")
        compare.pick.change(lambda p: gr.Button(interactive=p is not None), compare.pick, self.remove, **picked)

    def album(self, session: Session) -> Updates:
        """Show the gallery."""
        photos = session.album.photos
        picked = {self.studio.compare.pick: gr.Dropdown(choices=[(p.name, p.id) for p in photos], value=None)}
        return picked | {
            self.gallery: gr.Gallery(value=session.album.thumbnails(), selected_index=None),
            self.fill: page_html.gallery_line(photos),
            self.remove: gr.Button(interactive=False),
        }

    def changed(self, session: Session, report: str, only_changed: bool, top: int) -> Updates:
        """After the photos or captions changed: show them, and ask the last question again."""
        actions.compare_again(self.engine(session), session)
        updates = {self.studio.session: session, self.report: report}
        return updates | self.album(session) | self.studio.compare.results(session, only_changed, top)

    @friendly
    def _add(
        self, session: Session, paths: list[str] | None, only_changed: bool, top: int, progress: gr.Progress = gr.Progress()
    ) -> Updates:
        done = actions.add_uploads(self.engine(session), session, paths or [], by_photo(progress))
        report = page_html.report(done.report, done.failed, done.remarks)
        return self.changed(session, report, only_changed, top) | {self.upload: None}

    @friendly
    def _add_samples(self, session: Session, only_changed: bool, top: int, progress: gr.Progress = gr.Progress()) -> Updates:
        done = actions.add_samples(self.engine(session), session, by_photo(progress))
        return self.changed(session, page_html.report(done.report, done.failed), only_changed, top)

    @friendly
    def _clear(self, session: Session) -> Updates:
        session.album.gallery(self.engine(session)).clear()
        return self.changed(session, "", False, DEFAULT_TOP)

    @friendly
    def _remove(self, session: Session, picked: str | None, only_changed: bool, top: int) -> Updates:
        if picked is not None:
            session.album.gallery(self.engine(session)).remove([picked])
        return self.changed(session, "", only_changed, top)

    @friendly
    def _caption(self, session: Session, typed: str, only_changed: bool, top: int) -> Updates:
        remark = actions.set_captions(self.engine(session), session, typed or "")
        return self.changed(session, page_html.report(None, (), [remark]), only_changed, top)

    @friendly
    def _caption_names(self, session: Session, only_changed: bool, top: int) -> Updates:
        remark = actions.caption_by_names(self.engine(session), session)
        return self.changed(session, page_html.report(None, (), [remark]), only_changed, top)

    @friendly
    def _select(self, session: Session, event: gr.SelectData) -> Updates:
        picked = chosen(session.album.photos, event.index).id
        return {self.studio.compare.pick: picked, self.remove: gr.Button(interactive=True)}
