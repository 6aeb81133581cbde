"""Add to a visitor's own experts: train one, import an adapter, or load a ZIP of saved ones. Returns plain data, as actions."""

import functools
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from app.languages import texts
from app.visitors.tab import Tab
from core.backbones.peft_format import CONFIG_FILE, MAX_ADAPTER_BYTES, WEIGHTS_FILE
from core.common.errors import AdapterError, RepositoryError
from core.experts.own import OwnEntry, OwnExperts, adapter_in_zip, import_adapter, load_zip
from core.sglora.engine import SGLora
from core.training.own_expert import OwnExpert, OwnRecipe, Progress, train_own_expert

RECIPE = OwnRecipe()
MAX_ZIP_BYTES = MAX_ADAPTER_BYTES + 2**20


def train(engine: SGLora, tab: Tab, name: str, description: str, progress: Progress, stop: threading.Event) -> OwnExpert:
    """Train an expert on the visitor's captioned photos and add it to the visitor's own. Raises as ``train_own_expert``."""
    visitor = tab.visitor
    visitor.own_experts(engine).check_room(name)  # check before minutes of training
    trained = train_own_expert(engine, visitor.gallery(engine), name, description, progress, stop, recipe=RECIPE)
    visitor.trained_on[trained.name] = trained.seen
    visitor.change_own_experts(engine, lambda experts: experts.add(trained))
    return trained


def import_files(engine: SGLora, tab: Tab, paths: Sequence[str], description: str) -> OwnEntry:
    """Add an adapter in PEFT format to the visitor's own experts, from a ZIP or its two files."""
    given = {Path(p).suffix.lower(): Path(p) for p in paths}
    if len(paths) == 1 and ".zip" in given:
        files = adapter_in_zip(_read(given[".zip"], AdapterError))
    elif len(paths) == 2 and set(given) == {".json", ".safetensors"}:
        files = {CONFIG_FILE: _read(given[".json"], AdapterError), WEIGHTS_FILE: _read(given[".safetensors"], AdapterError)}
    else:
        raise AdapterError(texts.IMPORT_WHAT.format(config=CONFIG_FILE, weights=WEIGHTS_FILE))
    add = functools.partial(import_adapter, engine, files, description)
    return tab.visitor.change_own_experts(engine, add).entries[-1]


def load_own_experts(engine: SGLora, tab: Tab, path: str) -> int:
    """Add the experts of a ZIP to the visitor's own. One of the same name is replaced. Returns how many were loaded."""
    shared, data = replace(engine, repository=tab.visitor.own_experts(engine).shipped), _read(Path(path), RepositoryError)
    with suppress(AdapterError):
        adapter_in_zip(data)
        raise RepositoryError(texts.IS_ADAPTER.format(place=texts.IMPORT))
    loaded = load_zip(data, shared).entries

    def join(own_experts: OwnExperts) -> OwnExperts:
        kept = tuple(entry for entry in own_experts.entries if entry.name not in [other.name for other in loaded])
        return functools.reduce(OwnExperts.add, loaded, replace(own_experts, entries=kept))

    tab.visitor.change_own_experts(engine, join)
    return len(loaded)


def _read(path: Path, error: type[Exception]) -> bytes:
    if path.stat().st_size > MAX_ZIP_BYTES:
        raise error(f"{path.name} is larger than {MAX_ZIP_BYTES // 2**20} MB.")
    return path.read_bytes()
