"""``export``: open_clip and immich's runtime load the model, and embed as the backbone does with the adapter."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import open_clip
import pytest
import torch
import torch.nn.functional as F
from command_line import Run
from small_families import CONTEXT, END, FAMILIES, small_model
from tiny_models import noise, random_lora
from tokenizers import Tokenizer

from core.backbones import load_backbone
from core.backbones.lora import LoraLayout
from core.backbones.peft_format import save_peft
from core.names.teach import TaughtNames

TEXTS = ["two boats", "a dog in the snow"]


@torch.no_grad()
@pytest.mark.parametrize(  # each kind of image and of text tower; ``test_families.py`` has the others
    ("family", "adapt"),
    [("CLIP by OpenAI", "photos"), ("CLIP by OpenAI", "texts"), ("SigLIP 2", "texts"), ("MobileCLIP 2, B", "photos")],
)
def test_open_clip_embeds_as_the_backbone(family: str, adapt: str, tmp_path: Path, run: Run) -> None:
    small = small_model(FAMILIES[family], tmp_path)
    backbone = load_backbone(small.name, str(small.weights), adapt=adapt)
    layout = LoraLayout.of(backbone.linears, list(backbone.linears), 2)  # all linears, not only the usual ones
    lora = random_lora(layout, 1, 0.1)
    save_peft(lora, tmp_path / "adapter", backbone.fingerprint, small.name, {})
    options = ["--backbone", small.name, "--pretrained", small.weights, "--adapt", adapt]
    code, out, err = run("export", "open-clip", "--adapter", tmp_path / "adapter", "--out", tmp_path / "out", *options)
    assert code == 0 and "open_clip_model.safetensors" in out, err

    model, name = open_clip.create_model(f"local-dir:{tmp_path / 'out'}").eval(), f"local-dir:{tmp_path / 'out'}"
    pixels, tokens = noise(2, 3, 48, 48), open_clip.get_tokenizer(name)(TEXTS)
    photos = F.normalize(model.encode_image(pixels), dim=-1)
    texts = F.normalize(model.encode_text(tokens), dim=-1)
    ours_photos = backbone.suffix(backbone.prefix(pixels, torch.float32), lora if adapt == "photos" else None)
    ours_texts = backbone.encode_text(TEXTS, lora if adapt == "texts" else None)
    torch.testing.assert_close(photos, ours_photos, atol=5e-5, rtol=0)
    torch.testing.assert_close(texts, ours_texts, atol=5e-5, rtol=0)
    changed, plain = (
        (photos, backbone.suffix(backbone.prefix(pixels))) if adapt == "photos" else (texts, backbone.encode_text(TEXTS))
    )
    assert (changed - plain).abs().max() > 1e-2
    again = load_backbone(name, adapt=adapt)
    assert again.framing == backbone.framing and torch.equal(torch.as_tensor(again.mean), torch.as_tensor(backbone.mean))


class Immich:
    """How immich reads a text model (machine-learning, clip/textual.py)."""

    def __init__(self, folder: Path, context: int) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        pad = json.loads((folder / "tokenizer_config.json").read_text())["pad_token"]
        self.tokenizer.enable_padding(length=context, pad_token=pad, pad_id=self.tokenizer.token_to_id(pad))
        self.tokenizer.enable_truncation(max_length=context)
        self.session = onnxruntime.InferenceSession(folder / "model.onnx")

    def tokens(self, text: str) -> np.ndarray:
        return np.array([self.tokenizer.encode(" ".join(text.split())).ids], dtype=np.int32)

    def embed(self, text: str) -> np.ndarray:
        return self.session.run(None, {"text": self.tokens(text)})[0][0]


@pytest.mark.parametrize("family", ["CLIP by OpenAI", "MetaCLIP 2"])
def test_immich_embeds_as_the_backbone(family: str, tmp_path: Path, run: Run) -> None:
    small = small_model(FAMILIES[family], tmp_path)
    backbone = load_backbone(small.name, str(small.weights), adapt="texts")
    names = TaughtNames(backbone).add("Mimi", backbone.prefix(noise(3, 3, 48, 48)))
    lora = names.on(random_lora(LoraLayout.of(backbone.linears, list(backbone.linears), 2), 1, 0.1))
    save_peft(lora, tmp_path / "adapter", backbone.fingerprint, small.name, {})
    model = ["--backbone", small.name, "--pretrained", small.weights]
    export = ("export", "immich", "--adapter", tmp_path / "adapter", "--out", tmp_path / "out", *model)
    code, out, err = run(*export, "--adapt", "texts")
    assert code == 0 and "model.onnx" in out, err

    immich, theirs = Immich(tmp_path / "out" / "textual", CONTEXT), open_clip.SimpleTokenizer(context_length=CONTEXT)
    texts = ["Mimi", "Two  boats, on the SEA!", "café 24/7 🐶", "long " * 40]
    for text, expected in zip(texts, backbone.encode_text(texts, lora), strict=True):
        (tokens,), (found,) = theirs([text]).numpy(), immich.tokens(text)
        end = tokens.argmax() + 1  # what comes after it is padding
        assert (tokens[:end] == found[:end]).all() and set(found[end:]) <= {END}
        assert immich.embed(text) == pytest.approx(expected.numpy(), abs=5e-5)
    assert np.abs(immich.embed("Mimi") - backbone.encode_text(["Mimi"])[0].numpy()).max() > 1e-2
    code, _, err = run(*export, "--adapt", "photos")
    assert code == 1 and "--adapt texts" in err


def test_what_cannot_be_exported(run: Run, tmp_path: Path) -> None:
    export = ("export", "open-clip", "--adapter", tmp_path / "dogs", "--out")
    run("adapt", "photos of dogs", "--out", tmp_path / "dogs")
    code, _, err = run(*export, tmp_path / "out")
    assert code == 1 and "The embedded backbone is no open_clip model" in err and not (tmp_path / "out").exists()
    code, _, err = run(*export, tmp_path / "dogs")
    assert code == 1 and "holds other files: name a new folder" in err
