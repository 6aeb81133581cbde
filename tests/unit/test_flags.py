"""Flags that a Space sets as variables."""

import sys

import pytest

from app.flags import flags


@pytest.mark.parametrize(("value", "mcp"), [("true", True), ("True", True), ("false", False), (None, False)])
def test_a_variable_offers_mcp_where_no_flags_are_given(monkeypatch: pytest.MonkeyPatch, value: str | None, mcp: bool) -> None:
    pytest.importorskip("mcp")
    monkeypatch.setattr(sys, "argv", ["app.py"])
    monkeypatch.delenv("GRADIO_MCP_SERVER", raising=False)
    if value is not None:
        monkeypatch.setenv("GRADIO_MCP_SERVER", value)
    assert flags().mcp is mcp


TEXTS = {"adapt": "texts"}
CLIP = {"spec": "ViT-B-32", "pretrained": "laion2b_s34b_b79k", **TEXTS}


@pytest.mark.parametrize(
    ("options", "variable", "backbones"),
    [
        ("", "", []),
        ("--backbone ViT-B-32 --pretrained laion2b_s34b_b79k", "", [CLIP]),
        (
            "--backbone local-dir:a --backbone ViT-B-32 --pretrained laion2b_s34b_b79k",
            "",
            [{"spec": "local-dir:a", **TEXTS}, CLIP],
        ),
        ("", "ViT-B-32 laion2b_s34b_b79k, hf-hub:a/b", [CLIP, {"spec": "hf-hub:a/b", **TEXTS}]),
        ("--backbone local-dir:a", "ViT-B-32 laion2b_s34b_b79k", [{"spec": "local-dir:a", **TEXTS}]),
    ],
)
def test_backbones_come_with_their_weights(
    monkeypatch: pytest.MonkeyPatch, options: str, variable: str, backbones: list[dict[str, str]]
) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py", *options.split()])
    monkeypatch.setenv("SG_LORA_BACKBONE", variable)
    assert (flags().backbone, flags().hub) == (backbones, False)
    monkeypatch.setenv("SG_LORA_HUB", "true")
    assert flags().hub


@pytest.mark.parametrize("options", ["--backbone ViT-B-32", "--pretrained openai", "--pretrained openai --backbone ViT-B-32"])
def test_random_weights_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py", *options.split()])
    with pytest.raises(SystemExit):
        flags()
    assert "--pretrained" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "variables", "proxies"),
    [
        ("", {}, []),
        ("", {"SPACE_ID": "a/b"}, ["10.0.0.0/8"]),
        ("", {"SPACE_ID": "a/b", "SG_LORA_PROXY": "10.1.0.0/16, fd00::/8"}, ["10.1.0.0/16", "fd00::/8"]),
        ("", {"SPACE_ID": "a/b", "SG_LORA_PROXY": ""}, []),
        ("--proxy 172.17.0.0/16 --proxy 192.0.2.9", {"SG_LORA_PROXY": "10.1.0.0/16"}, ["172.17.0.0/16", "192.0.2.9/32"]),
        ("--proxy anywhere", {}, None),
        ("", {"SG_LORA_PROXY": "10.1.0.1/16"}, None),
    ],
)
def test_only_named_proxies_are_believed(
    monkeypatch: pytest.MonkeyPatch, options: str, variables: dict[str, str], proxies: list[str] | None
) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py", *options.split()])
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if proxies is None:
        with pytest.raises(SystemExit):
            flags()
    else:
        assert list(map(str, flags().proxy)) == proxies
