"""The sample photos and one answered question about them, made once per language and shown to visitors without photos."""

from __future__ import annotations

import threading

from app import actions
from app.engines import DEFAULT
from app.languages import language
from app.visitors.album import Album
from app.visitors.session import Session
from core.sglora.engine import SGLora


class SampleShelf:
    """The album of samples, and an answered session for each language. The page opens on it."""

    def __init__(self) -> None:
        self._album: Album | None = None
        self._sessions: dict[str, Session] = {}
        self._filling = threading.Lock()

    def session(self, engine: SGLora) -> Session:
        """The session with the samples and the answer, in the current language. The first caller computes it; others wait."""
        with self._filling:
            if self._album is None:
                album = Album(of_nobody=True)
                album.keeps_files = True
                actions.add_samples(engine, Session(album))
                self._album = album
            if language() not in self._sessions:
                session = Session(self._album)
                actions.ask_about_samples(engine, session)
                self._sessions[language()] = session
            return self._sessions[language()]

    def show(self, engine: SGLora, session: Session) -> None:
        """Show the samples to a visitor whose page opens on them and who has no photos yet."""
        album = session.album
        if album.awaits_samples and album.backbone == DEFAULT:
            album.show_samples(self.session(engine))

    def answer(self, session: Session) -> bool:
        """Copy the shelf's answer if the visitor has its question and sentence. Returns whether it was copied."""
        album, shelf = session.album, session.album.samples
        if shelf is None or not album.has_samples_only or album.backbone != DEFAULT:
            return False
        if (session.question, session.request) != (shelf.question, shelf.request):
            return False
        session.adaptation, session.repository, session.comparison = shelf.adaptation, shelf.repository, shelf.comparison
        return True
