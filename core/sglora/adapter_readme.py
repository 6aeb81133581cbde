"""The README of a downloaded adapter: what it was made from, and the lines that load it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.backbones.base import Side

README_FILE = "README.md"

_TEXT = """\
# A LoRA adapter of SG-LoRA Studio

- Sentence: {sentence}
- Made from: {experts}
- Model: `{backbone}`, fingerprint `{fingerprint}`
- Seed {seed}, k {k}, temperature {tau:g}, strength {strength:.3g}

`adapter_config.json` and `adapter_model.safetensors` are in the format of [PEFT](https://huggingface.co/docs/peft).
{use}"""

_OURS = """\
Unpacked into the folder `adapter` of a checkout of SG-LoRA Studio, with a photo of yours beside it, these lines compare the
photo with words, without and with the adapter:

```python
from pathlib import Path

from PIL import Image

from core.backbones import load_backbone
from core.backbones.peft_format import load_peft

backbone = load_backbone({arguments})
lora, origin = load_peft(Path("adapter"), backbone.layout.modules, backbone.fingerprint)
photo = backbone.prefix(backbone.pixels(Image.open("photo.jpg").convert("RGB"))[None])
words = ["a dog that jumps over an obstacle"]
for name, adapter in (("zero-shot", None), ("adapted", lora)):
    print(name, round(float(backbone.suffix(photo, adapter) @ backbone.encode_text(words, adapter).T), 3))
```

The same with `peft` itself, on the model's adapted part, which takes {inputs}:

```python
from copy import deepcopy

from peft import PeftModel

model = PeftModel.from_pretrained(deepcopy(backbone.adapted), "adapter").eval()
print("with peft", round(float({product}), 3))
```
"""
_ADAPTED: Mapping[Side, Mapping[str, str]] = {
    "texts": {
        "inputs": "sentence embeddings",
        "product": "backbone.suffix(photo) @ model(backbone.encode_sentence(words)).T",
    },
    "photos": {
        "inputs": "a photo's prefix activations",
        "product": "model(photo.float()) @ backbone.encode_text(words).T",
    },
}

_TRANSFORMERS = """\
Its linears are named as in `CLIPModel` of [transformers](https://huggingface.co/docs/transformers). Unpacked into the folder
`adapter`, these lines load it onto the same weights there:

```python
from peft import PeftModel
from transformers import CLIPModel

model = PeftModel.from_pretrained(CLIPModel.from_pretrained({base}), "adapter").eval()
```
"""


def adapter_readme(
    provenance: Mapping[str, Any], choice: Mapping[str, Any], adapts: Side, clip_model: str | None = None
) -> str:
    """The README of an adapter as Markdown.

    Args:
        provenance: as ``SGLora.provenance`` gives it.
        choice: the arguments of ``load_backbone``, as others may know them. adapts: as the backbone's.
        clip_model: the model of transformers that it is for; None: for the backbone's own adapted part.
    """
    arguments = ", ".join(f"{key}={json.dumps(value)}" for key, value in choice.items() if value is not None)
    experts = ", ".join(f"{_plain(e['name'])} ({e['weight'] * 100:.0f} %)" for e in provenance["experts"])
    if clip_model is None:
        use = _OURS.format(arguments=arguments, **_ADAPTED[adapts])
    else:
        use = _TRANSFORMERS.format(base=json.dumps(clip_model))
    return _TEXT.format(
        sentence=_plain(provenance["description"]),
        experts=experts,
        backbone=provenance["backbone"],
        fingerprint=provenance["backbone_fingerprint"],
        use=use,
        **{key: provenance[key] for key in ("seed", "k", "tau", "strength")},
    )


def _plain(text: str) -> str:
    """Text as Markdown that means nothing but itself."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+!|&" else c for c in text)
