"""The engines that all visitors share. They load in the background, so that the page does not wait."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from app.languages import texts
from app.models.zero_gpu import with_gpu
from core.backbones import EMBEDDED
from core.backbones.hub import Show
from core.backbones.spec import with_full_paths
from core.common.errors import BackboneError, RepositoryError, StudioError, brief
from core.common.paths import EXPERTS, experts_path
from core.common.text import free_name
from core.experts.load import NamedBackbone, load_engine, repository_folders
from core.names.ordinary_texts import inverse_moment
from core.retrieval.gallery import Stop, never
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

log = logging.getLogger(__name__)
DEFAULT = EMBEDDED  # name of the shipped repository
OFFERED_AT, OFFERED_MB = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", 605
OFFERED = {"spec": "ViT-B-32", "pretrained": "laion2b_s34b_b79k", "adapt": "texts"}  # what the page may download
LOOK_SECONDS = 0.3  # between two looks at a download


class Engine:
    """One engine, loaded in the background, after ``fetch`` has downloaded its weights if they are not here."""

    def __init__(self, load: Callable[[], SGLora], fetch: Callable[[Show], object] = lambda show: None) -> None:
        self._loaded: Future[SGLora] = Future()
        self._bytes = 0, 0  # of the download: so far, of all
        self._waiting, self._asked, self._counting = 0, False, threading.Lock()
        self.seconds = 0.0
        threading.Thread(target=self._run, args=[load, fetch], name="load models", daemon=True).start()

    def get(self, show: Show = lambda done, size: None, stop: Stop = never) -> SGLora:
        """Wait for the engine, and show its download, which stops when no caller waits. Raises StudioError: when the engine
        cannot be loaded, or ``stop`` returns True."""
        with self._counting:
            self._waiting, self._asked = self._waiting + 1, True
        try:
            while not self.loaded and not stop():
                show(*self._bytes)
                wait([self._loaded], LOOK_SECONDS)
        finally:
            with self._counting:
                self._waiting -= 1
        if not self.loaded:
            raise BackboneError("DOWNLOAD_STOPPED")
        return self._loaded.result()

    def _note(self, done: int, size: int) -> None:
        self._bytes = done, size
        if self._asked and not self._waiting:
            raise BackboneError("DOWNLOAD_STOPPED")

    @property
    def loaded(self) -> bool:
        return self._loaded.done()

    @property
    def failed(self) -> bool:
        return self.loaded and self._loaded.exception() is not None

    def _run(self, load: Callable[[], SGLora], fetch: Callable[[Show], object]) -> None:
        try:
            fetch(self._note)
            begin = time.perf_counter()
            engine = load()
            # The first call of each tower also loads it: do this before a visitor waits for it.
            with ThreadPoolExecutor(1) as pool:
                if len(engine.repository):
                    sentence = pool.submit(engine.adapt, AdapterRequest("a photo"))
                else:
                    sentence = pool.submit(engine.backbone.encode_sentence, ["a photo"])
                engine.backbone.prefix(engine.backbone.pixels(Image.new("RGB", (8, 8)))[None])
            sentence.result()
            self.seconds = time.perf_counter() - begin
            self._loaded.set_result(replace(engine, backbone=with_gpu(engine.backbone)))
        except Exception as error:
            if not isinstance(error, StudioError):
                log.exception("The models cannot be loaded")
            self._loaded.set_exception(error)
            return
        with suppress(StudioError):  # raised again when a name is taught
            inverse_moment(self.get().backbone)  # takes seconds for a backbone that ships without it


class Models:
    """All engines. ``first``, for new visitors, loads at once, the others when chosen. All stay loaded."""

    def __init__(
        self, load: Callable[[], SGLora] = load_engine, others: Sequence[NamedBackbone] = (), first: NamedBackbone | None = None
    ) -> None:
        self._load, self._engines, self._lock = load, dict[str, Engine](), threading.Lock()
        self.repositories: dict[str, NamedBackbone] = {}
        for repository in others:
            self.repositories[free_name(repository.name, {DEFAULT, *self.repositories}.__contains__)] = repository
        self.first = next((name for name, repository in self.repositories.items() if repository is first), DEFAULT)
        self.engine(self.first)

    def get(self, name: str = DEFAULT, show: Show = lambda done, size: None, stop: Stop = never) -> SGLora:
        return self.engine(name).get(show, stop)

    @property
    def loaded(self) -> bool:
        """Whether the engine of new visitors is loaded, or failed to."""
        return self.engine(self.first).loaded

    def engine(self, name: str = DEFAULT) -> Engine:
        """An engine that may still be loading; one that failed is tried again. Raises BackboneError: when there is no such
        repository."""
        if name not in (known := (DEFAULT, *self.repositories)):
            names = ", ".join(f"“{each}”" for each in known)
            raise BackboneError(texts.API_NO_REPOSITORY.format(name=brief(name), names=names))
        with self._lock:
            if name not in self._engines or (self._engines[name].failed and name != self.first):
                other = self.repositories.get(name)
                load = (lambda: other.load(self.get().backbone if self.first == DEFAULT else None)) if other else self._load
                self._engines[name] = Engine(load, other.fetch if other else lambda show: None)
            return self._engines[name]

    def options(self, name: str) -> tuple[str, ...]:
        return self.repositories[name].options if name in self.repositories else ()


def with_backbones(
    found: Sequence[NamedBackbone], given: Sequence[Mapping[str, Any]], hub: bool
) -> tuple[list[NamedBackbone], list[NamedBackbone]]:
    """(all choices, those for the given backbones). The choices are the repositories, then the given backbones without one,
    then the backbone that the page may download."""
    offered, chosen = list(found), list[NamedBackbone]()
    for choice in [*given, *([OFFERED] if hub else [])]:
        same = [o for o in offered if all(o.choice.get(key) == choice.get(key) for key in ("spec", "pretrained"))]
        offered += [] if same else [NamedBackbone(with_full_paths(choice))]
        chosen.append(same[0] if same else offered[-1])
    return offered, chosen[: len(given)]


def found_repositories(given: Sequence[Path]) -> list[NamedBackbone]:
    """The repositories beside the shipped one: those under ``experts/``, and those that the given folders are or hold. Raises
    RepositoryError: when a given folder holds no valid repository."""
    repositories: dict[Path, NamedBackbone] = {}
    for folder in repository_folders(EXPERTS):
        try:
            repositories[folder.resolve()] = NamedBackbone.read(folder)
        except RepositoryError as error:
            log.warning("Left out: %s", error)
    for path in given:
        if not (folders := repository_folders(path)):
            raise RepositoryError(texts.NO_REPOSITORY.format(folder=path))
        repositories |= {folder.resolve(): NamedBackbone.read(folder) for folder in folders}
    repositories.pop(experts_path().resolve(), None)
    return list(repositories.values())
