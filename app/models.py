"""The engine, loaded once in the background, so that the page is there before the models are."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import cached_property

from PIL import Image

from core.errors import StudioError
from core.loading import load_engine
from core.sglora import SGLora

log = logging.getLogger(__name__)


class Models:
    """The engine that all visitors share; it holds no state of any of them.

    Args:
        load: makes the engine; tests give a smaller one.
    """

    def __init__(self, load: Callable[[], SGLora] = load_engine) -> None:
        self._load = load
        self._done = threading.Event()
        self._start = threading.Lock()
        self._started = False
        self._engine: SGLora | None = None
        self._failure: Exception | None = None
        self.seconds = 0.0

    def start(self) -> None:
        """Begin loading in the background; further calls do nothing."""
        with self._start:
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name="load models", daemon=True).start()

    def get(self) -> SGLora:
        """The engine, waiting for it where needed.

        Raises:
            StudioError: it cannot be loaded; the text says why.
        """
        self.start()
        self._done.wait()
        if self._engine is None:
            raise self._failure or RuntimeError("the models were not loaded")
        return self._engine

    def _run(self) -> None:
        begin = time.perf_counter()
        try:
            engine = self._load()
            # The first call of each tower also loads it: better now than while a visitor waits.
            engine.adapt("a photo")
            engine.backbone.prefix(engine.backbone.pixels(Image.new("RGB", (8, 8)))[None])
            self._engine = engine
        except StudioError as error:
            self._failure = error
        except Exception as error:
            log.exception("The models cannot be loaded")
            self._failure = error
        self.seconds = time.perf_counter() - begin
        self._done.set()

    @cached_property
    def expert_norms(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest strength among the experts, for each adapted linear."""
        repository = self.get().repository
        norms = [repository.lora(i).norms() for i in range(len(repository))]
        return {name: (min(n[name] for n in norms), max(n[name] for n in norms)) for name in norms[0]}
