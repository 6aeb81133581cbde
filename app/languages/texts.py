"""Every text of the page: ``texts.SEARCH`` is in the language of the current visitor.

They are in ``app/languages``, one file per language. Texts that stay English are in ``english.json`` (API, server, Evidence and
the drawer for researchers) and in ``about.md``. ``topics.json`` has the descriptions of the shipped experts, ``samples.json``
what is asked of the samples. Texts of core are found by their English template, which stands where core raises it.
"""

from pathlib import Path

from app import languages
from core.common.errors import StudioError
from core.common.messages import Message

ENGLISH_ONLY: dict[str, str] = languages.read("english")
ABOUT = Path(__file__).with_name("about.md").read_text(encoding="utf-8")
STEPS = {"encode": "read the sentence", "route": "route", "prior": "prior", "decode": "decode"}
topic, of_sample = languages.topic, languages.of_sample

Text = Message | str  # a message, or a text that is in the visitor's language already


def __getattr__(name: str) -> str:
    if (text := _find(name)) is None:
        raise AttributeError(f"there is no text {name}")
    return text


def _find(name: str) -> str | None:
    own = languages.texts_in(languages.language())
    return own[name] if name in own else ENGLISH_ONLY.get(name)


def of(text: Message | StudioError | str) -> str:
    """A message, or that of an error, in the visitor's language. A text stays as it is, also in the place of a key."""
    if isinstance(text, StudioError):
        text = text.message
    if isinstance(text, str):
        return text
    fields = {name: of(value) if isinstance(value, Message | str) else value for name, value in text.fields.items()}
    words = text.template if (found := _find(text.template)) is None else found
    return words.format(**fields) if fields else words


def english(key: str) -> str:
    """A text in English, for files that other programs read."""
    return english_of(Message(key))


def english_of(text: Text) -> str:
    with languages.speaking(languages.ENGLISH):
        return of(text)
