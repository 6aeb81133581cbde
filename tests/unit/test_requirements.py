"""The requirements files. App, command line and training run without the packages that only tests need."""

import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from core.common.paths import ROOT


def required(file: str) -> dict[str, Requirement]:
    """The packages that a requirements file names directly."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    return {r.name: r for r in (Requirement(line) for line in lines if line and not line.startswith("-r "))}


@pytest.mark.slow
def test_all_rooms_need_only_their_own_requirements() -> None:
    named = required("requirements-test.txt") | required("requirements-scale.txt")
    hidden = [name.replace("scikit-learn", "sklearn") for name in named]
    code = f"""
import sys
from importlib.machinery import ModuleSpec
hidden = {hidden}
class Hide:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name.partition(".")[0] in hidden else None
    def create_module(self, spec):
        raise ModuleNotFoundError(spec.name, name=spec.name)
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Hide())
import app.actions.own_experts, app.page.layout, core.cli.train
from core.cli.main import main
from core.experiments.registry import EXPERIMENTS
assert all(experiment.module.run for experiment in EXPERIMENTS.values())
assert main(["route", "a photo of a dog"]) == 0
assert main(["experiment", "latent", "--data", "."]) == 1
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "This needs the package matplotlib: see docs/reproduce.md" in run.stderr


def test_every_package_is_named_once_and_has_bounds() -> None:
    files = [required(f"requirements{part}.txt") for part in ("", "-test", "-scale")]
    names = [name for file in files for name in file]
    assert len(names) == len(set(names))
    for requirement in (r for file in files for r in file.values()):
        assert re.search(r"==|>=", str(requirement.specifier)) and re.search(r"==|<", str(requirement.specifier))


def test_the_scripts_of_ci_name_what_is_there() -> None:
    scripts = "".join(file.read_text() for file in sorted((ROOT / ".ci").iterdir()))
    files = re.findall(r"(?:tests|\.ci)/[\w/{},-]+(?:\.py)?|requirements[\w-]*\.txt", scripts)
    assert len(files) > 5
    for file in files:
        before, braces, rest = file.partition("{")
        some, _, after = rest.partition("}")
        for each in some.split(",") if braces else [""]:
            assert (ROOT / f"{before}{each}{after}").exists(), file


def test_contributing_installs_the_tools_of_ci() -> None:
    tools = re.search(r"pip\" install --quiet ('ruff.*)", (ROOT / ".ci" / "run").read_text())
    assert tools and f"requirements-test.txt {tools[1]}\n" in (ROOT / "CONTRIBUTING.md").read_text()
