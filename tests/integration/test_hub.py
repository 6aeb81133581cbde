"""Push and pull of repositories: by folder, and through a stand-in for the hub that can fail in all ways."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hub_stand_in import Hub, stand_in
from huggingface_hub import HfApi, ModelCard
from repositories import make_repository
from tiny_models import tiny_backbone

from core.backbones import load_backbone
from core.backbones.embedded import EmbeddedBackbone
from core.common.errors import RepositoryError
from core.common.paths import GENERATOR_FILE, ROOT, asset_path
from core.experts.adapter_files import generated_files, write_files
from core.experts.card import write_card
from core.experts.files import save_repository
from core.experts.hub import FILES, pull, push
from core.experts.load import FoundRepository, load_engine
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

SENTENCE = "photos of people surfing"


@pytest.fixture(scope="module")
def shipped(engine: SGLora, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of five experts with a card and a generator, and two files that do not belong to it."""
    folder = tmp_path_factory.mktemp("hub") / "five"
    save_repository(engine.repository.subset(range(5)), folder)
    shutil.copyfile(asset_path(GENERATOR_FILE), folder / "generator.safetensors")
    write_card(folder, "apache-2.0")
    (folder / "evil.pkl").write_bytes(b"cos\nsystem\n")
    (folder / "notes.txt").write_text("to do")
    return folder


@pytest.fixture
def hub(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with stand_in() as running:
        monkeypatch.setattr("core.experts.hub.HfApi", partial(HfApi, running.endpoint))
        running.files["owner/five"] = {f.name: f.read_bytes() for f in shipped.iterdir()}
        yield running


def content(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in folder.iterdir()}


def test_there_and_back_by_folder(shipped: Path, backbone: EmbeddedBackbone, engine: SGLora, tmp_path: Path) -> None:
    sent = push(shipped, str(tmp_path / "shelf"), backbone)
    assert sent.files == FILES and sent.left == ("evil.pkl", "notes.txt")
    found = pull(str(tmp_path / "shelf"), tmp_path / "deep" / "mine", backbone)
    assert (found.files, found.left, found.experts) == (FILES, (), 5)
    original = content(shipped)
    assert content(tmp_path / "deep" / "mine") == {name: original[name] for name in FILES}
    # The pulled repository works: the engine routes with it, and generates with the generator in its folder.
    adapted = load_engine(backbone, tmp_path / "deep" / "mine").adapt(AdapterRequest(SENTENCE))
    assert adapted.routing.description == SENTENCE
    assert adapted.lora.parameters == engine.adapt(AdapterRequest(SENTENCE)).lora.parameters


def test_the_shipped_experts_bring_their_generator_and_get_a_card(backbone: EmbeddedBackbone, tmp_path: Path) -> None:
    found = push(ROOT / "experts" / "embedded", str(tmp_path / "all"), backbone)
    assert found.files == FILES
    assert (tmp_path / "all" / "generator.safetensors").read_bytes() == asset_path(GENERATOR_FILE).read_bytes()
    assert ModelCard.load(tmp_path / "all" / "README.md").data.library_name == "sg-lora-studio"


def test_there_and_back_by_the_hub(shipped: Path, backbone: EmbeddedBackbone, hub: Hub, tmp_path: Path) -> None:
    sent = push(shipped, "owner/new", backbone)
    assert sent.place == f"{hub.endpoint}/owner/new"
    assert set(hub.files["owner/new"]) == {*FILES, ".gitattributes"}
    found = pull("owner/new", tmp_path / "mine", backbone)
    assert (found.files, found.left) == (FILES, (".gitattributes",))
    original = content(shipped)
    assert content(tmp_path / "mine") == {name: original[name] for name in FILES}


def test_only_files_of_a_repository_are_fetched(backbone: EmbeddedBackbone, hub: Hub, tmp_path: Path) -> None:
    found = pull("hf-hub:owner/five", tmp_path / "mine", backbone)
    assert found.left == ("evil.pkl", "notes.txt")
    assert {f.name for f in (tmp_path / "mine").iterdir()} == set(FILES)


def test_pull_removes_files_that_the_new_version_lacks(
    shipped: Path, backbone: EmbeddedBackbone, hub: Hub, tmp_path: Path
) -> None:
    out = tmp_path / "mine"
    pull(str(shipped), out, backbone)
    for name in ("README.md", "generator.safetensors"):
        del hub.files["owner/five"][name]
    assert pull("owner/five", out, backbone).files == FILES[:2]
    assert {f.name for f in out.iterdir()} == set(FILES[:2])


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "", r"refuses access to owner/five \(HTTP 401\): log in with `hf auth login`, or set HF_TOKEN"),
        (404, "RepoNotFound", "no repository owner/five, or a private one: check the name, or log in"),
        (403, "GatedRepo", "asks for its terms to be accepted"),
        (403, "", r"refuses access to owner/five \(HTTP 403\)"),
        (404, "RevisionNotFound", "no such revision: check --revision"),
        (418, "", r"failed on owner/five \(HTTP 418\): try again later"),
    ],
)
def test_a_hub_that_refuses(backbone: EmbeddedBackbone, hub: Hub, tmp_path: Path, status: int, code: str, message: str) -> None:
    hub.status["owner/five"] = (status, code)
    with pytest.raises(RepositoryError, match=message):
        pull("owner/five", tmp_path / "mine", backbone)
    assert not list(tmp_path.iterdir())


def test_a_hub_that_refuses_an_upload(shipped: Path, backbone: EmbeddedBackbone, hub: Hub) -> None:
    hub.status["owner/other"] = (403, "")
    with pytest.raises(RepositoryError, match="refuses access to owner/other"):
        push(shipped, "owner/other", backbone)
    hub.files["owner/model"] = {"config.json": b"{}", "README.md": b"# Mine"}
    with pytest.raises(RepositoryError, match=r"owner/model holds something else \(config\.json\)"):
        push(shipped, "owner/model", backbone)
    assert hub.files["owner/model"] == {"config.json": b"{}", "README.md": b"# Mine"}


def test_no_hub_at_all(backbone: EmbeddedBackbone, shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr("core.experts.hub.HfApi", partial(HfApi, endpoint))
        for attempt in (
            lambda: pull("owner/five", tmp_path / "mine", backbone),
            lambda: push(shipped, "owner/five", backbone),
        ):
            with pytest.raises(RepositoryError, match=f"{endpoint} cannot be reached .ConnectError.. Check the network"):
                attempt()


def tamper(files: dict[str, bytes], name: str) -> None:
    files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda hub: hub.cut.add("experts.safetensors"), "did not arrive whole .*should be of size"),
        (lambda hub: tamper(hub.files["owner/five"], "experts.safetensors"), "owner/five has a damaged experts.safetensors"),
        (lambda hub: tamper(hub.files["owner/five"], "generator.safetensors"), "generator generator.safetensors is damaged"),
        (lambda hub: hub.files["owner/five"].update({"index.json": b"{"}), "owner/five has a damaged index.json"),
        (lambda hub: hub.files["owner/five"].pop("experts.safetensors"), "no expert repository: it lacks experts.safetensors"),
    ],
)
def test_an_incomplete_download_changes_nothing(
    shipped: Path, backbone: EmbeddedBackbone, hub: Hub, tmp_path: Path, damage: object, message: str
) -> None:
    out = tmp_path / "mine"
    pull(str(shipped), out, backbone)
    before = content(out)
    damage(hub)
    with pytest.raises(RepositoryError, match=message) as caught:
        pull("owner/five", out, backbone)
    assert "/tmp" not in str(caught.value)
    assert content(out) == before
    assert [f.name for f in tmp_path.iterdir()] == ["mine"]


def test_experts_of_another_backbone_are_refused_both_ways(shipped: Path, tmp_path: Path) -> None:
    other = tiny_backbone()
    message = r"another backbone \(fingerprint \w{16}, this one is \w{16}\)\. Its index names it: --backbone embedded"
    with pytest.raises(RepositoryError, match=message):
        pull(str(shipped), tmp_path / "mine", other)
    with pytest.raises(RepositoryError, match=message):
        push(shipped, str(tmp_path / "shelf"), other)
    assert not list(tmp_path.iterdir())


def test_pushed_files_contain_no_local_paths(tmp_path: Path) -> None:
    made = make_repository(tmp_path / "theirs", 1)
    theirs = load_backbone(f"local-dir:{tmp_path / 'theirs/model-1'}", adapt_blocks=2)
    push(made, str(tmp_path / "shelf"), theirs)
    engine = load_engine(theirs, made)
    write_files(tmp_path / "adapter", generated_files(engine, engine.adapt(AdapterRequest(SENTENCE))))
    for sent in (tmp_path / "shelf", tmp_path / "adapter"):
        for name, read in content(sent).items():
            assert str(tmp_path).encode() not in read, name
    assert json.loads((tmp_path / "shelf/index.json").read_text())["backbone"]["spec"] == "local-dir:model-1"
    assert b"local-dir:model-1" in content(tmp_path / "adapter")["adapter_model.safetensors"]

    # Another user has the same weights in another folder. The pulled repository must find them.
    (tmp_path / "theirs").rename(tmp_path / "ours")
    pull(str(tmp_path / "shelf"), tmp_path / "mine", load_backbone(f"local-dir:{tmp_path / 'ours/model-1'}", adapt_blocks=2))
    adapted = FoundRepository.read(tmp_path / "mine").load().adapt(AdapterRequest(SENTENCE))
    assert adapted.lora.parameters == engine.parameters


def test_places_that_hold_something_else(shipped: Path, backbone: EmbeddedBackbone, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# My project")
    for attempt in (lambda: pull(str(shipped), tmp_path, backbone), lambda: push(shipped, str(tmp_path), backbone)):
        with pytest.raises(RepositoryError, match="holds files that are no expert repository"):
            attempt()
    assert content(tmp_path) == {"README.md": b"# My project"}
    with pytest.raises(RepositoryError, match=r"it lacks index\.json and experts\.safetensors"):
        push(tmp_path, str(tmp_path / "shelf"), backbone)
    with pytest.raises(RepositoryError, match="no-such-folder does not exist"):
        pull("./no-such-folder", tmp_path / "mine", backbone)


def test_a_name_that_may_be_a_folder_or_a_hub_repository(
    backbone: EmbeddedBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RepositoryError, match=r"write \./owner/five or hf-hub:owner/five"):
        pull("owner/five", tmp_path / "mine", backbone)
    with pytest.raises(RepositoryError, match="it is OWNER/NAME"):
        pull("hf-hub:a/b/c", tmp_path / "mine", backbone)


@pytest.mark.slow
def test_hub_address_and_token_come_from_the_environment(hub: Hub, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    done = subprocess.run(
        [sys.executable, "-m", "core", "pull", "owner/five", "--out", str(out), "--json"],
        cwd=ROOT,
        env={"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_secret", "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] == list(FILES)
    assert "Bearer hf_secret" in hub.tokens
    assert "hf_secret" not in done.stdout + done.stderr
