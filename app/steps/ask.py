"""The question: words, or a photo whose captions are searched."""

from __future__ import annotations

import gradio as gr

from app import texts
from app.steps.context import Controls, Part, Updates
from app.steps.step import Step, choice, clicked, dropped, private, rows, textbox
from app.views import page_html
from app.visitors.album import LISTED
from app.visitors.question import OWN, Question, Within
from app.visitors.session import Session


class Ask(Step):
    def layout(self) -> None:
        with gr.Row(equal_height=False, elem_classes="sg-ask"):
            self.query = textbox("query", texts.QUERY_LABEL, texts.QUERY_PLACEHOLDER, scale=4, min_width=200)
            names = self.context.libraries.names
            choices = [(texts.WITHIN_OWN, OWN)]
            for name in names:
                both, alone = Within(True, name), Within(False, name)
                choices += [(texts.WITHIN_BOTH.format(name=name), both.value), (name, alone.value)]
            default = choices[min(1, len(names))][1]
            self.where = choice("where", texts.WITHIN, choices, default, scale=2, min_width=190, visible=bool(names))
            self.search = gr.Button(texts.SEARCH, variant="primary", scale=1, min_width=100, elem_id="search")
        self.context.controls |= {"query": self.query, "where": self.where}

    def captions(self) -> None:
        """Lay out the search for the captions of a photo."""
        with gr.Accordion(texts.CAPTIONS_OF_A_PHOTO, open=False, elem_id="photo-words"):
            self.needs = gr.HTML(page_html.note(texts.CAPTIONS_NEEDED), elem_id="photo-words-needs")
            with gr.Row(equal_height=False, elem_classes="sg-ask"):
                self.pick = gr.Dropdown(label=texts.PICK_LABEL, choices=[], scale=2, min_width=180, elem_id="pick")
                self.other = dropped("other", texts.OTHER_PHOTO, scale=2, min_width=180)
                self.find = gr.Button(
                    texts.DESCRIBE_PHOTO, variant="primary", scale=1, min_width=100, interactive=False, elem_id="find"
                )
        self.context.picked = self.pick
        self.context.shows(Part.PHOTOS, [self.pick, self.needs, self.find], self._choices)

    def asked_before(self) -> None:
        """Lay out the earlier questions, which a click asks again."""
        self.history = self.chips("history", texts.HISTORY)
        self.context.shows(Part.RESULTS, [self.history], self._asked)

    def wire(self) -> None:
        self.answers([self.search.click, self.query.submit], self._search)
        self.answers(self.where.input, self._elsewhere, trigger_mode="once")
        self.answers(self.find.click, self._find, first=[self.pick, self.other])
        self.answers(
            self.history.select, self._again, [self.query, self.context.controls["description"]], trigger_mode="multiple"
        )
        # A question is about one photo: a choice in one box empties the other.
        self.other.upload(lambda: None, None, self.pick, **private())
        self.pick.input(lambda: None, None, self.other, **private())

    def _search(self, session: Session, controls: Controls) -> Updates:
        return self.answer(session, Question.words(controls.query), controls)

    def _elsewhere(self, session: Session, controls: Controls) -> Updates:
        """Ask the same question of other photos. Their folders are others, so the folder is reset."""
        controls = controls._replace(folder="")
        if not self.context.can_ask(session, controls):
            return self.context.boxes(folder="") | self.context.show(session, controls, Part.SUGGESTIONS, Part.RESULTS)
        return self._search(session, controls)

    def _find(self, picked: str | None, other: str | None, session: Session, controls: Controls) -> Updates:
        return self.answer(session, Question.photo(picked, other), controls)

    def _again(self, session: Session, event: gr.SelectData, controls: Controls) -> Updates:
        query, description = clicked(session.history, _pair, event)
        controls = controls._replace(query=query, description=description)
        return self._search(session, controls) | self.context.boxes(query=query, description=description)

    def _choices(self, session: Session, _: Controls) -> Updates:
        photos = session.album.photos
        captioned = any(photo.captions for photo in photos)
        return {
            self.pick: gr.Dropdown(choices=[(p.name, p.id) for p in photos[:LISTED]], value=None),
            self.needs: gr.HTML(visible=not captioned),
            self.find: gr.Button(interactive=captioned),
        }

    def _asked(self, session: Session, _: Controls) -> Updates:
        return {self.history: gr.Dataset(samples=rows(map(_pair, session.history)), visible=bool(session.history))}


def _pair(asked: tuple[str, str]) -> str:
    """What a chip says about an earlier question and its sentence."""
    query, task = asked
    return (texts.ASKED_BEFORE if task else "{query}").format(query=query, task=task)
