"""Add to a visitor's own experts: train one, import an adapter, or load a ZIP of saved ones. Returns plain data, as actions."""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from app import texts
from app.tab import Tab
from core.backbones.peft_format import CONFIG_FILE, MAX_ADAPTER_BYTES, WEIGHTS_FILE
from core.common.errors import AdapterError, RepositoryError
from core.experts.own import OwnEntry, OwnExperts, import_adapter, load_zip
from core.sglora.engine import SGLora
from core.training.own_expert import OwnExpert, OwnRecipe, Progress, split_photos, train_own_expert

RECIPE = OwnRecipe()
MAX_ZIP_BYTES = MAX_ADAPTER_BYTES + 2**20


def train(
    engine: SGLora,
    tab: Tab,
    name: str,
    description: str,
    progress: Progress,
    stop: threading.Event,
) -> OwnExpert:
    """Train an expert on the visitor's captioned photos and add it to the visitor's own. Raises as ``train_own_expert``."""
    visitor = tab.visitor
    visitor.own_experts(engine).check_room(name)  # check before minutes of training
    ids = [photo.id for photo in visitor.gallery(engine).captioned()[0]]
    trained = train_own_expert(engine, visitor.gallery(engine), name, description, progress, stop, recipe=RECIPE)
    split = split_photos(ids, RECIPE.stop_from)
    visitor.trained_on[trained.expert.name] = frozenset(ids[row] for row in (*split.train, *split.validation))
    entry = OwnEntry(trained.expert, trained.mean, trained.variance, trained.embedding)
    visitor.change_own_experts(engine, lambda experts: experts.add(entry))
    return trained


def import_files(engine: SGLora, tab: Tab, paths: Sequence[str], description: str) -> OwnEntry:
    """Add an adapter in PEFT format to the visitor's own experts, from a ZIP or its two files."""
    files = {Path(p).suffix.lower(): Path(p) for p in paths}

    def join(source: bytes | Path) -> OwnEntry:
        add = functools.partial(import_adapter, engine, source, description)
        return tab.visitor.change_own_experts(engine, add).entries[-1]

    if len(paths) == 1 and ".zip" in files:
        return join(_read(files[".zip"], AdapterError))
    if len(paths) != 2 or set(files) != {".json", ".safetensors"}:
        raise AdapterError(texts.IMPORT_WHAT.format(config=CONFIG_FILE, weights=WEIGHTS_FILE))
    with TemporaryDirectory(dir=tab.visitor.files.folder) as scratch:
        folder = Path(scratch, "of yours")
        folder.mkdir()
        shutil.copyfile(files[".json"], folder / CONFIG_FILE)
        shutil.copyfile(files[".safetensors"], folder / WEIGHTS_FILE)
        return join(folder)


def load_own_experts(engine: SGLora, tab: Tab, path: str) -> int:
    """Add the experts of a ZIP to the visitor's own. One of the same name is replaced. Returns how many were loaded."""
    shared = replace(engine, repository=tab.visitor.own_experts(engine).shipped)
    loaded = load_zip(_read(Path(path), RepositoryError), shared).entries

    def join(own_experts: OwnExperts) -> OwnExperts:
        for entry in loaded:
            if any(e.name == entry.name for e in own_experts.entries):
                own_experts = own_experts.remove(entry.name)
            own_experts = own_experts.add(entry)
        return own_experts

    tab.visitor.change_own_experts(engine, join)
    return len(loaded)


def _read(path: Path, error: type[Exception]) -> bytes:
    if path.stat().st_size > MAX_ZIP_BYTES:
        raise error(f"{path.name} is larger than {MAX_ZIP_BYTES // 2**20} MB.")
    return path.read_bytes()
