"""The sample photos and the answer to one question about them: made once, and shown to every visitor who brings no photos."""

from __future__ import annotations

import threading
from collections.abc import Callable

from app.engines import DEFAULT
from app.visitors.session import Album, Session
from core.sglora.engine import SGLora


class SampleShelf:
    """What the page opens on.

    Args:
        fill: adds the samples to a session, and asks the question.
    """

    def __init__(self, fill: Callable[[SGLora, Session], object]) -> None:
        self._fill, self._session = fill, None
        self._filling = threading.Lock()

    def session(self, engine: SGLora) -> Session:
        """The session that has the samples and the answer; whoever comes first waits for it."""
        with self._filling:
            if self._session is None:
                album = Album.of_nobody()
                album.keeps_files = True
                session = Session(album)
                self._fill(engine, session)
                self._session = session
            return self._session

    def show(self, engine: SGLora, session: Session) -> None:
        """Show the samples to a visitor whose page is to open on them, and has no photos yet."""
        album = session.album
        if album.awaits_samples and album.backbone == DEFAULT:
            album.show_samples(self.session(engine))

    def answer(self, session: Session) -> bool:
        """Take the answer over where the visitor's question and sentence are those of the shelf."""
        shelf, album = self._session, session.album
        if shelf is None or album.samples is not shelf or not album.has_samples_only or session.question != shelf.question:
            return False
        if session.request != shelf.request:
            return False
        session.adaptation, session.repository, session.comparison = shelf.adaptation, shelf.repository, shelf.comparison
        return True
