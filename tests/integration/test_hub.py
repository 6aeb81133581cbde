"""Weights from a hub: an interrupted download continues, and an error names the next step."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_stand_in import Hub, stand_in
from huggingface_hub import constants
from safetensors.torch import save
from tiny_models import noise, tiny_backbone, tiny_clip, tiny_clip_config

from core.backbones import hub as client
from core.backbones import load_backbone
from core.backbones.open_clip import fetch_weights
from core.common.errors import BackboneError, StudioError

NAME, TAG, REPOSITORY = "ViT-B-32", "laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
SIZE = 3 * 2**20 + 5


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub with this tag's weights, and a machine that has none."""
    (weights := tmp_path / "weights").write_bytes(os.urandom(SIZE))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with stand_in() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        address = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{")
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "".join(address[1:]))
        hub.files[REPOSITORY] = {client.WEIGHTS: weights}
        yield hub


def content(hub: Hub) -> bytes:
    return hub.files[REPOSITORY][client.WEIGHTS].read_bytes()


def fetched(show: client.Show = lambda done, size: None) -> bytes:
    return fetch_weights(NAME, TAG, show).read_bytes()


def stops_at(limit: int) -> client.Show:
    def show(done: int, size: int) -> None:
        if done >= limit:
            raise StudioError("stopped")

    return show


def test_weights_are_downloaded_once(hub: Hub) -> None:
    shown: list[tuple[int, int]] = []
    assert fetched(lambda *step: shown.append(step)) == content(hub)
    assert shown[-1] == (SIZE, SIZE) and shown == sorted(shown)
    assert fetched() == content(hub) and hub.starts == [0]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_stopped_download_goes_on(hub: Hub, ranges: bool) -> None:
    with pytest.raises(StudioError, match="stopped"):
        fetched(stops_at(2 * 2**20))
    assert client.weights_here(REPOSITORY) is None
    hub.ranges = ranges
    assert fetched() == content(hub)
    assert len(hub.starts) == 2 and (hub.starts[1] >= 2 * 2**20) == ranges


def test_a_broken_file_is_not_kept(hub: Hub) -> None:
    hub.broken = True
    with pytest.raises(BackboneError, match="arrived damaged: try again"):
        fetched()
    hub.broken = False
    assert fetched() == content(hub)


def test_a_full_disk_is_noticed_before_the_download(hub: Hub) -> None:
    hub.size = 10**18
    with pytest.raises(BackboneError, match=r"lacks [9,]+\d*,\d+ MB: delete files"):
        fetched()
    assert hub.starts == []


def test_a_hub_may_not_send_more_than_it_announces(hub: Hub, tmp_path: Path) -> None:
    hub.size, shown = 1_000, list[int]()
    with pytest.raises(BackboneError, match="arrived damaged: try again"):
        fetched(lambda done, size: shown.append(done))
    assert max(shown, default=0) <= 1_000 and not list(tmp_path.rglob("*.partial"))


def test_a_slow_download_can_be_stopped_at_any_byte(hub: Hub) -> None:
    hub.piece, hub.pause, begin = 1, 0.2, time.monotonic()
    with pytest.raises(StudioError, match="stopped"):
        fetched(stops_at(5))
    assert time.monotonic() - begin < 60, "a megabyte would take two days"


def test_a_hub_may_name_a_version_as_it_likes(hub: Hub) -> None:
    hub.etag = "../../a/b\\c:d"
    assert fetched() == content(hub)


def test_weights_in_another_format_are_left_to_open_clip(hub: Hub) -> None:
    hub.files[REPOSITORY] = {}
    assert fetch_weights(NAME, TAG, lambda done, size: None) is None


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [(NAME, "no-such-tag", "neither a checkpoint file nor a tag"), ("local-dir:nowhere", None, "no such folder")],
)
def test_what_is_not_there_is_said_at_once(name: str, weights: str | None, words: str) -> None:
    with pytest.raises(BackboneError, match=words):
        fetch_weights(name, weights, lambda done, size: None)


def test_weights_come_from_the_hub_and_then_from_its_cache(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """open_clip's own loader fetches a repository that it does not list."""
    config = json.dumps({"model_cfg": tiny_clip_config(), "preprocess_cfg": {}}).encode()
    hub.files["someone/tiny"] = {"open_clip_config.json": config, client.WEIGHTS: save(tiny_clip(7).state_dict())}
    fetched = load_backbone("hf-hub:someone/tiny")
    expected, pixels = tiny_backbone(7), noise(1, 3, 48, 48)
    assert fetched.slug == "hf-hub-someone-tiny"
    torch.testing.assert_close(fetched.suffix(fetched.prefix(pixels)), expected.suffix(expected.prefix(pixels)))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_backbone("hf-hub:someone/tiny").fingerprint == fetched.fingerprint, "the cache works without the server"
