"""Keywords and folders that the searched photos have: one click teaches them, and proposes them for the other photos."""

from collections import defaultdict

import gradio as gr

from app.actions.learning import keywords, learn_keywords, proposed
from app.answers.exports import write_keywords
from app.calls import HEAVY
from app.languages import texts
from app.page.step import Step, small, with_estimate
from app.page.view import Event, Now, Same
from app.page.views import page_html, results_html
from core.common.errors import DataError
from core.retrieval.learning import Learned

LISTED = 5  # keywords of a kind in the report


class Learn(Step):
    def layout(self) -> None:
        with gr.Row(equal_height=True, elem_classes="sg-photo-line", elem_id="learn-line") as line:
            self.found = self.part("keywords")
            self.button = small(self.t("LEARN"), "learn", 120, scale=0)
        self.sight(line, lambda now: now.tab.keywords)
        self.sight(self.button, lambda now: not _report(now))
        self.shows(self.found, self._draw, _depends)
        self.gaps = self.part("gaps", "", "gaps")
        self.shows(self.gaps, self._gaps, lambda now: (_depends(now), now.visitor.taught))

    def wire(self) -> None:
        self.on(self.button.click, self._learn, shown_on=self.found, group=HEAVY, hears=True)
        self.downloads(self.gaps.written, self._write, self.gaps)

    def _learn(self, event: Event) -> None:
        photos, progress = event.photos, with_estimate(texts.LEARNING, texts.UNIT_KEYWORDS)
        learned = learn_keywords(event.engine, event.tab, event.controls.scope, progress)
        event.visitor.learned = photos, page_html.report(_told(learned))

    def _draw(self, now: Now) -> str:
        found = now.tab.keywords = {} if now.visitor.adding else keywords(now.photos, now.controls.scope)
        words = texts.LEARN_FOUND.format(n=len(found), photos=len(set().union(*found.values())))
        return _report(now) or page_html.note(words)

    def _gaps(self, now: Now) -> str:
        """The photos to tag, once keywords of these photos were learned."""
        now.tab.proposed = proposed(now.engine, now.tab, now.controls.scope) if _report(now) else []
        return results_html.gaps(now.tab.proposed, now.visitor.files)

    def _write(self, event: Event) -> str:
        keys = event.data.get("keys")
        chosen = [each for each in event.tab.proposed if isinstance(keys, list) and each.photo.id in keys]
        if not chosen:
            raise DataError(texts.GAPS_NONE)
        path = event.visitor.files.new("sg-lora-keywords.zip")
        write_keywords([(f"{photo.folder}/{photo.name}".lstrip("/"), word) for photo, word, _ in chosen], path)
        return str(path)


def _depends(now: Now) -> object:
    return Same(now.photos), now.visitor.adding, Same(now.visitor.learned)


def _report(now: Now) -> str:
    """What was learned last from these photos; "" before."""
    photos, report = now.visitor.learned or ((), "")
    return report if photos is now.photos else ""


def _told(learned: Learned) -> list[str]:
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
