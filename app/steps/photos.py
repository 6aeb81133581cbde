"""The visitor's photos and their captions."""

from __future__ import annotations

from contextlib import suppress

import gradio as gr

from app import actions, texts
from app.actions import Added
from app.api import HEAVY, SEARCH
from app.steps.context import Controls, Part, Updates
from app.steps.step import ANSWER, Step, chosen, dropped, private
from app.views import page_html, results_html
from app.visitors.album import PHOTO_LIMIT
from app.visitors.question import Question
from app.visitors.session import Session
from core.common.errors import GalleryError, StudioError
from core.data.captions import captions_from_names, parse_typed

LOOK_SECONDS = 0.7


class Photos(Step):
    def layout(self) -> None:
        with gr.Row(equal_height=True, elem_classes="sg-photo-line"):
            self.upload = dropped("upload", texts.UPLOAD_LABEL, file_count="multiple", scale=0, min_width=260)
            self.fill = gr.HTML(page_html.note(texts.GALLERY_EMPTY), elem_id="fill")
            self.stop = gr.Button(texts.STOP, size="sm", scale=0, min_width=90, visible=False, elem_id="stop-adding")
            self.take_back = gr.Button("", size="sm", scale=0, min_width=150, visible=False, elem_id="take-back")
            self.clear = gr.Button(texts.CLEAR, size="sm", scale=0, min_width=100, visible=False, elem_id="clear")
        self.report = gr.HTML(elem_id="report")

    def manage(self) -> None:
        """Lay out the photos themselves and their captions."""
        with gr.Accordion(texts.CAPTIONS, open=False, elem_id="captions") as self.folded:
            with gr.Column(elem_classes="sg-gallery"):
                self.gallery = gr.Gallery(
                    label=texts.GALLERY_LABEL,
                    columns=8,
                    height=300,
                    object_fit="cover",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    visible=False,  # so that a browser does not load its code before it is opened
                    elem_id="gallery",
                )
            with gr.Row():
                self.remove = gr.Button(texts.REMOVE, size="sm", min_width=140, interactive=False, elem_id="remove")
                self.take_back_here = gr.Button("", size="sm", min_width=140, visible=False, elem_id="take-back-here")
            self.typed = gr.Textbox(
                label=texts.CAPTIONS_LABEL, placeholder=texts.CAPTIONS_PLACEHOLDER, lines=3, max_lines=12, elem_id="typed"
            )
            with gr.Row():
                self.use_typed = gr.Button(texts.CAPTIONS_SAVE, size="sm", min_width=140, elem_id="use-typed")
                self.use_names = gr.Button(texts.CAPTIONS_NAMES, size="sm", min_width=140, elem_id="use-names")
            minutes = f"{self.context.keep_seconds / 60:g}"
            gr.HTML(page_html.note(texts.GALLERY_LEAD.format(limit=PHOTO_LIMIT, minutes=minutes)))
        self.timer = gr.Timer(LOOK_SECONDS, active=False)
        shown = [self.fill, self.report, self.remove, self.clear, self.take_back, self.take_back_here]
        self.context.shows(Part.PHOTOS, [*shown, self.stop, self.timer], self.show)
        self.context.shows_once_open(Part.THUMBNAILS, Part.PHOTOS, [self.gallery], self._thumbnails)

    def wire(self) -> None:
        context, picked = self.context, self.context.picked
        boxes = [context.controls["query"], context.controls["description"]]
        # This comes first, since the browser sends one event after the other.
        begun = [self.timer, self.stop, self.fill, self.clear, self.take_back]
        self.upload.upload(self._begin, context.session, begun, **private())
        # The cross of the upload's box stops too.
        gr.on([self.stop.click, self.upload.clear], self._stop, context.session, self.stop, **private())
        added = self.on(self.upload.upload, self._add, [self.upload], [self.upload], group=HEAVY)
        # Adding takes a while. What the boxes say by then is asked.
        self.on(added.success, self._show_added, (), boxes, (Part.PHOTOS, *ANSWER), group=SEARCH)
        for event, handler, first, also in (
            (self.clear.click, self._clear, [], []),
            ([self.take_back.click, self.take_back_here.click], self._take_back, [], boxes),
            (self.remove.click, self._remove, [picked], []),
            (self.use_typed.click, self._caption, [self.typed], []),
            (self.use_names.click, self._caption_by_names, [], []),
        ):
            self.on(event, handler, first, also, (Part.PHOTOS, *ANSWER), None, HEAVY, turn=False)
        # The timer shows photos that are still being added, by this tab, by another, or by this one before a reload.
        self.on(self.timer.tick, self._look, parts=[Part.PHOTOS, *ANSWER], turn=False)
        self.opens(self.folded.expand, Part.THUMBNAILS)
        self.gallery.select(self._select, context.session, [picked, self.remove], **private())
        picked.change(lambda photo: gr.Button(interactive=photo is not None), picked, self.remove, **private())

    def show(self, session: Session, controls: Controls) -> Updates:
        """Show how many photos there are. The report of an upload disappears with its photos."""
        album = session.album
        session.listed = album.photos
        album.delete_unused_files()
        report = {} if album.photos else {self.report: ""}
        back = (texts.TAKE_BACK_ONE if album.aside == 1 else texts.TAKE_BACK).format(n=album.aside)
        return report | {
            self.fill: page_html.gallery_line(album),
            self.remove: gr.Button(interactive=False),
            self.clear: gr.Button(visible=bool(album.photos) and not album.adding),
            self.take_back: gr.Button(back, visible=album.aside > 0 and not album.adding),
            self.take_back_here: gr.Button(back, visible=album.aside > 0),
            self.stop: gr.Button(visible=album.adding),
            self.timer: gr.Timer(active=album.adding),
        }

    def _thumbnails(self, session: Session, _: Controls) -> Updates:
        return {self.gallery: gr.Gallery(value=session.album.thumbnails(), selected_index=None, visible=True)}

    def _look(self, session: Session, controls: Controls) -> Updates:
        if session.album.adding:  # show the first photos soon, all of them only in the end
            first = {} if session.comparison is not None else {self.context.answer: results_html.waiting(session.album)}
            return {self.fill: page_html.gallery_line(session.album)} | first
        if session.adding or session.listed is session.album.photos:
            return {self.fill: page_html.gallery_line(session.album), self.timer: gr.Timer(active=session.adding)}
        with session.turn:
            return self.context.show_again(session, controls, Part.PHOTOS, *ANSWER)

    def _changed(self, session: Session, controls: Controls, report: str = "") -> Updates:
        return self.context.show_again(session, controls, Part.PHOTOS, *ANSWER) | {self.report: report}

    def _begin(self, session: Session) -> Updates:
        session.album.stopped = False
        session.album.await_photos()
        hidden = gr.Button(visible=False)  # else Stop has no room in the line
        shown = {self.timer: gr.Timer(active=True), self.stop: gr.Button(visible=True), self.fill: page_html.note(texts.ADDING)}
        return shown | {self.clear: hidden, self.take_back: hidden}

    def _stop(self, session: Session) -> Updates:
        session.album.stopped = True
        return {self.stop: gr.Button(visible=False)}

    def _add(self, paths: list[str] | None, session: Session, _: Controls) -> Updates:
        """Add photos. ``_show_added`` shows them: events that show more than one part take turns."""
        album, samples = session.album, session.album.shows_samples
        session.adding, session.report = True, ""
        try:
            done = actions.add_uploads(self.context.engine(session), session, paths or [])
        except GalleryError as error:  # they are being indexed again, or added by another tab; the box is emptied
            done = Added(None, remarks=(str(error),))
        finally:
            album.await_photos(False)
        if samples and not album.photos:  # nothing could be read: the samples come back
            album.awaits_samples = True
            self.context.engine(session)
        self._forget_samples(session, samples)
        session.report = page_html.report(done.remarks, done.report, done.failed)
        return {self.upload: None}

    def _show_added(self, session: Session, controls: Controls) -> Updates:
        session.adding = False
        controls, boxes = self._emptied(session, controls)
        if session.question is None and controls.query.strip():  # the question waited for photos
            session.question = Question.words(controls.query.strip(), controls.within)
            with suppress(StudioError):  # an unusable sentence does not keep photos from being shown
                actions.adapt_to(self.context.engine(session), session, controls.request)
        shown = self._changed(session, controls, session.report) | boxes
        # On a busy machine, progress from before the end may arrive after it. So the timer looks once more.
        return shown | {self.timer: gr.Timer(active=True)}

    def _forget_samples(self, session: Session, shown: bool) -> None:
        """Forget the page's own question or sentence if samples were ``shown`` and are gone: they do not fit other photos."""
        if not shown or session.album.shows_samples:
            return
        descriptions, queries = zip(*actions.sample_questions(), strict=True)
        if session.question is not None and session.question.what in queries:
            session.question = session.comparison = None
        if session.request is not None and session.request.description in descriptions:
            actions.adapt_to(self.context.engine(session), session, None)

    def _emptied(self, session: Session, controls: Controls) -> tuple[Controls, Updates]:
        """The controls, and the updates that empty the boxes which still have what was forgotten."""
        descriptions, queries = zip(*actions.sample_questions(), strict=True)
        empty = {"query": ""} if session.question is None and controls.query in queries else {}
        empty |= {"description": ""} if session.request is None and controls.description in descriptions else {}
        return controls._replace(**empty), self.context.boxes(**empty)

    def _clear(self, session: Session, controls: Controls) -> Updates:
        session.album.set_aside()
        return self._changed(session, controls)

    def _take_back(self, session: Session, controls: Controls) -> Updates:
        samples = session.album.shows_samples
        session.album.take_back(self.context.engine(session))
        self._forget_samples(session, samples)
        controls, boxes = self._emptied(session, controls)
        return boxes | self._changed(session, controls)

    def _remove(self, picked: str | None, session: Session, controls: Controls) -> Updates:
        if picked is not None:
            session.album.remove(self.context.engine(session), picked)
        return self._changed(session, controls)

    def _caption(self, typed: str, session: Session, controls: Controls) -> Updates:
        remark = actions.set_captions(self.context.engine(session), session, parse_typed(typed or ""))
        return self._changed(session, controls, page_html.report([remark]))

    def _caption_by_names(self, session: Session, controls: Controls) -> Updates:
        captions = captions_from_names([photo.name for photo in session.album.photos])
        remark = actions.set_captions(self.context.engine(session), session, captions)
        return self._changed(session, controls, page_html.report([remark]))

    def _select(self, session: Session, event: gr.SelectData) -> Updates:
        picked = chosen(session.album.photos, event.index).id
        return {self.context.picked: picked, self.remove: gr.Button(interactive=True)}
