"""Hostile adapters and saved experts, in the forms that the page accepts: a ZIP, or the two files of an adapter."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hostile_cases import Case, check_inert, check_message, watched
from make_adapters import SENTENCE, Good, adapters, own_experts_file, saved_experts
from safetensors.torch import load_file, save

from app.actions import own_experts
from app.page.views import experts_html
from app.visitors.tab import Tab
from app.visitors.visitor import Visitor
from core.backbones.peft_format import CONFIG_FILE, WEIGHTS_FILE, save_peft
from core.common.errors import StudioError
from core.sglora.engine import SGLora

MEMORY_MB = 700


@pytest.fixture(scope="module")
def good(engine: SGLora, tmp_path_factory: pytest.TempPathFactory) -> Good:
    folder = tmp_path_factory.mktemp("good")
    save_peft(engine.repository.lora(0), folder, engine.backbone.fingerprint, "embedded", {})
    config = json.loads((folder / CONFIG_FILE).read_text())
    return Good(config, load_file(folder / WEIGHTS_FILE), engine.backbone.fingerprint, own_experts_file(engine))


def shown(engine: SGLora, tab: Tab) -> None:
    """Check that the page shows imported values as text, and that generated adapters are finite."""
    own_experts = tab.visitor.own_experts(engine)
    check_inert(experts_html.own_list(own_experts))
    for entry in own_experts.entries:
        assert bool(torch.isfinite(entry.mean).all()) and bool(torch.isfinite(entry.variance).all())
        check_inert(experts_html.details(entry.expert))


def import_adapter(engine: SGLora, tab: Tab, path: str) -> None:
    own_experts.import_files(engine, tab, [path], SENTENCE)


@pytest.mark.parametrize(
    ("made", "take", "starts"),
    [
        (adapters, import_adapter, ("Adapter of yours", "The adapter", "Expert cactus on a window")),
        (saved_experts, own_experts.load_own_experts, ("The experts' ZIP",)),
    ],
)
def test_adapters_and_saved_experts(
    engine: SGLora, good: Good, tmp_path: Path, made: Callable[[Good], list[Case]], take: Callable, starts: tuple[str, ...]
) -> None:
    for number, case in enumerate(made(good)):
        tab, folder, said = Tab(Visitor()), tmp_path / str(number), None
        folder.mkdir()
        (folder / case.name).write_bytes(case.data)
        with watched(folder) as watch:
            try:
                take(engine, tab, str(folder / case.name))
            except StudioError as error:
                said = str(error)
        assert (said is None) == (case.reason is None), f"{case.what}: {said}"
        if said is not None:
            assert case.reason in said, f"{case.what}: {said}"
            assert said.startswith(starts), said
            check_message(said, tmp_path)
        assert len(tab.visitor.own_experts(engine).entries) == (said is None), case.what
        shown(engine, tab)
        assert watch.outside == [], case.what
        assert watch.grown < MEMORY_MB, case.what


def test_an_adapters_two_files_may_be_called_anything(
    engine: SGLora, good: Good, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))  # another test's app may still run
    paths = [tmp_path / name for name in ("$(id).JSON", "<b>.safetensors")]
    paths[0].write_text(json.dumps(good.config))
    paths[1].write_bytes(save(good.tensors))
    tab = Tab(Visitor())
    with watched(tmp_path) as watch:
        own_experts.import_files(engine, tab, [str(path) for path in paths], SENTENCE)
    assert len(tab.visitor.own_experts(engine).entries) == 1
    assert watch.outside == []
    assert tab.visitor.files.folder.is_relative_to(tmp_path)
    assert list(tab.visitor.files.folder.rglob("*")) == []
