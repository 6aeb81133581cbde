"""The file of taught names: saving, loading, and files that somebody changed."""

import json
from base64 import b64encode
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from test_teach import photos, small_bank  # noqa: F401 (a fixture)
from tiny_models import tiny_backbone

from app.visitors.kept_names import LETTERS, KeptNames
from core.backbones.embedded import EmbeddedBackbone
from core.common.errors import RepositoryError
from core.names.file import load_names, most_bytes, read_names, save_names
from core.names.teach import MAX_PHOTOS, TaughtNames

NASTY = "<img src=x onerror=alert(1)> “日本” &x"


def some(backbone: EmbeddedBackbone) -> TaughtNames:
    return TaughtNames(backbone).add("wug", photos(backbone, 3, 1), photos(backbone, 2, 4)).add(NASTY, photos(backbone, 1, 2))


def changed(content: bytes, **metadata: object) -> bytes:
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    return save(load(content), header | {key: str(value) for key, value in metadata.items()})


def test_names_come_back_as_they_were(backbone: EmbeddedBackbone, small_bank: None) -> None:  # noqa: F811
    names = some(backbone)
    content = save_names(names)
    loaded = load_names(content, backbone)
    assert [entry.name for entry in loaded.entries] == ["wug", NASTY]
    for one, other in zip(names.entries, loaded.entries, strict=True):
        assert torch.equal(one.photos, other.photos)
    assert torch.equal(names.entries[0].without, loaded.entries[0].without) and loaded.entries[1].without is None
    # Texts that are read together are rounded in another way.
    torch.testing.assert_close(loaded.on(None).vector(), names.on(None).vector(), atol=1e-3, rtol=1e-2)  # type: ignore[union-attr]
    assert len(content) < most_bytes(backbone)
    with pytest.raises(RepositoryError, match="no names to save yet"):
        save_names(TaughtNames(backbone))


def test_a_file_that_is_too_large_is_not_read(backbone: EmbeddedBackbone, tmp_path: Path) -> None:
    file = tmp_path / "wugs.safetensors"
    with file.open("wb") as opened:
        opened.truncate(most_bytes(backbone) + 1)
    with pytest.raises(RepositoryError, match=r"wugs\.safetensors is too large for names"):
        read_names(file, backbone)
    file.write_bytes(b"none")
    with pytest.raises(RepositoryError, match=r"wugs\.safetensors is damaged or not a file of names"):
        read_names(file, backbone)


def test_a_file_of_another_backbone(backbone: EmbeddedBackbone) -> None:
    content = save_names(some(backbone))
    with pytest.raises(RepositoryError, match="belongs to another backbone"):
        load_names(changed(content, backbone_fingerprint="0123456789abcdef"), backbone)
    with pytest.raises(RepositoryError, match="damaged or not a file of names"):
        load_names(content, tiny_backbone(adapt="texts"))


def test_damaged_files_are_refused_in_a_sentence(backbone: EmbeddedBackbone) -> None:
    content = save_names(some(backbone))
    tensors = load(content)
    shape = list(tensors["0.photos"].shape)
    odd = {
        "not finite": {"0.photos": torch.full(shape, float("nan")).half()},
        "float32": {"0.photos": tensors["0.photos"].float()},
        "another width": {"0.photos": tensors["0.photos"][:, :-1].contiguous()},
        "too many photos": {"0.photos": tensors["0.photos"][:1].repeat(99, *[1] * (len(shape) - 1))},
    }
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    files = [save(tensors | change, header) for change in odd.values()]
    files += [b"", b"\xff" * 40, content[:-3], content[:100], b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "]
    files += [changed(content, names=value) for value in ("[]", "{}", '["wug"', "[1, 2]", '["a"]' * 2, "[" * 9_000)]
    files += [changed(content, names=json.dumps(["a", "b", "c"])), changed(content, kind="experts"), changed(content, format=2)]
    for file in files:
        with pytest.raises(RepositoryError, match="damaged or not a file of names"):
            load_names(file, backbone)
    with pytest.raises(RepositoryError, match="A name needs a letter"):
        load_names(changed(content, names=json.dumps(["wug", " "])), backbone)


def test_a_browser_keeps_names_of_each_backbone(backbone: EmbeddedBackbone, small_bank: None) -> None:  # noqa: F811
    other = tiny_backbone(adapt="texts")
    theirs = TaughtNames(other).add("dax", photos(other, 2, 3))
    kept = KeptNames.of(None).with_names(theirs).with_names(some(backbone))
    back = KeptNames.of(json.loads(json.dumps(kept.files)))
    for names in (theirs, some(backbone)):
        for entry, again in zip(names.entries, back.names(names.backbone).entries, strict=True):
            assert (entry.name, entry.photos.tolist()) == (again.name, again.photos.tolist())
    taken_back = back.with_names(TaughtNames(backbone))
    assert taken_back.files.keys() == {other.fingerprint} and taken_back.names(backbone).entries == ()
    many, number = some(backbone), 0
    while many.entries and KeptNames().with_names(many).files:
        many, number = many.add(f"name {number}", photos(backbone, MAX_PHOTOS, number)), number + 1
    assert number > 15 and back.with_names(many).files == taken_back.files  # too large: not kept
    (one,) = KeptNames().with_names(TaughtNames(backbone).add("wug", photos(backbone, 3, 1))).files.values()
    assert len(one) < 7_000


def test_what_a_browser_sends_is_not_trusted(backbone: EmbeddedBackbone, small_bank: None) -> None:  # noqa: F811
    for memory in ("made up", [1], {"a": 1}, {"a": "b" * LETTERS}, {"a": {}}, 3, True):
        with pytest.raises(RepositoryError):
            KeptNames.of(memory)
    for content in ("", "é", "AAAA", "A" * 10_000, "***", b64encode(save_names(some(backbone))[:-3]).decode()):
        with pytest.raises(RepositoryError):
            KeptNames.of({backbone.fingerprint: content}).names(backbone)
