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
from app.page.view import Now, Same
from app.page.views import page_html, results_html
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
        context.sight(self.button, lambda now: self._keywords(now) and not self._report(now))
        context.shows(self.found, lambda now: self._report(now) or self._words(now), self._depends)
        self.gaps = context.part("gaps", "", "gaps")
        context.shows(self.gaps, self._gaps, lambda now: (self._depends(now), now.visitor.taught))

    def wire(self) -> None:
        self.on(self.button.click, self._learn, shown_on=self.found, group=HEAVY, hears=True)
        self.downloads(self.gaps.written, self._write, self.gaps)

    def _learn(self, event: Event) -> None:
        photos, progress = event.photos, with_estimate(texts.LEARNING, texts.UNIT_KEYWORDS)
        learned = learn_keywords(event.engine, event.tab, event.controls.scope, progress)
        event.visitor.learned = photos, page_html.report(_told(learned))

    def _gaps(self, now: Now) -> str:
        """The photos to tag, once keywords of these photos were learned."""
        now.tab.proposed = proposed(now.engine, now.tab, now.controls.scope) if self._report(now) else []
        return results_html.gaps(now.tab.proposed, now.visitor.files)

    def _write(self, event: Event) -> str:
        keys = event.data.get("keys")
        chosen = [each for each in event.tab.proposed if isinstance(keys, list) and each.photo.id in keys]
        if not chosen:
            raise DataError(texts.GAPS_NONE)
        path = event.visitor.files.new("sg-lora-keywords.zip")
        write_keywords([(f"{photo.folder}/{photo.name}".lstrip("/"), word) for photo, word, _ in chosen], path)
        return str(path)

    def _keywords(self, now: Now) -> Mapping[str, Sequence[int]]:
        """Kept while the photos stay the same: every event of the page asks."""
        if now.visitor.adding:
            return {}
        photos = now.photos
        known, found = now.tab.keywords or (None, {})
        if known is not photos:
            found = keywords(photos, now.controls.scope)
            now.tab.keywords = photos, found
        return found

    def _depends(self, now: Now) -> object:
        return Same(now.photos), now.visitor.adding, Same(now.visitor.learned)

    def _report(self, now: Now) -> str:
        """What was learned last from these photos; "" before."""
        photos, report = now.visitor.learned or ((), "")
        return report if photos is now.photos else ""

    def _words(self, now: Now) -> str:
        found = self._keywords(now)
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
