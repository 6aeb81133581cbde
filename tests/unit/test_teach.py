"""Names taught from photos: the closed form compared with direct solutions, and the effect on texts and photos."""

import pytest
import torch
import torch.nn.functional as F
from shared_parts import random_shared
from tiny_models import noise, random_lora, tiny_backbone
from torch import Tensor

from core.backbones.base import Backbone, last_linear
from core.backbones.embedded import EmbeddedBackbone
from core.backbones.lora import Factors, Lora
from core.backbones.lora_algebra import merge
from core.common.errors import AdapterError, DescriptionError
from core.common.paths import ORDINARY_TEXTS_FILE, asset_path
from core.common.tensor_files import shipped_tensors
from core.names import ordinary_texts, teach
from core.names.ordinary_texts import RIDGE, SCENES, inverse_moment, second_moment
from core.names.ridge import BACKGROUND, everyday_photos, ridge_directions
from core.names.ridge import RIDGE as PHOTO_RIDGE
from core.names.teach import MAX_PHOTOS, OWN_NAME, TaughtNames, closed_form, left_out
from core.retrieval.gallery import Entry, Gallery, GalleryPhotos, Photo
from core.retrieval.photo_set import background


def photos(backbone: Backbone, n: int, seed: int) -> Tensor:
    """Prefixes of noise plus a common direction, so that photos with the same seed are similar."""
    common = noise(*backbone.prefix_shape, seed=seed)
    return (common + 0.3 * noise(n, *backbone.prefix_shape, seed=seed + 100)).half()


def said(backbone: Backbone, texts: Tensor, lora: Lora | None) -> Tensor:
    """The unit-length mean of a name's texts in both templates. The texts are not normalised before the mean."""
    return F.normalize(last_linear(backbone, texts, lora)[1].mean(0), dim=-1)


def least_squares(named: list[Tensor], moment: Tensor | None) -> Tensor:
    """The unit-length directions [n, d] of names with these photos [k, d], as the solution of one least squares problem."""
    x = torch.cat(named).double()
    z = torch.block_diag(*(torch.ones(len(own), 1) for own in named)).double()
    gram = x.T @ x + (0 if moment is None else BACKGROUND * moment.double())
    more = [] if moment is None else [BACKGROUND**0.5 * torch.linalg.cholesky(moment.double() + 1e-9 * torch.eye(len(gram))).T]
    more.append((PHOTO_RIDGE * gram.trace() / len(gram)) ** 0.5 * torch.eye(len(gram), dtype=gram.dtype))
    rows = torch.cat([x, *more])
    answers = torch.cat([z, torch.zeros(len(rows) - len(x), len(named), dtype=z.dtype)])
    return F.normalize(torch.linalg.lstsq(rows, answers).solution.T, dim=-1).float()


def targets(model: Backbone, names: TaughtNames, lora: Lora | None = None) -> list[Tensor]:
    """The embedding that each name should have: that of its photos, and a little of its own text."""
    moved = lora is not None and lora.moves_photos
    shipped = None if moved and model.shared is None else everyday_photos(model)
    moment = None if shipped is None else shipped.moments[int(moved)]
    directions = least_squares([model.suffix(entry.photos, lora) for entry in names.entries], moment)
    own = [said(model, entry.texts, lora) * OWN_NAME / len(entry.photos) for entry in names.entries]
    return [F.normalize(d + text, dim=-1) for d, text in zip(directions, own, strict=True)]


@pytest.fixture
def small_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the ordinary texts of six class names instead of a thousand, not the shipped file."""
    monkeypatch.setattr(ordinary_texts, "_kept", {})
    monkeypatch.setattr(ordinary_texts, "shipped_tensors", lambda path, owner: {})
    six = tuple("tench goldfish ostrich magpie axolotl vulture".split())
    monkeypatch.setattr(ordinary_texts, "imagenet_class_names", lambda: six)


@pytest.fixture(params=["embedded", "embedded photos", "embedded shared", "clip texts"])
def model(request: pytest.FixtureRequest, backbone: EmbeddedBackbone, small_bank: None) -> Backbone:
    if request.param == "clip texts":
        return tiny_backbone(adapt="texts")
    if request.param == "embedded shared":
        return backbone.with_shared(random_shared(backbone))
    return backbone.adapting("photos") if request.param == "embedded photos" else backbone


def test_the_closed_form_is_ridge_regression_in_the_bank_s_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teach, "LAMBDA", 0.2)
    keys, residuals, bank = noise(3, 12, seed=1), noise(3, 5, seed=2), noise(40, 12, seed=3)
    c = bank.T.double() @ bank.double() / len(bank)
    k, r = keys.double(), residuals.double()
    weight = 0.2 * torch.einsum("ni,ij,nj->n", k, torch.linalg.inv(c), k).mean()
    factors = closed_form(keys, residuals, torch.linalg.inv(c))
    # The gradient of sum_i |W k_i - r_i|^2 + weight tr(W C W^T) is zero where W (K^T K + weight C) = R^T K.
    direct = torch.linalg.solve(k.T @ k + weight * c, k.T @ r).T
    assert torch.allclose(factors.delta, direct.float(), atol=1e-4)


def test_the_text_of_a_name_lands_on_its_photos(model: Backbone) -> None:
    names = TaughtNames(model).add("wug", photos(model, 3, 1)).add("dax", photos(model, 3, 2))
    lora = names.on(None)
    assert lora is not None and lora.moves_texts and not lora.moves_photos
    assert lora.factors[lora.modules[0].name].a.shape[0] == 2
    for entry, target in zip(names.entries, targets(model, names), strict=True):
        before, after = (said(model, entry.texts, each) @ target for each in (None, lora))
        assert float(after) > 0.99 > float(before) + 0.3


def test_names_are_added_to_an_adapter_exactly(model: Backbone) -> None:
    """The reference has weights that are changed by hand."""
    layout = model.layout
    if layout.moves_photos:
        pytest.skip("an adapter of photos changes targets alone: see below")
    adapter = random_lora(layout, 3, 0.05)
    names = TaughtNames(model).add("wug", photos(model, 3, 1)).add("dax", photos(model, 2, 2))
    prefix = model.text_prefix(["a wug in the snow", "dax", "an old bicycle"])
    both = names.on(adapter)
    assert both is not None
    own = teach.names_lora(names, names.entries, adapter)
    (name,) = own.factors
    delta = adapter.factors[name].delta + own.factors[name].delta
    by_hand = Lora(adapter.modules, {**adapter.factors, name: Factors(torch.eye(delta.shape[1]), delta)})
    assert torch.allclose(model.text_suffix(prefix, both), model.text_suffix(prefix, by_hand), atol=1e-5)
    assert float(said(model, names.entries[0].texts, both) @ targets(model, names, adapter)[0]) > 0.99


def test_photos_that_an_adapter_moves_are_the_target(backbone: EmbeddedBackbone, small_bank: None) -> None:
    paper = backbone.adapting("photos")
    adapter = random_lora(paper.layout, 3, 0.1)
    names = TaughtNames(paper).add("wug", photos(paper, 3, 1))
    lora = names.on(adapter)
    assert lora is not None and lora.moves_photos and lora.moves_texts
    (moved,), (unmoved,) = (targets(paper, names, each) for each in (adapter, None))
    text = said(paper, names.entries[0].texts, lora)
    assert float(text @ moved) > 0.99 > float(unmoved @ moved)
    assert torch.allclose(paper.suffix(names.entries[0].photos, lora), paper.suffix(names.entries[0].photos, adapter))


def test_photos_under_the_shared_part_are_the_target(backbone: EmbeddedBackbone, small_bank: None) -> None:
    both = backbone.with_shared(random_shared(backbone))
    shared = both.shared
    adapter = merge([shared, random_lora(both.layout, 3, 0.05)], [1.0, 1.0])
    names = TaughtNames(both).add("wug", photos(both, 3, 1))
    lora = names.on(adapter)
    assert lora is not None
    embeddings = both.suffix(names.entries[0].photos, lora)  # the backbone finds the shared part inside this LoRA
    assert torch.equal(embeddings, both.suffix(names.entries[0].photos, shared))
    (there,) = targets(both, names, adapter)
    assert float(said(both, names.entries[0].texts, lora) @ there) > 0.99
    alone = names.on(None)  # without the shared part
    (plain,) = targets(both, names)
    assert float(said(both, names.entries[0].texts, alone) @ plain) > 0.99 > float(plain @ there)


def test_ordinary_texts_are_read_once_under_the_shared_part(model: Backbone) -> None:
    inverse = inverse_moment(model)
    names = "tench goldfish ostrich magpie axolotl vulture".split()
    texts = [*names, *(f"a photo of a {name}" for name in names), *map(str.format, SCENES, names)]
    keys = last_linear(model, model.text_prefix(texts), model.shared)[0].double()
    moment = sum((torch.outer(k, k) for k in keys), torch.zeros(len(inverse), len(inverse), dtype=torch.float64)) / len(keys)
    moment += RIDGE * moment.diagonal().mean() * torch.eye(len(moment))
    assert torch.allclose(inverse @ moment, torch.eye(len(moment), dtype=torch.float64), atol=1e-4)
    assert inverse_moment(model) is inverse


def test_the_moment_of_ordinary_texts_ships(backbone: EmbeddedBackbone) -> None:
    """The shipped file has what reading the texts gives, up to other processors' rounding."""
    shipped = shipped_tensors(asset_path(ORDINARY_TEXTS_FILE), backbone.fingerprint)["moment"]
    assert asset_path(ORDINARY_TEXTS_FILE).stat().st_size < 5_000_000
    read = second_moment(backbone)
    assert float((shipped - read).norm() / read.norm()) < 1e-2


def test_a_backbone_of_photos_alone_cannot_be_taught() -> None:
    clip = tiny_backbone()
    with pytest.raises(AdapterError, match="--adapt texts"):
        TaughtNames(clip).add("wug", photos(clip, 1, 1)).on(None)


def in_memory(backbone: Backbone, prefixes: torch.Tensor) -> GalleryPhotos:
    rows = backbone.suffix(prefixes)
    entries = {str(i): Entry(Photo(str(i), f"{i}.jpg", b""), prefixes[i], rows[i]) for i in range(len(rows))}
    return GalleryPhotos(backbone, entries)


def test_the_searched_photos_are_the_background(small_bank: None) -> None:
    """The photos of two galleries together, against their photos in one list."""
    clip = tiny_backbone(adapt="texts")
    shown, others = photos(clip, 3, 1), photos(clip, 60, 2)
    embedded, sets = clip.suffix(others), [in_memory(clip, others[:15]), in_memory(clip, others[15:])]
    names = TaughtNames(clip).add("wug", shown).among(background(sets))
    (direction,) = least_squares([clip.suffix(shown)], embedded.T @ embedded / 60)
    expected = F.normalize(direction + OWN_NAME / 3 * said(clip, names.entries[0].texts, None), dim=0)
    found = said(clip, names.entries[0].texts, names.on(None))
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
    assert background([in_memory(clip, others[:19])]) is None and background([Gallery(tiny_backbone()).contents]) is None
    assert names.among(background(sets)) is names and names.among(None).background is None


def test_a_photo_of_two_names_is_right_for_both(small_bank: None) -> None:
    """It is one row of the regression, with two answers; not two rows that contradict each other."""
    clip = tiny_backbone(adapt="texts")
    dogs, both, beaches = photos(clip, 2, 1), photos(clip, 2, 2), photos(clip, 2, 3)
    names = TaughtNames(clip).add("dog", torch.cat([dogs, both])).add("beach", torch.cat([both, beaches]))
    x, z = clip.suffix(torch.cat([dogs, both, beaches])), torch.tensor([[1, 0], [1, 0], [1, 1], [1, 1], [0, 1], [0, 1]])
    expected = ridge_directions(x, z, None)
    for direction, right in zip(names.directions(None).values(), expected, strict=True):
        torch.testing.assert_close(direction, right, atol=1e-4, rtol=0)


def test_one_name_in_two_spellings_is_one(backbone: EmbeddedBackbone) -> None:
    first, second = photos(backbone, 2, 1), photos(backbone, 3, 2)
    names = TaughtNames(backbone).add("Wug", first).add("wug ", torch.cat([first[:1], second]))
    (entry,) = names.entries
    assert entry.name == "Wug" and torch.equal(entry.photos, torch.cat([first, second]))
    renamed = names.add("dax", photos(backbone, 1, 3)).rename("dax", "WUG")
    assert [e.name for e in renamed.entries] == ["Wug"] and len(renamed.entries[0].photos) == 6


def test_nearly_equal_names_with_different_photos_stay_finite(backbone: EmbeddedBackbone, small_bank: None) -> None:
    names = TaughtNames(backbone).add("wug", photos(backbone, 3, 1)).add("wug!?wug", photos(backbone, 3, 2))
    names = names.add("wug wug", photos(backbone, 3, 3))
    lora = names.on(None)
    assert lora is not None and bool(torch.isfinite(lora.vector()).all())
    moved = backbone.encode_text(["a dog in the snow"], lora) @ backbone.encode_text(["a dog in the snow"]).T
    assert float(moved) > 0.5  # with a bank of six ordinary texts; other questions keep most of their meaning


@pytest.mark.parametrize(
    ("name", "text"),
    [(" \n", "A name needs a letter"), ("🐱", "A name needs a letter"), ("x" * 61, "61 characters; 60 is the most")],
)
def test_names_that_cannot_be_taught(backbone: EmbeddedBackbone, name: str, text: str) -> None:
    with pytest.raises(DescriptionError, match=text):
        TaughtNames(backbone).add(name, photos(backbone, 1, 1))


def test_limits(backbone: EmbeddedBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    names = TaughtNames(backbone)
    with pytest.raises(DescriptionError, match="“wug” has no photo"):
        names.add("wug", photos(backbone, 0, 1))
    monkeypatch.setattr(teach, "MAX_NAMES", 3)
    for i in range(3):
        names = names.add(f"name {i}", photos(backbone, 1, i))
    with pytest.raises(DescriptionError, match="would be more than 3 names"):
        names.add("wug", photos(backbone, 1, 1))
    with monkeypatch.context() as patched, pytest.raises(DescriptionError, match="all names have more than 4 photos"):
        patched.setattr(teach, "MOST_PHOTOS", 4)
        names.add("name 0", photos(backbone, 2, 9))
    assert len(names.add("name 0", photos(backbone, 99, 1)).entries[0].photos) == MAX_PHOTOS
    assert left_out("wug", MAX_PHOTOS) == [] and "67 were left out" in str(left_out("wug", 99)[0])
    question = "purple flowers in a wild meadow that I saw in the spring of last year"
    crossed = photos(backbone, 0, 1)  # a question whose results were marked may be longer than a name
    assert TaughtNames(backbone).add(question, photos(backbone, 1, 1), crossed).entries[0].name == question


def test_a_sentence_says_more_than_a_name(backbone: EmbeddedBackbone) -> None:
    names = TaughtNames(backbone).add("wug", photos(backbone, 1, 1)).add("dax", photos(backbone, 3, 2))
    for text in ("Wug", "a photo of  a wug.", "a dog in the snow"):
        assert names.in_sentence(text) == ("", [])
    names = names.add("my wug", photos(backbone, 2, 3)).add("a red line", photos(backbone, 2, 4), photos(backbone, 1, 5))
    names = names.add("小白", photos(backbone, 2, 6))
    for text, rest, own in (
        ("a dax beside a wug", "a beside a", [1, 3]),
        ("My wug in the snow, with wugs", "in the snow, with", [1, 2]),  # the longer name goes first
        ("a red line on a dax", "a red line on a", [3, 2]),  # a marked question says something
        ("a red line at night", "", [2]),
        ("dax, dax!", "", [3]),
        ("雪里的小白在跑", "雪里的 在跑", [2]),
    ):
        left, found = names.in_sentence(text)
        assert (left, [len(each) for each in found]) == (rest, own)
