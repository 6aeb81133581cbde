"""The engines that all visitors share. The shipped one loads in the background, so that the page does not wait for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from PIL import Image

from app import texts
from app.zero_gpu import with_gpu
from core.backbones import EMBEDDED
from core.backbones.base import Backbone
from core.common.errors import BackboneError, RepositoryError, StudioError, brief
from core.common.lazy import lazy
from core.common.paths import EXPERTS, experts_path
from core.common.text import free_name
from core.experts.load import FoundRepository, load_engine, repository_folders
from core.names.ordinary_texts import inverse_moment
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

log = logging.getLogger(__name__)
DEFAULT = EMBEDDED  # name of the repository for visitors who chose none


class Engine:
    """One engine, loaded in the background."""

    def __init__(self, load: Callable[[], SGLora]) -> None:
        self._load = load
        self._loaded: Future[SGLora] = Future()
        self.seconds = 0.0
        threading.Thread(target=self._run, name="load models", daemon=True).start()

    def get(self) -> SGLora:
        """Wait for the engine. Raises StudioError: when it cannot be loaded."""
        return self._loaded.result()

    @property
    def loaded(self) -> bool:
        return self._loaded.done()

    def _run(self) -> None:
        begin = time.perf_counter()
        try:
            engine = self._load()
            # The first call of each tower also loads it: do this before a visitor waits for it.
            with ThreadPoolExecutor(1) as pool:
                sentence = pool.submit(_read_a_sentence, engine)
                engine.backbone.prefix(engine.backbone.pixels(Image.new("RGB", (8, 8)))[None])
            sentence.result()
            self.seconds = time.perf_counter() - begin
            self._loaded.set_result(replace(engine, backbone=with_gpu(engine.backbone)))
        except Exception as error:
            if not isinstance(error, StudioError):
                log.exception("The models cannot be loaded")
            self._loaded.set_exception(error)
            return
        with suppress(StudioError):  # the backbone cannot be taught names, or the first name says what is wrong
            inverse_moment(self.get().backbone)  # takes seconds for a backbone that ships without it

    @lazy
    def expert_norms(self) -> dict[str, tuple[float, float]]:
        """(smallest, largest) strength among the experts, for each linear of their own parts; {} without experts."""
        repository = self.get().repository
        norms = [repository.lora(i).only(repository.layout.modules).norms() for i in range(len(repository))]
        return {name: (min(n[name] for n in norms), max(n[name] for n in norms)) for name in (norms[0] if norms else ())}


def _read_a_sentence(engine: SGLora) -> None:
    request = AdapterRequest("a photo")
    engine.adapt(request) if len(engine.repository) else engine.backbone.encode_sentence([request.description])


class Models:
    """All engines. The default one loads at once, others once they are chosen; all stay loaded (a CLIP ViT-B/16 takes about
    700 MB). They hold no visitor's state."""

    def __init__(self, load: Callable[[], SGLora] = load_engine, others: Sequence[FoundRepository] = ()) -> None:
        self._default = Engine(load)
        self._others: dict[str, Engine] = {}
        self._lock = threading.Lock()
        self.repositories: dict[str, FoundRepository] = {}
        for repository in others:
            self.repositories[free_name(repository.name, {DEFAULT, *self.repositories}.__contains__)] = repository

    def get(self, name: str = DEFAULT) -> SGLora:
        """Wait for an engine. Raises StudioError: when it cannot be loaded."""
        engine = self.engine(name)
        try:
            return engine.get()
        except Exception:
            with self._lock:  # the next request tries again
                if self._others.get(name) is engine:
                    del self._others[name]
            raise

    @property
    def loaded(self) -> bool:
        """Whether the default engine is loaded, or failed to."""
        return self._default.loaded

    def engine(self, name: str = DEFAULT) -> Engine:
        """An engine that may still be loading. Raises BackboneError: when there is no such repository."""
        if name == DEFAULT:
            return self._default
        if name not in self.repositories:
            names = ", ".join(f"“{known}”" for known in (DEFAULT, *self.repositories))
            raise BackboneError(texts.API_NO_REPOSITORY.format(name=brief(name), names=names))
        with self._lock:
            if name not in self._others:
                repository = self.repositories[name]
                self._others[name] = Engine(lambda: repository.load(self._shared_backbone()))
            return self._others[name]

    def options(self, name: str) -> tuple[str, ...]:
        """The options of the command line that select a repository."""
        return self.repositories[name].options if name in self.repositories else ()

    def _shared_backbone(self) -> Backbone | None:
        try:
            return self._default.get().backbone
        except Exception:
            return None


def found_repositories(given: Sequence[Path]) -> list[FoundRepository]:
    """The repositories beside the shipped one: those under ``experts/``, and those that the given folders are or hold. Raises
    RepositoryError: when a given folder holds no valid repository."""
    repositories: dict[Path, FoundRepository] = {}
    for folder in repository_folders(EXPERTS):
        try:
            repositories[folder.resolve()] = FoundRepository.read(folder)
        except RepositoryError as error:
            log.warning("Left out: %s", error)
    for place in given:
        folders = repository_folders(place)
        if not folders:
            raise RepositoryError(texts.NO_REPOSITORY.format(folder=place))
        for folder in folders:
            repositories.setdefault(folder.resolve(), FoundRepository.read(folder))
    repositories.pop(experts_path().resolve(), None)
    return list(repositories.values())
