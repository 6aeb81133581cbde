"""The app as a Hugging Face Space: the front matter of the README, and a dry run with the same restrictions.

The dry run starts the app as a user without a name and without rights, from a read-only checkout. Only a temporary folder
is writable, and the network reaches no other host.
"""

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from network_isolation import NO_NAMESPACES, asked, elsewhere, listening
from packaging.requirements import Requirement

from core.common.paths import ROOT
from core.data.sample_photos import sample_photos

pytestmark = pytest.mark.slow

COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
VISIT_SECONDS = 300
USER = 20011  # no machine has an account with this id

# The first namespace makes the script root, to cut off network and disk. The second one makes the app an ordinary user.
CONFINE = f"""
ip link set lo up
mount --bind "$0" "$0"
mount -o remount,bind,ro /
cd "$0"
exec unshare --user --map-user={USER} --map-group={USER} "$@"
"""


def test_the_front_matter_is_a_spaces() -> None:
    start, block, _ = (ROOT / "README.md").read_text().split("---\n", 2)
    front = yaml.safe_load(block)
    assert start == "" and front["sdk"] == "gradio" and (ROOT / front["app_file"]).is_file()
    assert all(isinstance(front[key], str) and front[key] for key in ("title", "emoji", "sdk_version", "python_version"))
    assert {front["colorFrom"], front["colorTo"]} <= COLOURS
    assert front["emoji"].isascii() is False and 0 < len(front["short_description"]) <= 60
    assert front["tags"] and all(isinstance(tag, str) for tag in front["tags"])
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = Requirement(next(line for line in lines if line.startswith("gradio")).partition("#")[0])
    assert front["sdk_version"] in wanted.specifier and importlib.metadata.version("gradio") in wanted.specifier
    assert f'requires-python = ">={front["python_version"]}"' in (ROOT / "pyproject.toml").read_text()
    licence = (ROOT / "LICENSE").read_text()[:200]
    assert front["license"] == "apache-2.0" and "Apache License" in licence and "Version 2.0" in licence


# Dry run


@pytest.fixture(scope="module")
def confinement(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The first words of a command that runs the rest confined; empty if this machine does not permit this."""
    folder = tmp_path_factory.mktemp("probe")
    confined = ["unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-ec", CONFINE]
    if not all(map(shutil.which, ("unshare", "mount", "ip", "sh"))):
        return []
    probe = subprocess.run([*confined, folder, sys.executable, "-c", ""], capture_output=True)
    return confined if probe.returncode == 0 else []


@pytest.fixture(scope="module")
def visit(confinement: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    folder = tmp_path_factory.mktemp("space")
    checkout, temporary = folder / "checkout", folder / "tmp"
    temporary.mkdir()
    copy_checkout(checkout)
    notes, log = temporary / "notes.txt", temporary / "log.txt"
    ears = listening(folder / "listen", notes)
    surroundings = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "no-home"),
        "TMPDIR": str(temporary),
        "NOTES": ears["NOTES"],
        "PYTHONPATH": str(checkout),
        "APP_PYTHONPATH": ears["PYTHONPATH"],  # log network requests of the app, not of the visit
        # The settings for arithmetic of this process.
        **{key: value for key, value in os.environ.items() if key.startswith(("OMP_", "OPENBLAS_"))},
        # The variables that a Space sets.
        "SYSTEM": "spaces",
        "SPACE_ID": "someone/sg-lora-studio",
        "GRADIO_SERVER_NAME": "0.0.0.0",
    }
    command = [sys.executable, checkout / "tests" / "helpers" / "space_visit.py", checkout, log]
    prefix = [*confinement, temporary] if confinement else []
    process = subprocess.Popen(
        [*prefix, *command],
        env=surroundings,
        cwd=temporary,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(timeout=VISIT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # kill the visit and the app that it started
        out, errors = process.communicate()
    written = log.read_text() if log.exists() else ""
    assert process.returncode == 0, f"{errors}\n{written}"
    yield {**json.loads(out), "log": written, "asked": asked(notes)}
    shutil.rmtree(temporary)


def copy_checkout(target: Path) -> None:
    """Copy the files that git would check out, without write permission."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for source in (ROOT / name for name in names if name):
        if source.is_file():
            copy = target / source.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            copy.chmod(0o444)
    for folder in (target, *(f for f in target.rglob("*") if f.is_dir())):
        folder.chmod(0o555)


def test_the_app_runs_as_a_space_runs_it(visit: dict) -> None:
    samples = sample_photos()
    assert len(visit["routed"]["experts"]) == 4
    assert (visit["samples"]["added"], visit["samples"]["captioned"]) == (len(samples), len(samples))
    assert "photos of rooms in a house" in visit["samples"]["suggested"]
    assert visit["adapted"]["experts"] == visit["routed"]["experts"]
    assert visit["adapter"].endswith(".zip")
    assert all(len(visit["found"][key]) == 10 for key in ("zero_shot", "merge", "sg_lora"))
    # On a Space, Gradio reloads files with a package that is not installed here. It logs the error and goes on.
    assert visit["log"].count("Traceback") == visit["log"].count("RuntimeError: `spaces` package is required")
    assert elsewhere(visit["asked"]) == [], "the app asks no other machine"


def test_it_was_confined(visit: dict, confinement: list[str]) -> None:
    if not confinement:
        pytest.skip(f"{NO_NAMESPACES}: the app ran with a read-only copy, but with rights and a network")
    assert (visit["user"], visit["named"]) == (USER, False)
    assert visit["route"] is False
    assert len(visit["writable"]) == 1, "only the temporary folder may be writable"
