"""The options of ``python -m core``; help.txt has the texts below them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core import __version__
from core.common.text import read_day
from core.data.sidecars import STYLES
from core.experiments.registry import BENCHMARKS, EXPERIMENTS
from core.sglora.request import DEFAULT_K, DEFAULT_TAU, DEFAULT_WEIGHT

ALL = "all"

Parser = argparse.ArgumentParser
Command = Callable[[str, str], Parser]  # adds a command, from its name and its function, as MODULE.NAME of this package


def _texts() -> dict[str, str]:
    """The sections of help.txt by command: its summary, an empty line, and the text below its options."""
    sections = Path(__file__).with_name("help.txt").read_text(encoding="utf-8").removeprefix("== ").split("\n\n== ")
    texts = dict(section.rstrip().split("\n", 1) for section in sections)
    for name, listed in (("$EXPERIMENTS", EXPERIMENTS), ("$BENCHMARKS", BENCHMARKS)):
        texts[name] = "\n".join(f"{each.name:{max(map(len, listed))}}  {each.question}" for each in listed.values())
    for placeholder in [name for name in texts if name.startswith("$")]:
        texts = {name: text.replace(placeholder, texts[placeholder]) for name, text in texts.items()}
    return texts


def build_parser() -> Parser:
    """The whole parser; ``arguments.run`` names the function of the chosen command."""
    looks: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    texts = _texts()
    exits = texts["$EXITS"]
    parser = Parser(
        prog="python -m core",
        description="SG-LoRA Studio: describe photos in a sentence, get a LoRA adapter, search better.",
        epilog=f"`python -m core COMMAND --help` explains a command, with an example.\n\n{exits}",
        **looks,
    )
    parser.add_argument("--version", action="version", version=f"SG-LoRA Studio {__version__}")
    places: dict[str, Any] = {"": parser.add_subparsers(title="commands", metavar="COMMAND", required=True)}

    def add(name: str) -> Parser:
        group, _, last = name.rpartition(" ")
        summary, _, details = texts[name].partition("\n\n")
        about = f"{summary[0].upper()}{summary[1:]}."
        return places[group].add_parser(last, help=summary, description=about, epilog=f"{details}\n\n{exits}".strip(), **looks)

    def command(name: str, run: str) -> Parser:
        subparser = add(name)
        _flag(subparser, "--json", "print JSON, and only JSON, on stdout")
        subparser.set_defaults(run=run)
        return subparser

    _searching(command)
    places["train"] = add("train").add_subparsers(title="parts", metavar="PART", required=True)
    _training(command)
    places["export"] = add("export").add_subparsers(title="formats", metavar="FORMAT", required=True)
    _exporting(command)
    _measuring_and_sharing(command)
    return parser


def _path_option(parser: Any, name: str, help: str, metavar: str = "DIR", **more: Any) -> None:
    parser.add_argument(name, type=Path, metavar=metavar, help=help, **more)


def _flag(parser: Parser, name: str, help: str) -> None:
    parser.add_argument(name, action="store_true", help=help)


def _engine_options(parser: Parser) -> None:
    _path_option(parser, "--experts", "expert repository (default: the backbone's own, experts/NAME)")
    _path_option(parser, "--generator", "generator (default: that of the experts)", "FILE")
    _backbone_options(parser)


def _backbone_options(parser: Parser) -> None:
    options = parser.add_argument_group(
        "backbone",
        "The frozen image-text model. Experts and generators belong to the one that they were trained on, so give the\n"
        "same options each time. docs/reproduce.md goes through all of it for CLIP.",
    )
    named = 'a model of open_clip with a plain ViT: a name such as "ViT-B-16", local-dir:FOLDER, or hf-hub:OWNER/NAME'
    usual = '"embedded" (default, unless --experts or --library names one)'
    options.add_argument("--backbone", metavar="NAME", help=f"{usual}, or {named}")
    options.add_argument("--heads", type=Path, metavar="FILE", help="trained heads of the embedded backbone (default: shipped)")
    weights = 'weights of a model of open_clip: a tag such as "openai", fetched from its hub on first use, or a file'
    options.add_argument("--pretrained", metavar="TAG|FILE", help=weights)
    blocks = "adapt only the last N blocks of a model of open_clip (default: all for photos, 2 for texts)"
    options.add_argument("--adapt-blocks", type=_count, metavar="N", help=blocks)
    sides = "what LoRAs adapt: texts, or photos as in the paper (default: what the experts adapt; without experts texts, but "
    sides += "photos in `train experts` and `export open-clip`)"
    options.add_argument("--adapt", choices=("texts", "photos"), help=sides)
    _device_option(parser)


def _device_option(parser: Parser) -> None:
    devices = "cuda (or cuda:1 and so on), mps, cpu, or auto, the first of them that this machine has (default)"
    parser.add_argument("--device", default="auto", metavar="NAME", help=devices)


def _routing_options(parser: Parser) -> None:
    most = f"experts to route to, at most all of them ({DEFAULT_K})"
    parser.add_argument("--k", type=int, default=DEFAULT_K, metavar="N", help=most)
    temperature = f"temperature of their softmax weights ({DEFAULT_TAU})"
    parser.add_argument("--tau", type=_finite, default=DEFAULT_TAU, help=temperature)


def _sampling_options(parser: Parser) -> None:
    _routing_options(parser)
    parser.add_argument("--seed", type=_seed, help="of the sample z ~ p(z | c) (0)")
    strength = f"0: zero-shot, 1: as generated (default: {DEFAULT_WEIGHT:g} if scores are mixed, else 1)"
    parser.add_argument("--strength", type=_finite, help=strength)
    parser.set_defaults(k=None, tau=None, seed=None)  # given ones are rejected where no adapter is generated
    _engine_options(parser)


def _searching(command: Command) -> None:
    parser = command("route", "commands.route")
    parser.add_argument("text", metavar="TEXT", help="what the photos show, in a sentence")
    _routing_options(parser)
    _engine_options(parser)

    parser = command("adapt", "commands.adapt")
    parser.add_argument("text", metavar="TEXT", help="what the photos show, in a sentence")
    _path_option(parser, "--out", "folder to write the adapter to", required=True)
    names = "names of the linears: as they are here (peft), or those of transformers' CLIPModel"
    parser.add_argument("--format", choices=("peft", "transformers"), default="peft", help=names)
    parts = "what to write: the whole adapter, the expert's part alone, or the shared LoRA, which is the same for all sentences"
    parser.add_argument("--part", choices=("whole", "expert", "shared"), default="whole", help=parts)
    _sampling_options(parser)

    parser = command("teach", "teach.teach")
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="folder with one folder of photos for each name")
    name = "a name and its photos; any number of times"
    parser.add_argument("--name", nargs="+", action="append", default=[], metavar="NAME", help=name)
    _path_option(parser, "--library", "photos are those of this library, by path or id; their files need not be there")
    base = parser.add_mutually_exclusive_group()
    base.add_argument("--task", metavar="TEXT", help="on top of the adapter of this sentence")
    base.add_argument("--adapter", type=Path, metavar="DIR", help="on top of an adapter in PEFT format")
    _path_option(parser, "--out", "folder to write the adapter to", required=True)
    _sampling_options(parser)

    parser = command("search", "search.search")
    query = "what to look for: words, photo files, or several of them together; -word excludes a word"
    parser.add_argument("query", nargs="+", metavar="QUERY", help=query)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--library", type=Path, metavar="DIR", help="library of photos, see `index`")
    place.add_argument("--gallery", type=Path, metavar="FOLDER", help="folder of photos")
    base = parser.add_mutually_exclusive_group()
    base.add_argument("--task", metavar="TEXT", help="what the photos show, in a sentence (default: what all adapters share)")
    base.add_argument("--adapter", type=Path, metavar="DIR", help="an adapter in PEFT format in the place of a task")
    _path_option(parser, "--names", "taught names on top: what `teach` or the page wrote of them", "FILE")
    found = "what to find (for words photos, for a photo captions)"
    parser.add_argument("--find", choices=("photos", "captions"), help=found)
    excluded = "what photos should not show; any number of times"
    parser.add_argument("--without", action="append", default=[], metavar="TEXT", help=excluded)
    _path_option(parser, "--folder", "only photos of the library in this folder or below it")
    parser.add_argument("--since", type=_day, metavar="DAY", help="only photos taken on this day (2024-05-31) or later")
    parser.add_argument("--until", type=_day, metavar="DAY", help="only photos taken on this day or earlier")
    parser.add_argument("--top", type=_count, default=10, metavar="N", help="hits to print (10)")
    _path_option(parser, "--link", "make a folder of links to the photos found, in their order, or update it")
    _sampling_options(parser)

    parser = command("tag", "tag.tag")
    _path_option(parser, "--library", "library of photos, see `index`", required=True)
    _path_option(parser, "--names", "each taught name is a keyword: what `teach` or the page wrote of them", "FILE")
    parser.add_argument("--query", nargs="+", metavar="TEXT", help="what to look for, in the place of the names alone")
    parser.add_argument("--keyword", metavar="WORD", help="keyword to add (default: the name, or the query)")
    cut = parser.add_mutually_exclusive_group()
    cut.add_argument("--first", type=_count, metavar="N", help="the first N photos")
    cut.add_argument("--at-least", type=_finite, metavar="SCORE", help="photos with this score or a higher one")
    _path_option(parser, "--folder", "only photos of the library in this folder or below it")
    styles = "name of a sidecar (%(default)s); photo.xmp for Lightroom"
    parser.add_argument("--style", choices=STYLES, default=STYLES[0], help=styles)
    _flag(parser, "--dry-run", "write nothing, and say what would change")
    _flag(parser, "--remove", "take the keyword out again (without --first and --at-least: of all photos)")
    base = parser.add_mutually_exclusive_group()
    base.add_argument("--task", metavar="TEXT", help="what the photos show, in a sentence (default: what all adapters share)")
    base.add_argument("--adapter", type=Path, metavar="DIR", help="an adapter in PEFT format in the place of a task")
    _sampling_options(parser)

    parser = command("index", "library.index")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="folders of photos (default: those it knows)")
    _path_option(parser, "--library", "folder of the library", required=True)
    _flag(parser, "--forget-missing", "forget the photos of folders that are missing or empty, too")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="encode here, or on a Ray cluster")
    parser.add_argument("--address", metavar="HOST:PORT", help="of the Ray cluster (default: one of this machine's cores)")
    _backbone_options(parser)

    parser = command("library", "library.library")
    parser.add_argument("library", type=Path, metavar="DIR", help="folder of the library")
    _flag(parser, "--verify", "read everything and compare it")

    parser = command("vector", "library.vector")
    parser.add_argument("query", metavar="QUERY", help="words to look for, or a photo")
    _path_option(parser, "--adapter", "an adapter in PEFT format (default: none, zero-shot)")
    _backbone_options(parser)

    parser = command("evaluate", "commands.evaluate")
    _path_option(parser, "--data", "photos with captions or labels", "FOLDER", required=True)
    parser.add_argument("--task", metavar="TEXT", help="what the photos show, in a sentence")
    _path_option(parser, "--adapter", "an adapter in PEFT format to measure, too, or alone")
    parser.add_argument("--split", metavar="NAME", help='only the photos of this split, such as "val" (default: all)')
    methods = "see below (default: zero-shot,merge,sg-lora, or zero-shot without --task)"
    parser.add_argument("--methods", type=_methods, metavar="A,B,...", help=methods)
    _sampling_options(parser)


def _training(command: Command) -> None:
    parser = command("train backbone", "train.backbone")
    _train_options(parser, "FILE", "the shipped heads, assets/embedded/backbone.safetensors")
    _device_option(parser)

    parser = command("train shared", "train.shared")
    _train_options(parser, "FILE", "assets/embedded/shared.safetensors")
    _path_option(parser, "--heads", "the heads (default: the shipped ones)", "FILE")
    _device_option(parser)

    for name in ("train experts", "train all"):
        parser = command(name, "train.experts")
        parser.set_defaults(whole=name == "train all")
        _train_options(parser, "DIR", "the backbone's own, experts/NAME")
        parser.add_argument("--descriptions", type=Path, metavar="FILE", help="a JSON of experts' names and sentences for them")
        _flag(parser, "--random-weights", "train on a backbone without weights, to try things out")
        _backbone_options(parser)

    parser = command("train generator", "train.generator")
    _train_options(parser, "FILE", "beside the experts; for `embedded` assets/embedded")
    _path_option(parser, "--experts", "expert repository (default: the backbone's own, experts/NAME)")
    _backbone_options(parser)


def _exporting(command: Command) -> None:
    for name, run in (("export open-clip", "export.open_clip"), ("export immich", "export.immich")):
        parser = command(name, run)
        _path_option(parser, "--adapter", "adapter in PEFT format", required=True)
        _path_option(parser, "--out", "folder to write the model to", required=True)
        _backbone_options(parser)


def _measuring_and_sharing(command: Command) -> None:
    parser = command("experiment", "experiment.experiment")
    parser.add_argument("name", choices=(*EXPERIMENTS, ALL), metavar="NAME", help="one of those below, or all")
    parser.add_argument("--data", type=Path, default=Path("data"), metavar="DIR", help="the data folders (default: data)")
    _path_option(parser, "--out", "folder of the results (default: assets/results)")
    _path_option(parser, "--cache", "features and finished folds (default: the user's cache)")
    _backbone_options(parser)

    parser = command("bench", "experiment.bench")
    names = (*BENCHMARKS, ALL)
    parser.add_argument("name", nargs="?", choices=names, default=ALL, metavar="NAME", help="one of those below (all)")
    _path_option(parser, "--data", "data folders as of `train`, whose photos make the library (default: the sample photos)")
    _path_option(parser, "--out", "folder of the results (default: assets/results)")
    most = "most vectors or photos to measure with (1,000,000)"
    parser.add_argument("--largest", type=_count, default=1_000_000, metavar="N", help=most)
    parser.add_argument("--rounds", type=_count, default=5, metavar="N", help="how often everything is measured (5)")

    parser = command("card", "commands.card")
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="expert repository (default: the shipped one)")
    parser.add_argument("--license", metavar="ID", help='such as "apache-2.0" (default: what an earlier card says, or none)')


def _train_options(parser: Parser, kind: str, default: str) -> None:
    _path_option(parser, "--data", "photos to train on; see below", required=True)
    parser.add_argument("--out", type=Path, metavar=kind, help=f"what to write (default: {default})")
    _flag(parser, "--yes", "without --out, replace existing files without asking")
    _path_option(parser, "--cache", "features of the frozen towers (default: the user's cache)")
    parser.add_argument("--seed", type=_seed, default=0, help="of everything random (%(default)s)")
    fields = "a field of the recipe, as steps=200; any number of times"
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=fields)


def _type(name: str, read: Callable[[str], Any], holds: Callable[[Any], bool] = lambda value: True) -> Callable[[str], Any]:
    """A converter for argparse; ``name`` is part of its error message: "invalid finite number value: 'nan'"."""

    def convert(text: str) -> Any:
        value = read(text)
        if not holds(value):
            raise ValueError
        return value

    convert.__name__ = name
    return convert


_finite = _type("finite number", float, math.isfinite)
_seed = _type("seed", int, lambda value: 0 <= value < 2**63)
_count = _type("count", int, lambda value: value >= 1)
_day = _type("day (such as 2024-05-31)", read_day)


def _methods(text: str) -> list[str]:
    from core.experiments.controls import METHODS

    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{unknown[0] if unknown else 'nothing'} is no method: {', '.join(METHODS)} are")
    return names
