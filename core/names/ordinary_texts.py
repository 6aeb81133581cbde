"""Ordinary texts: their second moment at the input of the last text linear. Taught names move them least (``teach``).

Encoding the texts takes seconds, so the moment ships with the embedded backbone.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from core.backbones.base import Backbone, last_linear, last_text_linear
from core.common.paths import ORDINARY_TEXTS_FILE, asset_path
from core.common.tensor_files import shipped_tensors, write_tensors

TEMPLATES = ("{}", "a photo of a {}")  # for a name alone
# Ordinary texts: each class name in the two templates, and in one of these sentences, which are like captions.
SCENES = (
    "a man with a {} in the street",
    "two children play with a {} on the grass",
    "a {} on a beach",
    "a black dog runs past a {}",
    "a woman in a red shirt looks at a {}",
    "a {} in the snow",
    "people sit around a {} at a table",
)
# What people often look for; an export says what its names cost these words.
COMMON = (
    "dog cat horse bird cow sheep fish man woman child baby people face house tree flower mountain beach sea river snow sky "
    "street car bus train bicycle boat airplane food cake fruit table chair book phone picture drawing garden forest"
).split()
RIDGE = 0.03  # added to C's diagonal, as a share of its mean: the texts do not span all directions

_kept: dict[str, Tensor] = {}  # by the backbone's fingerprint


def inverse_moment(backbone: Backbone) -> Tensor:
    """C^-1 [in, in] in float64, with RIDGE. Cached. Raises as ``last_text_linear`` and ``shipped_tensors``."""
    if backbone.fingerprint not in _kept:
        last_text_linear(backbone)  # raises before the texts are encoded
        shipped = shipped_tensors(asset_path(ORDINARY_TEXTS_FILE, backbone.name), backbone.fingerprint)
        moment = shipped["moment"].double() if shipped else second_moment(backbone)
        ridge = RIDGE * moment.diagonal().mean() * torch.eye(len(moment), dtype=moment.dtype)
        _kept[backbone.fingerprint] = torch.linalg.inv(moment + ridge)
    return _kept[backbone.fingerprint]


def second_moment(backbone: Backbone) -> Tensor:
    """C [in, in] in float64 over the ordinary texts, under the backbone's shared LoRA. Raises as ``last_text_linear``."""
    inputs = last_linear(backbone, backbone.text_prefix(ordinary_texts()), backbone.shared)[0].double()
    return inputs.T @ inputs / len(inputs)


def ordinary_texts() -> list[str]:
    """Each of ImageNet's class names in both templates, and in a sentence."""
    names = imagenet_class_names()
    texts = [template.format(name) for template in TEMPLATES for name in names]
    return texts + [SCENES[i % len(SCENES)].format(name) for i, name in enumerate(names)]


@cache
def imagenet_class_names() -> tuple[str, ...]:
    """The first lemma of each of ImageNet's classes, in order. Reads timm's files, since importing timm takes seconds."""
    package = find_spec("timm")
    assert package is not None and package.origin is not None
    files = Path(package.origin).parent / "data/_info"
    lemmas = dict(line.split("\t") for line in (files / "imagenet_synset_to_lemma.txt").read_text("utf-8").splitlines())
    return tuple(lemmas[synset].split(",")[0].strip() for synset in (files / "imagenet_synsets.txt").read_text().split())


def save_moment(moment: Tensor, fingerprint: str, path: Path) -> None:
    """Write a second moment as float32 safetensors. ``fingerprint``: the backbone's."""
    write_tensors(path, {"moment": moment.float()}, {"backbone_fingerprint": fingerprint})
