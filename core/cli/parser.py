"""The commands and options of ``python -m core``; help.txt has their texts."""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

from core import __version__
from core.data.keywords import SOURCES
from core.data.sidecars import STYLES
from core.experiments.registry import EXPERIMENTS


def _type(name: str, read: Callable[[str], Any], holds: Callable[[Any], bool] = lambda value: True) -> Callable[[str], Any]:
    """A converter for argparse; ``name`` is part of its error message: "“nan” is no finite number"."""

    def convert(text: str) -> Any:
        with suppress(ValueError):
            if holds(value := read(text)):
                return value
        raise argparse.ArgumentTypeError(f"“{text}” is no {name}")

    return convert


_finite = _type("finite number", float, math.isfinite)
_names = _type("list of names", lambda text: list(dict.fromkeys(name.strip() for name in text.split(","))))
_COUNT = {"type": _type("count: give a whole number, 1 or more", int, lambda value: value >= 1), "metavar": "N"}
_DAY = {"type": _type("day: give one such as 2024-05-31", date.fromisoformat), "metavar": "DAY"}
_FLAG = {"action": "store_true"}
_DIR, _FOLDER, _FILE = ({"type": Path, "metavar": name} for name in ("DIR", "FOLDER", "FILE"))

# What each option takes. "COMMAND --option" is for one command.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "task": {"metavar": "TEXT"},
    "query": {"metavar": "QUERY", "nargs": "+"},
    "vector query": {"metavar": "QUERY"},
    "folder": {**_FOLDER, "nargs": "?"},
    "folders": {**_FOLDER, "nargs": "*"},
    "library": _DIR,
    "experiment name": {"choices": tuple(EXPERIMENTS), "metavar": "NAME"},
    **dict.fromkeys(("--adapter", "--cache", "--data", "--experts", "--folder", "--library", "--link", "--out"), _DIR),
    **dict.fromkeys(("evaluate --data", "--gallery"), _FOLDER),
    **dict.fromkeys(("--descriptions", "--generator", "--heads", "--names", "--review"), _FILE),
    **dict.fromkeys(("train backbone --out", "train shared --out", "train generator --out", "manifest --out"), _FILE),
    **dict.fromkeys(("--dry-run", "--forget-missing", "--json", "--random-weights", "--remove"), _FLAG),
    **dict.fromkeys(("--update", "--verify", "--yes"), _FLAG),
    **dict.fromkeys(("--adapt-blocks", "--first", "--top"), _COUNT),
    **dict.fromkeys(("--since", "--until"), _DAY),
    "--adapt": {"choices": ("texts", "photos")},
    "--address": {"metavar": "HOST:PORT"},
    "--at-least": {"type": _finite, "metavar": "SCORE"},
    "--backbone": {"metavar": "NAME"},
    "--device": {"metavar": "NAME", "default": "auto"},
    "--engine": {"choices": ("local", "ray"), "default": "local"},
    "--format": {"choices": ("peft", "transformers"), "default": "peft"},
    "--find": {"choices": ("photos", "captions")},
    "--from": {"choices": SOURCES, "default": SOURCES[0], "dest": "source"},
    "--k": {"type": int, "metavar": "N"},
    "--keyword": {"metavar": "WORD"},
    "--license": {"metavar": "ID"},
    "--methods": {"type": _names, "metavar": "A,B,..."},
    "--name": {"action": "append", "metavar": "NAME", "nargs": "+"},
    "--part": {"choices": ("whole", "expert", "shared"), "default": "whole"},
    "--precision": {"type": _type("percentage: give a number from 1 to 100", float, lambda value: 1 <= value <= 100)},
    "--pretrained": {"metavar": "TAG|FILE"},
    "--query": {"metavar": "TEXT", "nargs": "+"},
    "--seed": {"type": _type("seed: give a whole number, 0 or more", int, lambda value: 0 <= value < 2**63)},
    "--set": {"action": "append", "default": [], "metavar": "NAME=VALUE"},
    "--split": {"metavar": "NAME"},
    "--strength": {"type": _finite},
    "--style": {"choices": STYLES, "default": STYLES[0]},
    "--task": {"metavar": "TEXT"},
    "--tau": {"type": _finite},
    "--weights": {"action": "append", "metavar": "EXPERT=WEIGHT"},
}
BACKBONE = ("--backbone", "--heads", "--pretrained", "--adapt-blocks", "--adapt", "--device")
ENGINE = ("--experts", "--generator", *BACKBONE)
SAMPLING = ("--k", "--tau", "--seed", "--strength", "--weights", *ENGINE)
TRAINING = ("--out", "--yes", "--cache", "--seed", "--set")
BASE = ("--task", "--adapter")  # one of both


def _texts() -> dict[str, str]:
    """The sections of help.txt by command: its summary, an empty line, and the text below its options."""
    sections = Path(__file__).with_name("help.txt").read_text(encoding="utf-8").removeprefix("== ").split("\n\n== ")
    texts = dict(section.rstrip().split("\n", 1) for section in sections)
    widest = max(map(len, EXPERIMENTS))
    texts["$EXPERIMENTS"] = "\n".join(f"{each.name:{widest}}  {each.question}" for each in EXPERIMENTS.values())
    for placeholder in [name for name in texts if name.startswith("$")]:
        texts = {name: text.replace(placeholder, texts[placeholder]) for name, text in texts.items()}
    return texts


def build_parser() -> argparse.ArgumentParser:
    """The whole parser; ``arguments.run`` names the function of the chosen command, as MODULE:NAME of this package."""
    looks: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    texts = _texts()
    exits, helps = texts["$EXITS"], dict(line.split(": ", 1) for line in texts["$OPTIONS"].splitlines())
    parser = argparse.ArgumentParser(
        prog="python -m core",
        description="SG-LoRA Studio: describe photos in a sentence, get a LoRA adapter, search better.",
        epilog=f"`python -m core COMMAND --help` explains a command, with an example.\n\n{exits}",
        **looks,
    )
    parser.add_argument("--version", action="version", version=f"SG-LoRA Studio {__version__}")
    places: dict[str, Any] = {"": parser.add_subparsers(title="commands", metavar="COMMAND", required=True)}

    def add(name: str) -> argparse.ArgumentParser:
        group, _, last = name.rpartition(" ")
        summary, _, details = texts[name].partition("\n\n")
        about = f"{summary[0].upper()}{summary[1:]}."
        return places[group].add_parser(last, help=summary, description=about, epilog=f"{details}\n\n{exits}".strip(), **looks)

    def command(
        name: str, run: str, *options: str | Sequence[str], needs: Sequence[str | Sequence[str]] = (), **defaults: Any
    ) -> None:
        """Add a command with required and other options. Several names in the place of one option exclude each other."""
        subparser = add(name)
        backbone = subparser.add_argument_group("backbone", texts["$BACKBONE"]) if "--backbone" in options else subparser

        def put(place: Any, option: str, **more: Any) -> None:
            key = next(key for key in (f"{name} {option}", option) if key in helps)
            place.add_argument(option, help=helps[key], **OPTIONS.get(f"{name} {option}") or OPTIONS[option], **more)

        for option in ("--json", *needs, *options):
            required = {"required": True} if option in needs else {}
            if isinstance(option, str):
                put(backbone if option in BACKBONE else subparser, option, **required)
            else:
                group = subparser.add_mutually_exclusive_group(**required)
                for each in option:
                    put(group, each)
        subparser.set_defaults(run=run, **defaults)

    command("route", "commands:route", "task", "--k", "--tau", *ENGINE)
    command("adapt", "commands:adapt", "task", "--part", "--format", *SAMPLING, needs=["--out"])
    command("teach", "teach:teach", "--library", BASE, *SAMPLING, needs=["--name", "--out"])
    command("learn", "keywords:learn", "folder", "--library", "--from", *BACKBONE, needs=["--out"])
    asked = ("--names", "--find", "--folder", "--since", "--until", "--top", "--link")
    command("search", "search:search", "query", BASE, *asked, *SAMPLING, needs=[("--library", "--gallery")], top=10)
    cuts = ("--first", "--at-least", "--precision")
    keywords = ("--names", "--query", "--keyword", cuts, "--review", "--folder", "--style", "--dry-run", "--remove")
    command("tag", "keywords:tag", *keywords, BASE, *SAMPLING, needs=["--library"])
    command("index", "library:index", "folders", "--forget-missing", "--engine", "--address", *BACKBONE, needs=["--library"])
    command("library", "library:library", "library", "--verify")
    command("vector", "library:vector", "query", "--adapter", *BACKBONE)
    command("evaluate", "commands:evaluate", "--task", "--adapter", "--split", "--methods", *SAMPLING, needs=["--data"])

    places["train"] = add("train").add_subparsers(title="parts", metavar="PART", required=True)
    command("train backbone", "train:backbone", *TRAINING, "--device", needs=["--data"], seed=0)
    command("train shared", "train:shared", *TRAINING, "--heads", "--device", needs=["--data"], seed=0)
    experts = (*TRAINING, "--descriptions", "--random-weights", *BACKBONE)
    for name in ("train experts", "train all"):
        command(name, "train:experts", *experts, needs=["--data"], seed=0, whole=name == "train all")
    command("train generator", "train:generator", *TRAINING, "--experts", *BACKBONE, needs=["--data"], seed=0)

    places["export"] = add("export").add_subparsers(title="formats", metavar="FORMAT", required=True)
    for name in ("export open-clip", "export immich"):
        command(name, "commands:export", *BACKBONE, needs=["--adapter", "--out"], whole=name == "export open-clip")

    command("experiment", "experiment:experiment", "name", "--data", "--out", "--cache", *BACKBONE, data=Path("data"))
    command("manifest", "experiment:photos", "--data", "--out", data=Path("data"))
    command("check", "commands:check", "--update")
    command("card", "train:card", "folder", "--license")
    return parser
