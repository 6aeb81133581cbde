"""The question: words, or a photo whose captions are searched."""

import gradio as gr

from app.answers.question import OWN, Question, Scope
from app.languages import texts
from app.page.step import Step, choice, dropped, textbox
from app.page.view import Event, Now, Updates
from app.page.views import page_html
from app.photos.samples import OPENING, elsewhere
from app.visitors.visitor import LISTED
from core.data.sample_photos import sample_sets


class Ask(Step):
    def layout(self) -> None:
        with gr.Row(equal_height=False, elem_classes="sg-ask"):
            self.query = textbox("query", self.t("QUERY_LABEL"), self.t("QUERY_PLACEHOLDER"), scale=4, min_width=200)
            names = self.context.sources.libraries.names
            choices = [(self.t("WITHIN_OWN"), OWN)]
            for name in names:
                both, alone = Scope(library=name), Scope(False, library=name)
                choices += [(self.t("WITHIN_BOTH", name=name), both.value), (name, alone.value)]
            if self.context.sources.samples is not None:
                choices += [
                    (self.t.html(s.title, lambda s=s: texts.of_sample(s.title)), name) for name, s in sample_sets().items()
                ]
            default = OPENING if self.context.opens_on_samples else choices[min(1, len(names))][1]
            shown = {"min_width": 240 if names else 210, "visible": len(choices) > 1}  # a library's name needs a line
            self.where = choice("where", self.t("WITHIN"), choices, default, scale=2, **shown)
            self.search = gr.Button(self.t("SEARCH"), variant="primary", scale=1, min_width=100, elem_id="search")
        self.context.controls |= {"query": self.query, "where": self.where}

    def captions(self) -> None:
        with gr.Accordion(self.t("CAPTIONS_OF_A_PHOTO"), open=False, elem_id="photo-words"):
            needs = gr.HTML(page_html.note(self.t("CAPTIONS_NEEDED")), elem_id="photo-words-needs")
            self.sight(needs, lambda now: not any(photo.captions for photo in now.photos), at_first=True)
            with gr.Row(equal_height=False, elem_classes="sg-ask"):
                self.pick = gr.Dropdown(label=self.t("PICK_LABEL"), choices=[], scale=2, min_width=180, elem_id="pick")
                self.other = dropped("other", self.t("OTHER_PHOTO"), scale=2, min_width=180)
                self.find = gr.Button(self.t("DESCRIBE_PHOTO"), variant="primary", scale=1, min_width=100, elem_id="find")
        self.context.picked = self.pick
        self.shows(self.pick, self._choices, lambda now: now.photos, at_once=True)

    def wire(self) -> None:
        self.asks([self.search.click, self.query.submit], self.answer, writes="query")
        self.asks(self.where.input, self._elsewhere, sets=["folder", "description", "query", "random"])
        self.asks(self.find.click, self._find, [self.pick, self.other])
        # A question is about one photo: a choice in one box empties the other.
        self.other.upload(None, None, self.pick, js="() => null")
        self.pick.input(None, None, self.other, js="() => null")

    def _elsewhere(self, event: Event) -> Updates:
        """Ask the same question of other photos, or the page's example about them. The folder is reset. Raises LibraryError:
        when the chosen library cannot be read."""
        controls = event.controls
        event.tab.library(event.engine, controls.scope)
        values = {"folder": "", **elsewhere(controls.where, controls.description, controls.query)}
        return self.again(event, controls._replace(**values).words, **values)

    def _find(self, event: Event, picked: str | None, other: str | None) -> Updates:
        return self.answer(event, Question.photo(picked, other, Scope.of(event.controls.scope.samples or OWN)))

    def _choices(self, now: Now) -> gr.Dropdown:
        picked, listed = now.picked, [(photo.name, photo.id) for photo in now.photos[:LISTED]]
        return gr.Dropdown(choices=listed, value=picked if picked in {photo.id for photo in now.photos} else None)
