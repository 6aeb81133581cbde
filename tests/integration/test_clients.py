"""The app from other clients: the reference's examples for curl, JavaScript and gradio_client run as printed."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from app_visitors import SENTENCE, Running, client_of
from gradio_client import handle_file
from made_up_photos import blurred
from npm_packages import npm_installed

from core.common.paths import ROOT

pytestmark = pytest.mark.slow
SECONDS = 300


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder in which an example runs, with the photos that it names."""
    blurred(tmp_path, ["wave.jpg", "street.jpg"], seed=1)
    return tmp_path


def example(language: str, app: Running) -> str:
    """The reference's example in ``language``, with the address of the running app."""
    text = (ROOT / "docs" / "reference.md").read_text()
    (code,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert "http://127.0.0.1:7860/" in code
    return code.replace("http://127.0.0.1:7860/", app.url)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed (Debian: apt install curl)")
def test_curl(app: Running, folder: Path) -> None:
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example("bash", app)], cwd=folder, capture_output=True, text=True, timeout=SECONDS
    )
    assert run.returncode == 0, run.stderr
    assert not run.stderr and run.stdout.count("\n") >= 2, run.stdout + run.stderr
    index, search = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("[")]
    assert (index[0]["photos"], index[0]["captioned"]) == (1, 1)
    assert [hit["name"] for hit in search[0]["sg_lora"]] == ["wave.jpg"]


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return npm_installed("@gradio/client@2", tmp_path_factory.mktemp("node"))


def test_javascript(app: Running, folder: Path, node_modules: Path) -> None:
    (folder / "node_modules").symlink_to(node_modules)
    (folder / "example.mjs").write_text(example("javascript", app))
    run = subprocess.run(["node", "example.mjs"], cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == "1 photos, with captions: 1"
    assert lines[1].startswith("1 wave.jpg ")


def test_a_photo_is_a_question_too(app: Running, folder: Path) -> None:
    client = client_of(app.url, folder)
    photos = [handle_file(folder / name) for name in ("wave.jpg", "street.jpg")]
    client.predict(files=photos, captions="wave.jpg: a man on a wave\nstreet.jpg: cars in a street", api_name="/index")
    answer = client.predict(photo=photos[0], description=SENTENCE, api_name="/search")
    assert {hit["name"] for hit in answer["zero_shot"]} == {"a man on a wave", "cars in a street"}
    with pytest.raises(Exception, match="not with both"):
        client.predict(query="a dog", photo=photos[0], description=SENTENCE, api_name="/search")
    for filters in ({"folder": "trip"}, {"since": "yesterday"}, {"until": "2024-01-01"}):
        with pytest.raises(Exception, match="folder, since and until choose photos: leave them out"):
            client.predict(photo=photos[0], description=SENTENCE, **filters, api_name="/search")
