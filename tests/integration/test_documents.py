"""README and docs: their Python runs, their commands parse, their links exist, and their figures are the measured ones."""

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from app_visitors import client_of
from gradio_client import Client
from PIL import Image

from core.cli.parser import build_parser
from core.common.paths import ROOT, results_path
from core.data import read_folder
from core.experiments.registry import EXPERIMENTS
from core.training.generator import GeneratorRecipe
from core.training.recipe import CLIP_RECIPE

ADDRESS = "http://127.0.0.1:7860/"  # the app's default address
PAGES = {path: path.read_text(encoding="utf-8") for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))}
README, REFERENCE, REPRODUCE = (PAGES[ROOT / name] for name in ("README.md", "docs/reference.md", "docs/reproduce.md"))
ENDPOINTS = re.findall(r"^\| `(/\w+)` \| (.*) \| (.*) \|$", REFERENCE, re.MULTILINE)
NAME = re.compile(r"`(\w+)`")


def answers_of(page: str, url: str, folder: Path) -> dict[str, tuple]:
    """Run the Python of a page; return each endpoint's answer."""
    seen: dict[str, tuple] = {}
    predict = Client.predict

    def noted(client: Client, *arguments: Any, api_name: str, **named: Any) -> Any:
        answer = predict(client, *arguments, api_name=api_name, **named)
        seen[api_name] = answer if isinstance(answer, tuple) else (answer,)
        return answer

    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert ADDRESS in code
    for number, name in enumerate(re.findall(r'handle_file\("([^"]+)"\)', code)):
        Image.new("RGB", (64, 48), (80 * number % 256, 90, 160)).save(folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "predict", noted)
        patch.chdir(folder)
        exec(compile(code.replace(ADDRESS, url), "page", "exec"), {})
    return seen


@pytest.fixture(scope="module")
def answers(url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple]:
    return answers_of(REFERENCE, url, tmp_path_factory.mktemp("reader"))


def test_the_readmes_python_runs(url: str, tmp_path: Path) -> None:
    facts, adapter = answers_of(README, url, tmp_path)["/adapt"]
    assert facts["parameters"] > 0 and Path(adapter).suffix == ".zip"


def test_the_python_runs_and_prints_what_it_says(answers: dict[str, tuple]) -> None:
    assert set(answers) == {name for name, _, _ in ENDPOINTS}
    assert Path(answers["/adapt"][1]).suffix == ".zip"
    (indexed,) = answers["/index"]
    assert (indexed["photos"], indexed["captioned"], indexed["failed"]) == (2, 1, [])
    (found,) = answers["/search"]
    assert {hit["name"] for hit in found["sg_lora"]} == {"wave.jpg", "street.jpg"}


def test_the_table_of_endpoints_is_complete(url: str, answers: dict[str, tuple], tmp_path: Path) -> None:
    served = client_of(url, tmp_path).view_api(return_format="dict", print_info=False)
    parameters = {
        name: [p["parameter_name"] for p in endpoint["parameters"]] for name, endpoint in served["named_endpoints"].items()
    }
    assert {name: NAME.findall(takes) for name, takes, _ in ENDPOINTS} == parameters
    for name, _, returns in ENDPOINTS:
        told = set(NAME.findall(returns))
        answer = answers[name][0]
        assert set(answer) <= told
        # The page describes `experts` once, at the endpoint that only routes.
        told |= set(NAME.findall(ENDPOINTS[0][2]))
        items = [item for value in answer.values() if isinstance(value, list) for item in value if isinstance(item, dict)]
        assert {key for item in items for key in item} <= told


def commands(page: str) -> list[str]:
    indented = re.findall(r"^    (.+)$", page, re.MULTILINE)
    fenced = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    lines = [line for block in (*indented, *fenced) for line in block.splitlines() if line.startswith("python -m core ")]
    return [re.split(r" [>|] ", line)[0] for line in lines]  # without redirections and pipes


def test_command_lines_are_understood() -> None:
    assert commands(README) and len(commands(REFERENCE)) >= 5
    for page in PAGES.values():
        for line in commands(page):
            build_parser().parse_args(shlex.split(line)[3:])


def test_settings_in_the_text_are_fields_of_the_recipes() -> None:
    settings = re.findall(r"--set (\w+=[\d.]+)", REPRODUCE)
    assert settings
    names = {field.name for recipe in (CLIP_RECIPE, GeneratorRecipe()) for field in fields(recipe)}
    assert {setting.partition("=")[0] for setting in settings} <= names


def test_the_line_of_a_captioned_pet_is_read(tmp_path: Path) -> None:
    (line,) = re.findall(r"```json\n(.*)\n```", REPRODUCE)
    (tmp_path / "captions.jsonl").write_text(line)
    (sample,) = read_folder(tmp_path)
    row = json.loads(line)
    assert list(sample.categories) == row["categories"] and list(sample.captions) == row["captions"]
    assert sample.path == tmp_path / row["image"] and sample.split == "train"


def test_the_reference_names_every_command() -> None:
    (chosen,) = (action for action in build_parser()._actions if isinstance(action.choices, dict))
    assert [name for name in chosen.choices if f"`{name}`" not in REFERENCE] == []


def test_the_reference_names_every_variable() -> None:
    sources = [file.read_text(encoding="utf-8") for room in ("core", "app") for file in (ROOT / room).rglob("*.py")]
    names = {name for source in sources for name in re.findall(r'"(SG_LORA_[A-Z_]+)"', source)}
    names.discard("SG_LORA_NOTE")  # a text
    assert names and [name for name in sorted(names) if f"`{name}`" not in REFERENCE] == []


def test_links_lead_to_files_that_are_there() -> None:
    for path, page in PAGES.items():
        links = [link for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", page) if "://" not in link]
        assert [link for link in links if not (path.parent / link).exists()] == [], path.name
    assert "](LICENSE)" in README


FIGURE = re.compile(r"\d+\.\d")


def test_sections_of_the_results_begin_with_the_shipped_answers_and_have_their_figures() -> None:
    """Each figure in a table of docs/results.md is in the result of its section's command."""
    answered = set()
    for section in PAGES[ROOT / "docs" / "results.md"].split("\n## ")[1:]:
        shown = FIGURE.findall("".join(line for line in section.splitlines() if line.startswith("|")))
        for name, out in re.findall(r"^    python -m core experiment (\w+)(?:.* --out (\S+))?", section, re.MULTILINE):
            file = ROOT / out / f"{name}.json" if out else results_path(name)
            report = json.loads(file.read_text(encoding="utf-8"))["report"]
            measured = set(FIGURE.findall(report["table"] + "".join(report["findings"])))
            assert [figure for figure in shown if figure not in measured] == [], name
            if not out:
                answer = f"*{report['question']}* **{report['verdict']}.** {report['findings'][0]} {report['paper']}".strip()
                assert " ".join(section.partition("\n")[2].split()).startswith(answer), name
                answered.add(name)
    assert answered == set(EXPERIMENTS)


def cells(text: str) -> dict[str, list[str]]:
    """The rows of the tables in a text, by their first cell. Numbers have no plus, and words no bold."""
    rows = ([cell.strip(" *") for cell in line.strip("| ").split(" |")] for line in text.splitlines() if line.startswith("| "))
    return {first: [cell.replace("+", "") for cell in rest] for first, *rest in rows}


def test_the_tables_of_readme_are_those_of_the_results() -> None:
    results = PAGES[ROOT / "docs" / "results.md"].split("\n## ")
    known, unseen = (cells(next(s for s in results if s.startswith(title))) for title in ("New photos", "Topics that no"))
    told = cells(README[README.index("## Results") : README.index("## How it works")])
    names = {"before (zero-shot)": "zero-shot", "random sentence": "random-sentence", "shared LoRA alone": "one-lora"}
    names |= {"nearest expert": "nearest", "weighted merge of experts": "merge", "SG-LoRA": "sg-lora"}
    for method, name in names.items():
        special, _, scenes, _, everyday = known[name]
        assert told[method] == [special.split("/")[0], scenes.split("/")[0], everyday.split("/")[2]]
    one, generated = (float(known[name][4].split("/")[0]) for name in ("one-lora", "sg-lora"))
    zero_shot = unseen["zero-shot"][1]
    helps = {
        "special domains that experts know, such as aerial photos": known["one-lora"][1],
        "everyday scenes": f"{known['one-lora'][3]}, not significant",
        "1,000 everyday photos of all kinds (one gallery)": f"{generated - one:.1f}",
        "special domains that no training saw": f"{unseen['one-lora'][1]} (over zero-shot: {zero_shot}), neither significant",
        "scenes that no training saw": f"{unseen['one-lora'][3]}, not significant",
    }
    assert {row: told[row] for row in helps} == {row: [cell] for row, cell in helps.items()}
    assert f"It finds {known['suggested'][0].split('/')[0]} in special domains." in " ".join(README.split())
