"""The model card: the hub's library reads its front matter, its figures come from the index, its commands exist."""

import json
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel

from core.backbones import load_backbone
from core.backbones.peft_format import CONFIG_FILE
from core.cli.parser import build_parser
from core.common.errors import RepositoryError
from core.common.paths import experts_path
from core.experts.card import model_card, write_card
from core.experts.files import RepositoryIndex, save_repository
from core.sglora.engine import SGLora


@pytest.fixture
def folder(engine: SGLora, tmp_path: Path) -> Path:
    """A repository of four experts. Two of them are for everyday scenes."""
    groups = [e.group for e in engine.repository.experts]
    rows = [i for i, g in enumerate(groups) if g == "scenes"][:2] + [i for i, g in enumerate(groups) if g != "scenes"][:2]
    save_repository(engine.repository.subset(rows), tmp_path)
    return tmp_path


def test_the_python_of_the_card_exports_an_expert_for_peft(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """peft cannot load the repository folder itself, so the card has no peft tag."""
    write_card(folder)
    assert not list(folder.rglob(CONFIG_FILE)) and "peft" not in ModelCard.load(folder / "README.md").data.tags
    monkeypatch.chdir(tmp_path_factory.mktemp("reader"))
    Path("mine").symlink_to(folder)
    lines = re.findall(r"^    (?!python|hf )(.*)$", ModelCard.load(folder / "README.md").text, re.MULTILINE)
    exec("\n".join(lines), found := {})
    backbone, lora = found["backbone"], found["repository"].lora(0)
    head, sentences = load_backbone().adapted, backbone.encode_sentence(["a dog in the snow", "two boats"])
    with torch.no_grad():
        expected, zero_shot = head.text(sentences, lora), head.text(sentences)
        torch.testing.assert_close(PeftModel.from_pretrained(head, "expert").text(sentences), expected, atol=2e-5, rtol=0)
        merged = load_backbone().adapted
        for name, factors in lora.factors.items():
            merged.get_submodule(name).weight += factors.b @ factors.a
        torch.testing.assert_close(merged.text(sentences), expected, atol=2e-5, rtol=0)
    assert (expected - zero_shot).abs().max() > 1e-3


def test_the_body_names_data_seeds_figures_and_fingerprints(folder: Path) -> None:
    (folder / "generator.safetensors").write_bytes(b"any")
    write_card(folder)
    index = json.loads((folder / "index.json").read_text())
    body = ModelCard.load(folder / "README.md").text
    for part in (
        index["backbone_fingerprint"],
        index["tensors_sha256"],
        "- seeds: 0",
        "symmetric contrastive",
        f"shared_steps: `{index['notes']['recipe']['shared_steps']}`",
    ):
        assert part in body
    digest = subprocess.run(["sha256sum", folder / "generator.safetensors"], capture_output=True, text=True, check=True)
    assert digest.stdout.split()[0] in body
    for expert in index["experts"]:
        sides = ((expert[s]["i2t"]["R@1"] + expert[s]["t2i"]["R@1"]) / 2 for s in ("before", "after"))
        before, after = (round(side, 2) for side in sides)  # rounded as in the recall summary
        assert f"| {expert['name']} | {expert['description']} | {expert['images']} | {before:.1f} → {after:.1f} |" in body
        assert expert["source"] in body
    assert "Nobody has stated a licence" in body


def test_commands_of_the_card_are_understood(engine: SGLora) -> None:
    index = RepositoryIndex.read(experts_path())
    for backbone, spec, pretrained in (
        (index.backbone, "embedded", None),
        ({**index.backbone, "adapt": "photos"}, "embedded", None),
        ({"spec": "ViT-B-16", "pretrained": "openai", "adapt_blocks": 3}, "ViT-B-16", "openai"),
        ({"spec": "ViT-B-16", "pretrained": "/home/me/my weights.pt", "adapt_blocks": None}, "ViT-B-16", "my weights.pt"),
        ({"spec": "local-dir:/home/me/clips/mine", "pretrained": None, "adapt_blocks": None}, "local-dir:mine", None),
    ):
        card = str(model_card(index.model_copy(update={"backbone": backbone})))
        assert f"LoRA experts (rank {index.rank} on 2 linears, from `text.mlp.1` to" in card
        assert "/home" not in card, "the card must not show a local path"
        (command,) = re.findall(r"^    python -m core (.*)$", card, re.MULTILINE)
        arguments = build_parser().parse_args(shlex.split(command))
        assert (arguments.backbone or "embedded", arguments.pretrained) == (spec, pretrained)
        assert (arguments.adapt, arguments.adapt_blocks) == (backbone.get("adapt"), backbone.get("adapt_blocks"))
        (line,) = re.findall(r"backbone = load_backbone\((.*)\)$", card, re.MULTILINE)
        given = {"spec": spec, "pretrained": pretrained, "adapt_blocks": backbone.get("adapt_blocks")}
        given["adapt"] = backbone.get("adapt")
        assert line == ", ".join(f"{k}={v!r}" for k, v in given.items() if v is not None)


def test_the_hub_reads_data_results_and_models(folder: Path) -> None:
    """The front matter, as the hub's own classes read it; results are means over the index's experts."""
    write_card(folder, "mit")
    data, index = ModelCard.load(folder / "README.md").data, RepositoryIndex.read(folder)
    assert (data.license, data.library_name, data.base_model) == ("mit", "sg-lora-studio", "sg-lora-studio")
    assert set(data.datasets) == {e.source for e in index.experts} and data.pipeline_tag == "zero-shot-image-classification"
    assert data.eval_results is not None
    found = {(result.dataset_config, result.metric_name): result.metric_value for result in data.eval_results}
    for k in (1, 5):
        recalls = [[(side["i2t"][f"R@{k}"] + side["t2i"][f"R@{k}"]) / 2 for side in (e.before, e.after)] for e in index.experts]
        gain = sum(after - before for before, after in recalls) / len(recalls)
        assert found["all", f"R@{k} gained"] == pytest.approx(gain, abs=0.01)
    names = {"ViT-B-32": "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "hf-hub:me/clip": "me/clip", "local-dir:clip": None}
    for spec, name in names.items():
        tag = "laion2b_s34b_b79k" if spec == "ViT-B-32" else None
        card = model_card(index.model_copy(update={"backbone": {"spec": spec, "pretrained": tag, "adapt_blocks": None}}))
        assert card.data.to_dict().get("base_model") == name


def test_cards_keep_the_licence_and_other_readmes(folder: Path) -> None:
    write_card(folder, "mit")
    write_card(folder)
    assert ModelCard.load(folder / "README.md").data.license == "mit"
    for own in ("# My project\n", "---\ntags: [mine]\n---\n# Mine\n", "---\ntags: [\n---\n", "---\n- a\n---\n"):
        (folder / "README.md").write_text(own)
        with pytest.raises(RepositoryError, match=r"README\.md was not written by this command"):
            write_card(folder)
        assert (folder / "README.md").read_text() == own


def test_experts_without_a_measurement(folder: Path) -> None:
    index = RepositoryIndex.read(folder)
    index = index.model_copy(update={"experts": tuple(replace(e, before={}, after={}) for e in index.experts), "notes": {}})
    card = model_card(index)
    assert "Nobody has measured these experts." in card.text


def test_the_shipped_card_matches_the_shipped_index() -> None:
    shipped = (experts_path() / "README.md").read_text(encoding="utf-8")
    made = str(model_card(RepositoryIndex.read(experts_path()), "apache-2.0"))
    assert shipped == made, "the index has changed: run `python -m core card`"
