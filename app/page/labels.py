"""Texts of the layout, which is made once: each browser translates them (`gr.I18n`)."""

from collections.abc import Callable

import gradio as gr
from markupsafe import Markup

from app.languages import ENGLISH, TAGS, speaking, texts


class Labels:
    """Collects what the layout says. ``i18n`` has it in all languages."""

    def __init__(self) -> None:
        self._used: dict[str, Callable[[], str]] = {}

    def __call__(self, key: str, **fields: object) -> Markup:
        unique = ":".join([key, *map(str, fields.values())])
        return self.html(unique, lambda: getattr(texts, key).format(**fields) if fields else getattr(texts, key))

    def html(self, key: str, make: Callable[[], str]) -> Markup:
        """HTML that ``make`` returns in the current language. ``key``: any unique one."""
        self._used[key] = make
        return Markup(gr.I18n()(key))  # as text: templates and components take it where they take no ``I18nData``

    def i18n(self) -> gr.I18n:
        translations = {}
        for code, tag in TAGS.items():
            with speaking(code):
                translations[tag] = {key: str(make()) for key, make in self._used.items()}
        # Gradio looks up "pt-PT" as "pt", and "zh" as such.
        others = {tag.partition("-")[0]: words for tag, words in translations.items()}
        return gr.I18n(**(others | translations | {"en": translations[TAGS[ENGLISH]]}))
