"""Fuzzing of our own parsers: they accept any input or reject it with an error message. Each run uses the same examples."""

import copy
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from hostile_cases import check_inert, check_message
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from make_adapters import own_experts_file
from make_images import encode, picture
from make_zips import Member, pack, photo
from zips import unzipped, zipped

from app.actions.answering import request as checked
from app.page.views import page_html
from core.backbones.lora import Lora, LoraLayout, LoraModule
from core.backbones.peft_format import CONFIG_FILE, WEIGHTS_FILE, load_peft, save_peft
from core.common.errors import AdapterError, DataError, DescriptionError, PhotoError, RepositoryError, StudioError
from core.common.paths import GENERATOR_FILE, asset_path
from core.common.text import MAX_DESCRIPTION, clean_text, safe_name
from core.data import read_folder
from core.data.captions import captions_from_names, match_captions, parse_typed, read_captions
from core.data.image_io import open_photo
from core.data.uploads import sort_uploads
from core.experts.files import INDEX_FILE, TENSORS_FILE, RepositoryIndex, load_generator, load_repository, save_repository
from core.experts.own import load_zip
from core.sglora.engine import SGLora
from core.sglora.fit import Fit
from core.sglora.request import AdapterRequest

LAYOUT = LoraLayout((LoraModule("vision.blocks.0.attn.q_proj", 5, 7), LoraModule("vision.blocks.0.attn.v_proj", 6, 4)), rank=2)
FINGERPRINT = "0123456789abcdef"


def fuzz(examples: int) -> settings:
    """Settings for ``examples`` examples: the same in each run, and none stored on disk."""
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=checks)


T = TypeVar("T")


def tried(make: Callable[[], T], error: type[StudioError], *private: Path) -> T | None:
    """The result; None if it is rejected with an error message, which shows no ``private`` path."""
    try:
        return make()
    except error as raised:
        check_message(str(raised), *private)
        return None


# Damaged data


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """``whole`` with bytes replaced, inserted, deleted or cut off."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 6))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        kind = draw(st.sampled_from(("replace", "replace", "number", "insert", "delete", "cut")))
        if kind == "replace":
            data[at] = draw(st.integers(0, 255))
        elif kind == "number":
            data[at : at + 4] = struct.pack("<I", draw(st.sampled_from((0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1))))
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=20))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 40))]
        else:
            del data[at:]
    return bytes(data)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "<b>", "\x1b[1m", "3"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def changed(draw: st.DrawFn, whole: Any) -> Any:
    """A JSON value with some parts replaced or deleted."""
    value = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        place = value
        while True:
            keys = sorted(place) if isinstance(place, dict) else range(len(place))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            if draw(st.integers(0, 3)):
                place[key] = draw(ANYTHING)
            else:
                del place[key]
            break
    return value


# Captions

WORDS = st.text(st.sampled_from("ab.,;:|\t\"'\n\r #1j<&\u2028\u202e\ud800é") | st.characters(), max_size=60)


@fuzz(400)
@given(st.sampled_from((".csv", ".tsv", ".jsonl", ".txt", "")), WORDS | st.binary(max_size=60), st.integers(1, 50))
def test_captions_files(suffix: str, content: str | bytes, most: int) -> None:
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    if (found := tried(lambda: read_captions(f"x{suffix}", data, most), DataError)) is not None:
        assert 0 < sum(map(len, found.values())) <= most
        assert all(text.isprintable() and text.strip() and len(text) <= 1_000 for own in found.values() for text in own)


@fuzz(200)
@given(changed({"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": "a dog"}]}))
def test_coco_captions(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    folder = tmp_path_factory.mktemp("coco")
    (folder / "captions.json").write_text(json.dumps(content))
    found = tried(lambda: read_folder(folder), DataError) or []
    assert all(isinstance(text, str) for sample in found for text in sample.captions)


@fuzz(300)
@given(WORDS, st.lists(WORDS, max_size=4))
def test_typed_captions_and_names(typed: str, names: list[str]) -> None:
    names = [safe_name(name) for name in names]
    assert all(name.isprintable() and 0 < len(name) <= 80 and not {"/", "\\"} & set(name) for name in names)
    assert len(match_captions(names, tried(lambda: parse_typed(typed), DataError) or {})) == len(names)
    captions_from_names(names)


# ZIP files

ZIP = pack(
    Member(b"a/one.png", photo(1)),
    Member("zw\u00f6lf.png".encode(), photo(2), flags=0x800),
    Member(b"captions.csv", b"image,caption\none.png,a dog\n"),
    comment=b"a comment",
)


@fuzz(250)
@given(damaged(ZIP))
def test_zip_files(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("zip")
    (folder / "x.zip").write_bytes(data)
    uploads = sort_uploads([folder / "x.zip"], folder / "in")
    for name, path in uploads.photos:
        assert all(safe_name(part) == part for part in name.split("/")), "folder names must be safe, too"
        assert path.resolve().parent == (folder / "in" / "0").resolve()
    for name, reason in uploads.failed:
        check_message(f"{name}: {reason}", folder)
    written = {path for path in folder.rglob("*") if path.is_file()}
    assert written == {folder / "x.zip", *(path for _, path in uploads.photos)}


# Photos


@fuzz(150)
@given(st.data())
def test_photos(data: st.DataObject) -> None:
    fmt = data.draw(st.sampled_from(("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")))
    content = data.draw(damaged(encode(picture(5), fmt)))
    image = tried(lambda: open_photo(content, "x"), PhotoError)
    assert image is None or image.mode == "RGB"


# Adapters, saved experts, repositories, generators


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "x"
    vector = 0.1 * torch.randn(LAYOUT.size, generator=torch.Generator().manual_seed(0))
    save_peft(Lora.from_vector(LAYOUT, vector), folder, FINGERPRINT, "tiny", {"seed": 1})
    return folder


def try_adapter(folder: Path, config: bytes, weights: bytes) -> None:
    folder.mkdir(exist_ok=True)
    (folder / CONFIG_FILE).write_bytes(config)
    (folder / WEIGHTS_FILE).write_bytes(weights)
    loaded = tried(lambda: load_peft(folder, LAYOUT.modules, FINGERPRINT), AdapterError, folder.parent)
    assert loaded is None or bool(torch.isfinite(loaded[0].vector()).all())


@fuzz(250)
@given(st.data())
def test_adapter_weights(adapter: Path, tmp_path: Path, data: st.DataObject) -> None:
    whole = (adapter / WEIGHTS_FILE).read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    if data.draw(st.booleans()):
        content = data.draw(damaged(whole))
    else:
        header = json.dumps(data.draw(changed(json.loads(whole[8 : 8 + size])))).encode()
        content = struct.pack("<Q", len(header)) + header + whole[8 + size :]
    try_adapter(tmp_path / "x", (adapter / CONFIG_FILE).read_bytes(), content)


@fuzz(200)
@given(st.data())
def test_adapter_configurations(adapter: Path, tmp_path: Path, data: st.DataObject) -> None:
    config = json.loads((adapter / CONFIG_FILE).read_text())
    content = json.dumps(data.draw(changed(config) | ANYTHING)).encode()
    try_adapter(tmp_path / "x", content, (adapter / WEIGHTS_FILE).read_bytes())


@pytest.fixture(scope="module")
def own_experts(engine: SGLora) -> bytes:
    return own_experts_file(engine)


@fuzz(120)
@given(st.data())
def test_own_experts(engine: SGLora, own_experts: bytes, data: st.DataObject) -> None:
    files = unzipped(own_experts)
    if data.draw(st.integers(0, 3)):
        index = data.draw(changed(json.loads(files[INDEX_FILE])))
        content = zipped({**files, INDEX_FILE: json.dumps(index).encode()}, zipfile.ZIP_STORED)
    else:
        content = data.draw(damaged(own_experts))
    loaded = tried(lambda: load_zip(content, engine), RepositoryError)
    for entry in () if loaded is None else loaded.entries:
        assert entry.name.isprintable() and entry.expert.description.isprintable()
        assert entry.expert.gain() is None or abs(entry.expert.gain()) <= 100


@pytest.fixture(scope="module")
def repository(engine: SGLora, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of three shipped experts."""
    folder = tmp_path_factory.mktemp("repository")
    save_repository(engine.repository.subset(range(3)), folder)
    return folder


@fuzz(200)
@given(st.data())
def test_indexes_of_repositories(engine: SGLora, repository: Path, tmp_path: Path, data: st.DataObject) -> None:
    index = json.loads((repository / INDEX_FILE).read_text(encoding="utf-8"))
    content = data.draw(changed(index).map(json.dumps).map(str.encode) | damaged(json.dumps(index).encode()))
    (tmp_path / INDEX_FILE).write_bytes(content)
    (tmp_path / TENSORS_FILE).write_bytes((repository / TENSORS_FILE).read_bytes())
    try:
        found = RepositoryIndex.read(tmp_path)
        loaded = load_repository(tmp_path, engine.backbone.layout, engine.backbone.fingerprint)
    except RepositoryError as error:
        assert str(tmp_path) in str(error)
        check_message(str(error).replace(str(tmp_path), ""))
        return
    assert all(isinstance(e.name, str) and e.name.isprintable() for e in found.experts)
    for expert in loaded.experts:
        assert expert.gain() is None or isinstance(expert.gain(), float)


@fuzz(40)
@given(st.data())
def test_generators(engine: SGLora, tmp_path: Path, data: st.DataObject) -> None:
    whole = asset_path(GENERATOR_FILE).read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + size])
    config = json.loads(header["__metadata__"]["config"])
    sizes = st.integers(-(2**40), 2**40) | ANYTHING
    config = {key: data.draw(sizes) if data.draw(st.booleans()) else value for key, value in config.items()}
    header["__metadata__"]["config"] = json.dumps(config)
    made = json.dumps(header).encode()
    (tmp_path / "generator").write_bytes(struct.pack("<Q", len(made)) + made + whole[8 + size :])
    tried(lambda: load_generator(tmp_path / "generator", engine.backbone.fingerprint), RepositoryError, tmp_path)


# Words

TEXT = st.text(max_size=200) | WORDS | st.integers(1_900, 2_100).map(lambda n: "a" * n) | ANYTHING


@fuzz(300)
@given(TEXT, ANYTHING, ANYTHING, ANYTHING, ANYTHING)
def test_descriptions_and_controls(text: Any, k: Any, tau: Any, seed: Any, strength: Any) -> None:
    for check in (
        lambda: clean_text(text),
        lambda: checked(text, k, tau, seed, strength),
        lambda: checked("dogs", k, 0.1, 0, 1),
    ):
        if (answer := tried(check, DescriptionError)) is not None:
            cleaned = answer if isinstance(answer, str) else answer.description
            assert cleaned.isprintable() and 0 < len(cleaned) <= MAX_DESCRIPTION
            check_inert(page_html.note(cleaned))


@fuzz(40)
@example("a dog", 10**9, 0.1, 0)  # more experts than there are; once, because comparing with all takes long
@given(
    st.text(min_size=1, max_size=400),
    st.integers(1, 12) | st.integers(-5, 1),
    st.floats(0, exclude_min=True) | st.floats(allow_nan=True),
    st.integers(0, 2**31 - 1),
)
def test_any_sentence_is_routed_and_adapted(engine: SGLora, text: str, k: int, tau: float, seed: int) -> None:
    if (result := tried(lambda: engine.adapt(AdapterRequest(text, k, tau, seed)), StudioError)) is None:
        return
    assert bool(torch.isfinite(result.full.vector()).all())
    check_inert(page_html.routing(engine, result.routing, Fit.of(engine, result.routing), False, False))
    check_inert(page_html.adapter(engine, result) + page_html.adapter_details(engine, result))
