"""The command line: JSON keys, exit codes, output streams, and error messages for bad input.

Most tests call ``main`` in this process, which saves seconds of imports. A few start the real program.
"""

import json
import os
import pickle
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_photos import blurred, dated
from random_engines import random_engine
from repositories import make_repository

from core.backbones import load_backbone
from core.backbones.peft_format import load_peft
from core.cli import commands
from core.cli.main import main
from core.cli.search import is_photo
from core.common.digest import digest
from core.common.paths import ROOT, experts_path
from core.data import read_folder
from core.experiments.evaluate import adapters_of, evaluate
from core.experts.adapter_files import routed_experts
from core.retrieval.library import PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.sglora.request import AdapterRequest

TEXT = "photos of people surfing"
FOLDER, NOWHERE, EMPTY, BROKEN = "FOLDER", "nowhere", "empty", "broken"  # places: photos, and three without any


def test_names_control_no_terminal(run, tmp_path: Path) -> None:
    name = "\x1b[2J\x9b31mred\u202egpj\nfake line.jpg"
    blurred(tmp_path / "photos", [name], 1)
    (tmp_path / "photos" / f"broken{name}").write_text("no photo")
    library = tmp_path / "library"
    outputs = [
        run("index", tmp_path / "photos", "--library", library),
        run("library", library),
        run("search", "a dog", "--library", library),
        run("search", "a dog", "--gallery", tmp_path / "photos"),
        run("search", "a dog", "--gallery", tmp_path / f"none{name}"),
    ]
    assert [code for code, _, _ in outputs] == [0, 0, 0, 0, 1]
    for _, out, err in outputs:
        assert not set("\x1b\x9b\u202e") & set(out + err)
        assert not any(line.startswith("fake line.jpg") for line in (out + err).splitlines())
    assert r"\x1b[2J\x9b31mred\u202egpj\nfake line.jpg" in outputs[2][1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Six photos with two captions each, some of them shared, in captions.jsonl."""
    root = tmp_path_factory.mktemp("photos")
    names = [f"{i:02}.jpg" for i in range(6)]
    blurred(root / "images", names, 1)
    rows = [{"image": f"images/{n}", "captions": [f"ball {i % 3}", f"the thing number {i}"]} for i, n in enumerate(names)]
    (root / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def started(*argv: object, **changes: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **changes}
    command = [sys.executable, "-m", "core", *map(str, argv)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)


def test_help_explains_every_command_with_an_example_and_the_exit_codes(run):
    code, out, _ = run("--help")
    assert code == 0
    assert "exit codes:" in out
    for command in ("route", "adapt", "search", "evaluate", "train backbone", "train experts", "train generator"):
        code, out, _ = run(*command.split(), "--help")
        assert code == 0
        assert f"python -m core {command} " in out.split("example:")[1]
        assert "JSON" in out.split("example:")[1]
        assert "exit codes:\n  0 " in out


def test_help_does_not_wait_for_torch():
    read = "from core.cli.parser import build_parser; build_parser()"
    script = f"import sys; {read}; sys.exit(bool({{'torch', 'numpy'}} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


@pytest.mark.parametrize("part", ["backbone", "shared", "experts", "generator"])
def test_shipped_files_are_replaced_only_if_one_says_so(run, tmp_path, part):
    code, _, err = run("train", part, "--data", tmp_path)
    assert code == 2 and "exists: choose another path" in err and "--yes" in err
    for options in (("--yes",), ("--out", tmp_path / "out")):
        code, _, err = run("train", part, "--data", tmp_path, "--cache", tmp_path / "cache", *options)
        assert code == 1 and "exists" not in err, "the folder holds nothing to train on"


@pytest.mark.slow
def test_a_program_prints_its_answer_on_stdout_and_errors_on_stderr():
    done = started("route", "  ")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1) and "description is empty" in done.stderr
    done = started("route", "фотографии собак", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u0444" in done.stdout, "a terminal without Unicode ends no command"


def test_route_is_what_the_engine_says(run, answer, engine):
    found = answer("route", TEXT, "--k", 4, "--tau", 0.05)
    assert list(found) == ["backbone", "description", "k", "tau", "experts", "fit"]
    assert all(list(e) == ["name", "description", "similarity", "weight"] for e in found["experts"])
    assert found["experts"] == routed_experts(engine, engine.route(TEXT, 4, 0.05))
    code, out, err = run("route", TEXT, "--k", 4, "--tau", 0.05)
    assert (code, err) == (0, "") and TEXT in out and all(expert["name"] in out for expert in found["experts"])


@pytest.mark.parametrize(
    ("text", "notice", "applied"),
    [
        (TEXT, "the names of everyday objects lose ", True),
        ("psi ve sněhu", "seems to be Czech", False),
        ("qwertyuiop zxcvbnm", "No expert fits this sentence (closeness ", False),
    ],
)
def test_the_command_line_shows_the_pages_notice(run, tmp_path, text, notice, applied):
    _, out, _ = run("adapt", text, "--out", tmp_path / "adapter")
    assert notice in out and ("No expert fits" in out) is ("No expert fits" in notice)
    assert ("Only the part that all experts share is applied." not in out) is applied
    assert ("- Made from: " in (tmp_path / "adapter" / "README.md").read_text()) is applied


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["dance"],
        ["route", TEXT, "--k", "many"],
        ["adapt", TEXT],
        ["adapt", TEXT, "--out", "x", "--strength", "inf"],
        ["adapt", TEXT, "--out", "x", "--part", "half"],
        ["search", "dog"],
        ["train"],
    ],
)
def test_wrong_usage_is_exit_code_2(run, argv):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("usage: python -m core")


@pytest.mark.parametrize(
    ("code", "message", "argv"),
    [
        (2, '-water is no option. To exclude a word, quote it with what to look for: "dog -water".', ["search", "-water"]),
        (2, "--top: “0” is no count: give a whole number, 1 or more", ["search", "dog", "--gallery", ".", "--top", "0"]),
        (2, "--seed: “-3” is no seed: give a whole number, 0 or more", ["adapt", TEXT, "--out", "x", "--seed", "-3"]),
        (2, "“may” is no day: give one such as 2024-05-31", ["search", "dog", "--gallery", ".", "--since", "may"]),
        *((1, "nowhere", ["route", TEXT, option, NOWHERE]) for option in ("--experts", "--generator", "--heads")),
        (1, "ViT-Z-99", ["route", TEXT, "--backbone", "ViT-Z-99"]),
        (1, "--random-weights", ["train", "experts", "--data", EMPTY, "--backbone", "ViT-B-32"]),
        (1, "ViT-Z-99", ["train", "experts", "--data", EMPTY, "--backbone", "ViT-Z-99", "--random-weights"]),
        (1, "nowhere does not exist", ["experiment", "known", "--data", NOWHERE]),
        (1, "nowhere does not exist", ["search", "a dog", "--gallery", NOWHERE]),
        (1, "nowhere does not exist", ["evaluate", "--task", TEXT, "--data", NOWHERE]),
        *((1, "nowhere does not exist", ["train", p, "--data", NOWHERE]) for p in ("backbone", "experts", "generator")),
        (1, "description has no letter or digit", ["adapt", "?!…", "--out", NOWHERE, "--json"]),
        (1, "100,000 characters", ["route", "a" * 100_000, "--json"]),
        (1, "query is empty", ["search", " ", "--gallery", FOLDER, "--json"]),
        (1, "query has no letter or digit: say what the photos show", ["search", "!!!???", "--gallery", FOLDER]),
        (1, "description is empty", ["search", "dog", "--gallery", FOLDER, "--task", ""]),
        (1, "holds no photo", ["search", "dog", "--gallery", EMPTY]),
        (1, "broken.jpg", ["search", "dog", "--gallery", BROKEN]),
    ],
)
def test_what_cannot_be_done_is_explained(run, folder, tmp_path, code, message, argv):
    for name in (EMPTY, BROKEN):
        (tmp_path / name).mkdir()
    (tmp_path / BROKEN / "broken.jpg").write_text("no image")
    places = {FOLDER: folder} | {name: tmp_path / name for name in (NOWHERE, EMPTY, BROKEN)}
    found, out, err = run(*(places.get(each, each) for each in argv))
    assert (found, out) == (code, "") and message in err and len(err.splitlines()[-1]) < 600
    assert not (tmp_path / NOWHERE).exists()


def test_adapt_writes_the_engines_lora_and_says_so(run, answer, engine, tmp_path):
    out_folder = tmp_path / "new" / "adapter"
    options = ["--k", 3, "--tau", 0.2, "--seed", 5, "--strength", 0.5]
    found = answer("adapt", TEXT, "--out", out_folder, *options)
    expected = engine.adapt(AdapterRequest(TEXT, 3, 0.2, 5, 0.5))
    assert found["experts"] == routed_experts(engine, expected.routing)
    assert (found["seed"], found["strength"], found["k"], found["tau"]) == (5, 0.5, 3, 0.2)
    assert found["parameters"] == engine.parameters, "the same for all sentences and k"
    assert found["out"] == str(out_folder)
    assert sorted(found["files"]) == sorted(p.name for p in out_folder.iterdir())
    lora, provenance = load_peft(out_folder, engine.backbone.linears.values(), engine.backbone.fingerprint)
    assert lora.factors.keys() == expected.lora.factors.keys() and provenance["weight"] == expected.weight == 0.5
    for name, factors in expected.lora.factors.items():
        torch.testing.assert_close(lora.factors[name].delta, factors.delta)
    assert provenance["experts"] == found["experts"]
    assert provenance["seed"] == 5
    code, out, err = run("adapt", TEXT, "--out", out_folder)
    assert (code, err) == (0, "")
    assert f"parameters: {engine.parameters:,}" in out


def test_an_experts_part_works_like_the_whole(run, answer, backbone, tmp_path, monkeypatch):
    engine = random_engine(backbone)
    monkeypatch.setattr(commands, "load_chosen_engine", lambda arguments: engine)
    vectors = {}
    for part in ("whole", "expert", "shared"):
        found = answer("adapt", TEXT, "--out", tmp_path / part, "--part", part)
        assert (found["part"], found["description"]) == (part, TEXT)
        vectors[part] = np.array(answer("vector", "a red ball", "--adapter", tmp_path / part)["vector"])
    np.testing.assert_allclose(vectors["expert"], vectors["whole"], atol=1e-3)
    assert np.abs(vectors["shared"] - vectors["whole"]).max() > 0.01
    engine = random_engine(backbone.with_shared(None))
    code, _, err = run("adapt", TEXT, "--out", tmp_path / "none", "--part", "expert")
    assert (code, (tmp_path / "none").exists()) == (1, False) and "no part “expert”: choose the whole" in err


def test_adapt_replaces_an_adapter_and_no_other_file(run, tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("mine")
    monkeypatch.chdir(tmp_path)
    for out in (tmp_path, ""):
        code, _, err = run("adapt", TEXT, "--out", out)
        assert code == 1 and "holds other files: name a new folder" in err
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"] and (tmp_path / "README.md").read_text() == "mine"
    code, out, err = run("adapt", TEXT, "--out", tmp_path / "README.md", "--json")
    assert (code, out) == (1, "") and str(tmp_path / "README.md") in err
    assert (tmp_path / "README.md").read_text() == "mine"
    for seed in (0, 1):  # an adapter may be replaced
        assert run("adapt", TEXT, "--out", tmp_path / "out", "--seed", seed)[0] == 0


@pytest.mark.parametrize("kind", ["pickle", "archive"])
def test_no_file_is_executed(run, tmp_path: Path, folder: Path, kind: str) -> None:
    class Harm:
        def __reduce__(self) -> tuple:
            return (tmp_path.joinpath("done").touch, ())

    harm, place = tmp_path / "harm", tmp_path / "place"
    harm.write_bytes(pickle.dumps(Harm())) if kind == "pickle" else torch.save(Harm(), harm)
    for name in ("adapter", "experts", "library"):
        (place / name).mkdir(parents=True)
    shutil.copy(experts_path() / "index.json", place / "experts")
    index = json.loads((place / "experts" / "index.json").read_text()) | {"tensors_sha256": digest(harm.read_bytes())}
    (place / "experts" / "index.json").write_text(json.dumps(index))
    (place / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2}')
    for name in ("adapter/adapter_model.safetensors", "adapter/adapter_model.bin", "experts/experts.safetensors"):
        shutil.copy(harm, place / name)
    for name in ("library/library.json", "library/photos.lance", "photo.jpg", "captions.jsonl"):
        shutil.copy(harm, place / name)
    for command in (
        ["search", "a dog", "--gallery", folder, "--adapter", place / "adapter"],
        ["route", TEXT, "--experts", place / "experts"],
        ["route", TEXT, "--generator", harm],
        ["route", TEXT, "--heads", harm],
        ["library", place / "library"],
        ["search", "a dog", "--gallery", place],
        ["search", place / "photo.jpg", "--gallery", folder],
    ):
        code, _, err = run(*command)
        assert code == 1 and "Traceback" not in err, (command, err)
        assert not (tmp_path / "done").exists(), command
    # The files are really harmful: unpickling them runs their code.
    torch.load(harm, weights_only=False) if kind == "archive" else pickle.loads(harm.read_bytes())
    assert (tmp_path / "done").exists()


def test_a_full_disk_is_named(run, tmp_path, capsys, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # larger writes fail, as on a full disk
    try:
        code, out, err = run("adapt", TEXT, "--out", tmp_path / "adapter")
        (tmp_path / "before").mkdir()
        (tmp_path / "before" / "notes.txt").touch()
        again, _, _ = run("adapt", TEXT, "--out", tmp_path / "before")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (code, out, err) == (1, "", "[Errno 27] File too large.\n")
    assert again == 1 and [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["notes.txt"], "no files are left"
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["route", TEXT]) == 1
    assert capsys.readouterr().err == "The answer cannot be written: No space left on device.\n"


def test_evaluate_is_what_the_library_call_measures(run, answer, engine, folder):
    found = answer("evaluate", "--data", folder, "--task", TEXT, "--k", 3, "--tau", 0.2, "--seed", 2, "--strength", 0.6)
    adapters = adapters_of(engine, AdapterRequest(TEXT, 3, 0.2, 2, 0.6))
    expected = evaluate(engine.backbone, read_folder(folder), adapters)
    assert (found["images"], found["captions"]) == (6, 9) == (expected["images"], expected["captions"])
    assert list(found["methods"]) == ["zero-shot", "merge", "sg-lora"]
    for name, ways in expected["methods"].items():
        assert found["methods"][name] == {way: pytest.approx(values, abs=1e-4) for way, values in ways.items()}
    code, out, err = run("evaluate", "--data", folder, "--task", TEXT, "--methods", "sg-lora, zero-shot,sg-lora")
    assert code == 0 and "6/6 photos" in err and "6 photos, 9 captions" in out
    assert [line.split()[0] for line in out.splitlines()[3:]] == ["sg-lora", "zero-shot"]


def test_search_prints_both_rankings(run, answer, tmp_path):
    photos = tmp_path / "photos"
    blurred(photos, ["a.jpg", "b.jpg", "c.jpg"], 2)
    shutil.copy(photos / "a.jpg", photos / "again.jpg")
    blurred(photos / "deeper", ["a.jpg"], 3)
    (photos / "broken.jpg").write_text("no image")
    (photos / "notes.txt").write_text("not looked at")
    found = answer("search", "a red ball", "--gallery", photos, "--task", TEXT)
    assert "left out: broken.jpg: " in run("search", "a red ball", "--gallery", photos)[2]
    assert (found["query"], found["task"], found["photos"], found["total"]) == ("a red ball", TEXT, 4, 4)
    assert [f["name"] for f in found["failed"]] == ["broken.jpg"]
    ranks = {}
    for method in ("zero-shot", "sg-lora"):
        hits = found["rankings"][method]
        assert {hit["photo"] for hit in hits} == {"a.jpg", "b.jpg", "c.jpg", "deeper/a.jpg"}
        assert [hit["rank"] for hit in hits] == [1, 2, 3, 4]
        ranks[method] = {hit["photo"]: hit["rank"] for hit in hits}
    for hit in found["rankings"]["sg-lora"]:
        assert hit["moved"] == ranks["zero-shot"][hit["photo"]] - ranks["sg-lora"][hit["photo"]]


def test_search_of_a_folder_leaves_out_other_days(run, answer, tmp_path):
    for number, day in enumerate(("2023:05:01", "2024:05:01", "2024:05:02")):
        dated(tmp_path / f"{number}.jpg", day)
    blurred(tmp_path, ["3.jpg"], 1)
    for filters, left in ((["--since=2024-05-01"], "12"), (["--since=2023-05-01", "--until=2024-05-01"], "01")):
        found = answer("search", "a dog", "--gallery", tmp_path, *filters)
        assert (found["total"], list(found["rankings"])) == (2, ["zero-shot", "shared"])
        assert all({hit["photo"][0] for hit in hits} == set(left) for hits in found["rankings"].values())
    code, _, err = run("search", "a dog", "--gallery", tmp_path, "--since", "2030-01-01")
    assert code == 1 and "No photo matches this folder" in err
    code, _, err = run("search", "a dog", "--gallery", tmp_path, "--folder", tmp_path)
    assert code == 2 and "--folder is for a library" in err
    code, _, err = run("search", "a dog", "--gallery", tmp_path, "--since", "2025-01-01", "--until", "2024-01-01")
    assert code == 1 and "The first day 2025-01-01 is after 2024-01-01: swap the days." in err


def test_search_of_captions_rejects_the_options_that_choose_photos(run, folder, photo_library):
    photo = folder / "images" / "03.jpg"
    for place, filters in (
        (("--library", photo_library), ("--folder", folder)),
        (("--library", photo_library), ("--until", "2024-01-01")),
        (("--gallery", folder), ("--since", "2024-01-01")),
    ):
        for question in (("a red ball", "--find", "captions"), (photo, "--task", TEXT)):
            code, out, err = run("search", *question, *place, *filters)
            assert (code, out) == (2, "") and "Captions are found for photos alone: leave out words" in err


@pytest.mark.parametrize("question", ["photos/nix.jpg", "nix.JPG", "~/nix/a.jpg", "nix/a dog.png"])
def test_a_photo_that_is_not_there_is_not_searched_as_words(run, folder, question):
    for argv in (
        ("search", question, "--gallery", folder),
        ("search", "a dog", question, "--gallery", folder),
        ("vector", question),
    ):
        code, out, err = run(*argv)
        assert (code, out) == (1, "") and err == f"{question} is not there: give the path of a photo, or words.\n"


def test_words_with_the_name_of_a_photo_are_words():
    assert not any(map(is_photo, ("a photo called a.jpg of a dog", "a photo called a.jpg", "cats and/or dogs")))


def test_an_unknown_folder_of_a_library_is_named_with_those_that_it_has(run, folder, photo_library):
    code, _, err = run("search", "a dog", "--library", photo_library, "--folder", folder / "nowhere")
    assert code == 1
    assert f"no photo in {folder / 'nowhere'}: name one of its folders, such as {folder}, {folder / 'images'}." in err


@pytest.fixture(scope="module")
def photo_library(folder, tmp_path_factory) -> Path:
    library = tmp_path_factory.mktemp("library") / "made"
    assert main(["index", str(folder), "--library", str(library)]) == 0
    return library


def test_index_says_what_became_of_files(run, answer, folder, photo_library):
    found = answer("index", folder, "--library", photo_library)
    assert list(found) == ["library", "photos", "added", "removed", "failed", "seconds"]
    assert (found["photos"], found["added"], found["failed"]) == (6, 0, [])
    found = answer("library", photo_library)
    assert (found["photos"], found["files"], found["failed"]) == (6, 6, 0)
    assert found["folders"] == [str(folder)]
    code, out, err = run("index", folder / "nowhere", "--library", photo_library)
    assert (code, out) == (1, "") and "nowhere" in err
    code, out, err = run("index", folder, "--library", photo_library, "--address", "auto")
    assert (code, out) == (2, "") and "it needs --engine ray" in err


def test_a_photo_finds_itself_and_its_captions(answer, folder, photo_library):
    photo = folder / "images" / "03.jpg"
    found = answer("search", photo, "--library", photo_library, "--find", "photos", "--top", 3)
    for hits in found["rankings"].values():
        assert (hits[0]["photo"], hits[0]["score"]) == (str(photo), pytest.approx(1, abs=1e-2))
    for place in (("--library", photo_library), ("--gallery", folder)):
        found = answer("search", photo, *place, "--task", TEXT, "--top", 100)
        assert (found["photos"], found["total"]) == (6, 9)
        for hits in found["rankings"].values():
            scores = [hit["score"] for hit in hits]
            assert len({hit["caption"] for hit in hits}) == len(scores) == 9 and scores == sorted(scores, reverse=True)


def test_an_adapter_is_searched_and_measured_with(run, answer, folder, photo_library, tmp_path):
    assert run("adapt", TEXT, "--out", tmp_path / "adapter", "--strength", 1)[0] == 0
    search = ("search", "a red ball", "--library", photo_library)
    by_task = answer(*search, "--task", TEXT, "--strength", 1)["rankings"]["sg-lora"]
    by_file = answer(*search, "--adapter", tmp_path / "adapter")["rankings"]["adapter"]
    assert [hit["score"] for hit in by_file] == pytest.approx([hit["score"] for hit in by_task], abs=2e-3)
    alone = ("evaluate", "--data", folder, "--adapter", tmp_path / "adapter")
    found = answer(*alone)
    assert list(found["methods"]) == ["zero-shot", "adapter"]
    assert answer("evaluate", "--data", folder)["methods"] == {"zero-shot": found["methods"]["zero-shot"]}
    code, _, err = run(*alone, "--methods", "sg-lora,zero-shot,merge")
    assert code == 2 and "--methods sg-lora,merge needs --task TEXT" in err
    assert answer(*alone, "--methods", "zero-shot") == found
    sampling = (("--k", 4), ("--tau", 0.1), ("--seed", 0), ("--strength", 0.8))
    for option, value in sampling:
        code, _, err = run(*alone, option, value)
        assert code == 2 and f"{option} needs --task TEXT: without one" in err
    for option, value in (*sampling, ("--task", TEXT)):
        code, _, err = run(*search, "--adapter", tmp_path / "adapter", option, value)
        assert code == 2 and option in err
    code, _, err = run(*search, "--adapter", tmp_path)
    assert code == 1 and "adapter_config.json is missing" in err


def test_adapted_vectors_rank_like_the_adapter(run, answer, engine, photo_library, tmp_path):
    dogs = tmp_path / "dogs"
    assert run("adapt", TEXT, "--out", dogs, "--strength", 0.6)[0] == 0
    adapted, plain = answer("vector", "a red ball", "--adapter", dogs), answer("vector", "a red ball")
    assert list(adapted) == ["query", "adapter", "backbone", "fingerprint", "dim", "vector"] == list(plain)
    assert (adapted["adapter"], plain["adapter"]) == (str(dogs), None)

    assert np.abs(np.array(adapted["vector"]) - plain["vector"]).max() > 1e-3

    photos = LibraryPhotos(PhotoLibrary.open(photo_library), engine.backbone)
    scores = np.sort(photos.index.take(np.arange(6)).numpy() @ np.array(adapted["vector"]))[::-1]
    hits = answer("search", "a red ball", "--library", photo_library, "--adapter", dogs, "--top", 6)
    assert [hit["score"] for hit in hits["rankings"]["adapter"]] == pytest.approx(scores.tolist(), abs=1e-5)
    assert run("vector", "dog", "--adapter", tmp_path / "none")[0] == 1


def test_a_library_of_texts_rejects_experts_of_photos(run, photo_library):
    for options in (["--adapt", "photos"], ["--experts", ROOT / "experts" / "embedded-photos"]):
        code, _, err = run("search", "dog", "--library", photo_library, *options)
        assert code == 1 and "is for experts that adapt texts; these adapt photos" in err
        assert "search --gallery FOLDER" in err and "core index" not in err, "a library made again would reject them, too"


def test_a_library_of_photos_is_made_again_for_texts(run, folder, tmp_path):
    assert run("index", folder, "--library", tmp_path / "library", "--adapt", "photos")[0] == 0
    code, _, err = run("search", "dog", "--library", tmp_path / "library")
    assert code == 1 and "was made with another backbone (embedded photos" in err
    command = shlex.split(err.split("`")[1])
    assert run(*command[3:])[0] == 0 and run("search", "dog", "--library", command[-1])[0] == 0


def test_libraries_and_vectors_reject_adapters_of_photos(run, answer, folder, tmp_path):
    repository, library, adapter = make_repository(tmp_path, 3), tmp_path / "library", tmp_path / "adapter"
    model = ["--backbone", f"local-dir:{tmp_path / 'model-3'}", "--adapt-blocks", 2]
    assert run("index", folder, "--library", library, *model)[0] == 0
    assert run("adapt", TEXT, *model, "--experts", repository, "--strength", 4, "--out", adapter)[0] == 0
    by_task = answer("evaluate", "--data", folder, *model, "--experts", repository, "--strength", 4, "--task", TEXT)
    by_file = answer("evaluate", "--data", folder, *model, "--adapter", adapter)
    assert by_file["methods"]["adapter"] == by_task["methods"]["sg-lora"]

    search = ("search", "a red ball", *model, "--library", library)
    for command in ((*search, "--adapter", adapter), (*search, "--task", TEXT, "--experts", repository, "--strength", 4),
                    ("search", folder / "images" / "03.jpg", *search[2:], "--adapter", adapter),
                    ("vector", "a red ball", *model, "--adapter", adapter)):  # fmt: skip
        code, out, err = run(*command)
        assert (code, out) == (1, "") and "use an adapter of texts" in err and "search --gallery FOLDER" in err
    query = load_backbone(model[1], adapt_blocks=2).encode_text(["a red ball"])[0]
    np.testing.assert_allclose(answer("vector", "a red ball", *model)["vector"], query, atol=1e-6)
