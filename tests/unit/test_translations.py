"""Maps that move sentences in other languages toward English."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from core.backbones.embedded import EmbeddedBackbone, load_embedded
from core.backbones.translations import FORMS, in_forms, save_maps, toward_english
from core.common.digest import digest
from core.common.paths import heads_path
from core.common.progress import Bar, silent
from core.common.tensor_files import shipped_tensors
from core.training.translations import MapRecipe, ridge_regression, train_map

# Written for this test: no training photo has these captions.
SENTENCES = {
    "an old fisherman repairs his net in the harbour": {
        "German": "ein alter Fischer flickt sein Netz im Hafen",
        "French": "un vieux pêcheur répare son filet dans le port",
        "Czech": "starý rybář opravuje svou síť v přístavu",
        "Chinese": "一位老渔夫在港口修补渔网",
    },
    "two girls are eating ice cream on a bench": {
        "German": "zwei Mädchen essen Eis auf einer Bank",
        "French": "deux filles mangent une glace sur un banc",
        "Czech": "dvě dívky jedí zmrzlinu na lavičce",
        "Chinese": "两个女孩坐在长椅上吃冰淇淋",
    },
}


def random_map(seed: int, forms: int = 1, dim: int = 6) -> torch.Tensor:
    return torch.randn(forms * dim, dim, generator=torch.Generator().manual_seed(seed))


def test_a_map_begins_with_ridge_regression() -> None:
    """Compared with least squares, with the ridge as extra rows."""
    sentences = F.normalize(torch.randn(200, 6, generator=torch.Generator().manual_seed(0)), dim=-1)
    english = sentences @ random_map(1) + 0.1
    rows = np.concatenate([sentences.double().numpy(), 2**0.5 * np.eye(6)])
    wanted = np.linalg.lstsq(rows, np.concatenate([english.double().numpy(), np.zeros((6, 6))]), rcond=None)[0]
    assert ridge_regression(sentences, english, 2.0).numpy() == pytest.approx(wanted, abs=1e-4)


def encode(texts: Sequence[str]) -> torch.Tensor:
    """Random sentence embeddings [n, 6], equal for equal texts."""
    return F.normalize(torch.cat([random_map(int(digest(text)[:8], 16))[:1] for text in texts]), dim=-1)


def test_english_stays_as_it_is() -> None:
    texts = ["ein Hund mit einem Ball", "a dog with a ball", "un chien avec une balle", "un perro con una pelota", "一只狗"]
    sentences = encode(texts)
    maps = {"German": random_map(3, FORMS), "French": random_map(4, FORMS), "Chinese": random_map(5)}
    moved = toward_english(maps, texts, encode)
    assert torch.equal(moved[[1, 3]], sentences[[1, 3]]), "English, and a language without a map, stay unchanged"
    for row, name in ((0, "German"), (2, "French")):
        wanted = in_forms(texts[row : row + 1], sentences[row : row + 1], encode)[0] @ maps[name]
        assert torch.allclose(moved[row], wanted / wanted.norm(), atol=1e-6)
    chinese = sentences[4] @ maps["Chinese"]  # without capitals, a sentence has one form
    assert torch.allclose(moved[4], chinese / chinese.norm(), atol=1e-6)
    assert torch.equal(toward_english({}, texts, encode), sentences)


def test_a_sentence_is_read_in_three_forms() -> None:
    """As typed, in lower case, and with all words capitalised."""
    texts = ["ein Hund", "UN CHIEN"]
    forms = encode(["ein Hund", "ein hund", "Ein Hund", "UN CHIEN", "un chien", "Un Chien"])
    assert torch.equal(in_forms(texts, encode(texts), encode), forms.reshape(2, FORMS * 6))


def test_a_file_is_for_one_text_tower(tmp_path: Path) -> None:
    maps = {"German": random_map(0, FORMS), "Chinese": random_map(1)}
    save_maps(maps, "tower", tmp_path / "maps")
    assert shipped_tensors(tmp_path / "maps", "another tower") == {}
    for name, read in shipped_tensors(tmp_path / "maps", "tower").items():
        assert torch.allclose(read, maps.pop(name), atol=2e-3)
    assert maps == {}


def test_shipped_maps_bring_translations_closer(backbone: EmbeddedBackbone) -> None:
    """With the shared part, as the app encodes questions."""
    assert load_embedded(heads_path()).translations.keys() == {"German", "French", "Czech", "Chinese"}
    sentences = backbone.text_prefix(list(SENTENCES))
    assert torch.equal(sentences, backbone.encode_sentence(list(SENTENCES)))
    english = backbone.text_suffix(sentences, backbone.shared)

    def closeness(sentences: torch.Tensor, wanted: torch.Tensor) -> float:
        return float((backbone.text_suffix(sentences, backbone.shared) * wanted).sum(1).mean())

    texts = [text for translated in SENTENCES.values() for text in translated.values()]
    wanted = english.repeat_interleave(len(texts) // len(english), dim=0)
    assert closeness(backbone.text_prefix(texts), wanted) > closeness(backbone.encode_sentence(texts), wanted) + 0.01
    typed = [translated["German"].lower() for translated in SENTENCES.values()]
    assert closeness(backbone.text_prefix(typed), english) > closeness(backbone.encode_sentence(typed), english) + 0.01


def test_photos_teach_a_map() -> None:
    """The test's language is English with rotated axes, and its translations are wrong. The map learns from the photos
    alone."""
    random = torch.Generator().manual_seed(5)
    head, axes = torch.randn(24, 12, generator=random), torch.linalg.qr(torch.randn(24, 24, generator=random))[0]
    english = F.normalize(torch.randn(300, 24, generator=random), dim=-1)
    spoken, wrong = english @ axes, english[torch.randperm(300, generator=random)]

    def read(sentences: torch.Tensor) -> torch.Tensor:
        return F.normalize(sentences @ head, dim=-1)

    photos = read(english)

    def found(map: torch.Tensor) -> float:
        return float(((read(spoken[200:] @ map) @ photos[200:].T).argmax(1) == torch.arange(100)).float().mean())

    recipe = MapRecipe(steps=200, batch=64, lr=1e-2, like=0.0)
    trained = train_map(spoken[:200], wrong[:200], read(wrong[:200]), photos[:200], read, recipe, Bar("map", None, silent))
    assert found(trained) > 0.5 > 0.1 > found(ridge_regression(spoken[:200], wrong[:200], recipe.ridge))
