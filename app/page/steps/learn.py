"""Keywords and folders that the searched photos have: one click teaches them, and proposes them for the other photos."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import gradio as gr

from app.actions.learning import keywords, learn_keywords, proposed
from app.answers.exports import write_keywords
from app.calls import HEAVY
from app.languages import texts
from app.page.event import Event
from app.page.step import Step, small, with_estimate
from app.page.view import Controls, Same
from app.page.views import page_html, results_html
from app.visitors.tab import Tab
from core.common.errors import DataError
from core.retrieval.learning import Learned

LISTED = 5  # keywords of a kind in the report


class Learn(Step):
    def layout(self) -> None:
        context = self.context
        with gr.Row(equal_height=True, elem_classes="sg-photo-line", elem_id="learn-line") as line:
            self.found = context.part("keywords")
            self.button = small(self.t("LEARN"), "learn", 120, scale=0)
        context.sight(line, self._keywords)
        context.sight(self.button, lambda tab, controls: self._keywords(tab, controls) and not self._report(tab, controls))
        context.shows(self.found, lambda *now: self._report(*now) or self._words(*now), self._depends)
        self.gaps = context.part("gaps", "", "gaps")
        context.shows(self.gaps, self._gaps, lambda *now: (self._depends(*now), now[0].visitor.taught))

    def wire(self) -> None:
        self.on(self.button.click, self._learn, shown_on=self.found, group=HEAVY, hears=True)
        self.downloads(self.gaps.written, self._write, self.gaps)

    def _learn(self, event: Event) -> None:
        photos, engine = self.context.photos(event.tab, event.controls)[0], self.context.engine(event.tab)
        progress = with_estimate(texts.LEARNING, texts.UNIT_KEYWORDS)
        learned = learn_keywords(engine, event.tab, event.controls.scope, progress)
        event.tab.visitor.learned = photos, page_html.report(_told(learned))

    def _gaps(self, tab: Tab, controls: Controls) -> str:
        """The photos to tag, once keywords of these photos were learned."""
        learned = self._report(tab, controls)
        tab.proposed = proposed(self.context.engine(tab), tab, controls.scope) if learned else []
        return results_html.gaps(tab.proposed, tab.visitor.files)

    def _write(self, event: Event) -> str:
        keys = event.data.get("keys")
        chosen = [each for each in event.tab.proposed if isinstance(keys, list) and each.photo.id in keys]
        if not chosen:
            raise DataError(texts.GAPS_NONE)
        path = event.tab.visitor.files.new("sg-lora-keywords.zip")
        write_keywords([(f"{photo.folder}/{photo.name}".lstrip("/"), word) for photo, word, _ in chosen], path)
        return str(path)

    def _keywords(self, tab: Tab, controls: Controls) -> Mapping[str, Sequence[int]]:
        """Kept while the photos stay the same: every event of the page asks."""
        if tab.visitor.adding:
            return {}
        photos, _ = self.context.photos(tab, controls)
        known, found = tab.keywords or (None, {})
        if known is not photos:
            found = keywords(photos, controls.scope)
            tab.keywords = photos, found
        return found

    def _depends(self, tab: Tab, controls: Controls) -> object:
        return Same(self.context.photos(tab, controls)[0]), tab.visitor.adding, Same(tab.visitor.learned)

    def _report(self, tab: Tab, controls: Controls) -> str:
        """What was learned last from these photos; "" before."""
        photos, report = tab.visitor.learned or ((), "")
        return report if photos is self.context.photos(tab, controls)[0] else ""

    def _words(self, tab: Tab, controls: Controls) -> str:
        found = self._keywords(tab, controls)
        return page_html.note(texts.LEARN_FOUND.format(n=len(found), photos=len(set().union(*found.values()))))


def _told(learned: Learned) -> list[str]:
    """The report, line by line."""
    names, left = [entry.name for entry in learned.names.entries], learned.left_out
    lines = [texts.LEARNED.format(n=len(names), total=len(learned.keywords))]
    if left:
        before, after = (round(100 * found / left) for found in (learned.before, learned.after))
        lines.append(texts.LEARN_RIGHT.format(n=left, before=before, after=after))
    others = defaultdict[str, list[str]](list)
    for keyword in learned.keywords:
        if keyword.reason is not None:
            others[texts.of(keyword.reason)].append(f"“{keyword.name}”")
    for reason, words in others.items():
        more = [texts.MORE.format(n=len(words) - LISTED)] if len(words) > LISTED else []
        lines.append(f"{', '.join([*words[:LISTED], *more])}: {reason}")
    return lines
