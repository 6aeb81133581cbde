"""What ``python -m core`` understands, with the help texts."""

from __future__ import annotations

import argparse
import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from core import __version__
from core.cli import commands, experiment, hub, library, search, teach, train
from core.experiments.registry import BENCHMARKS, EXPERIMENTS

# The engine's own defaults, written again because importing them would import torch; a test keeps them equal.
K, TAU, SEED = 4, 0.1, 0

EXIT_CODES = """\
exit codes:
  0    done
  1    an input, file or folder cannot be used; stderr says which and why
  2    wrong usage of the command line
  130  interrupted (Ctrl-C, SIGINT)
  143  ended from outside (SIGTERM)
"""

# What stands for these names in the texts below.
TEXTS = {
    "$FORMATS": """\
FOLDER holds photos and one of
  captions.jsonl    {"image": "images/1.jpg", "captions": ["...", ...]} a line, perhaps with "split", "categories"
  labels.jsonl      {"image": "images/1.jpg", "label": "..."} a line; the caption is "a photo of a <label>"
  COCO captions     a JSON with "images" and "annotations", in the folder, its annotations folder, or beside it;
                    for training, the instances JSON beside it too
  Karpathy's split  dataset_coco.json, dataset_flickr8k.json or dataset_flickr30k.json, in the same places
  token files       Flickr8k.token.txt, results_20130124.token or results.csv, with lists of the splits
or a folder for each class, named after it.""",
    "$PLACE": """\
A hub repository is OWNER/NAME, or hf-hub:OWNER/NAME where a folder is called the same. For a private one, and to push,
log in with `hf auth login` or set HF_TOKEN; HF_ENDPOINT names another hub. Only index.json, experts.safetensors,
README.md and generator.safetensors are moved, and nothing unless their checksums are right and they are of the
backbone that --backbone names.

JSON: {"place", "files": moved, "left": other files of the source, "experts": how many, "fingerprint"}""",
    "$EXPERIMENTS": "\n".join(f"{e.name:{max(map(len, EXPERIMENTS))}}  {e.question}" for e in EXPERIMENTS.values()),
    "$BENCHMARKS": "\n".join(f"{b.name:{max(map(len, BENCHMARKS))}}  {b.question}" for b in BENCHMARKS.values()),
}

Parser = argparse.ArgumentParser
Options = Callable[[Parser], None]


@dataclass(frozen=True)
class Command:
    """What a line of the command line runs; ``options`` adds its options, and its docstring is the text below them."""

    run: Callable[..., Any]
    summary: str
    options: Options


COMMANDS: dict[str, Command] = {}


def _command(name: str, run: Callable[..., Any], summary: str) -> Callable[[Options], Options]:
    def register(options: Options) -> Options:
        COMMANDS[name] = Command(run, summary, options)
        return options

    return register


def build_parser() -> Parser:
    """The whole parser; ``arguments.run(arguments)`` carries the chosen command out."""
    looks: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = Parser(
        prog="python -m core",
        description="SG-LoRA Studio: describe photos in a sentence, get a LoRA adapter, search better.",
        epilog="`python -m core COMMAND --help` explains a command, with an example.\n\n" + EXIT_CODES,
        **looks,
    )
    parser.add_argument("--version", action="version", version=f"SG-LoRA Studio {__version__}")
    chosen = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    places: dict[str, Any] = {"": chosen}
    for name, command in COMMANDS.items():
        group, _, last = name.rpartition(" ")
        if group not in places:
            summary = "train the heads, the shared part, the experts, or the generator"
            description = f"{_sentence(summary)[:-1]} (the offline phase), in this order."
            part = chosen.add_parser(group, help=summary, description=description, epilog=EXIT_CODES, **looks)
            places[group] = part.add_subparsers(title="parts", metavar="PART", required=True)
        details = inspect.cleandoc(command.options.__doc__ or "")
        for placeholder, text in TEXTS.items():
            details = details.replace(placeholder, text)
        epilog = f"{details}\n\n{EXIT_CODES}"
        subparser = places[group].add_parser(
            last, help=command.summary, description=_sentence(command.summary), epilog=epilog, **looks
        )
        _flag(subparser, "--json", "print JSON, and only JSON, on stdout")
        subparser.set_defaults(run=command.run)
        command.options(subparser)
    return parser


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."


def _text_option(parser: Parser) -> None:
    parser.add_argument("text", metavar="TEXT", help="what the photos show, in a sentence")


def _path_option(parser: Parser, name: str, help: str, metavar: str = "DIR", required: bool = False) -> None:
    parser.add_argument(name, type=Path, metavar=metavar, help=help, required=required)


def _flag(parser: Parser, name: str, help: str) -> None:
    parser.add_argument(name, action="store_true", help=help)


def _count_option(parser: Parser, name: str, default: int | None, help: str) -> None:
    parser.add_argument(name, type=_count, default=default, metavar="N", help=help)


def _names_option(parser: Parser, names: Iterable[str], **more: Any) -> None:
    parser.add_argument("name", choices=[*names, experiment.ALL], metavar="NAME", **more)


def _engine_options(parser: Parser) -> None:
    _path_option(parser, "--experts", "expert repository (default: the shipped one)")
    _path_option(parser, "--generator", "generator (default: the shipped one)", "FILE")
    _backbone_options(parser)


def _backbone_options(parser: Parser) -> None:
    options = parser.add_argument_group(
        "backbone",
        "The frozen image-text model. Experts and generators belong to the one that they were trained on, so give the\n"
        "same options each time. docs/reproduce.md goes through all of it for CLIP.",
    )
    named = 'a model of open_clip with a plain ViT: a name such as "ViT-B-16", local-dir:FOLDER, or hf-hub:OWNER/NAME'
    options.add_argument("--backbone", metavar="NAME", help=f'"embedded" (default, unless --experts names another), or {named}')
    options.add_argument("--heads", type=Path, metavar="FILE", help="trained heads of the embedded backbone (default: shipped)")
    weights = 'weights of a model of open_clip: a tag such as "openai", fetched from its hub on first use, or a file'
    options.add_argument("--pretrained", metavar="TAG|FILE", help=weights)
    blocks = "adapt only the last N blocks of a model of open_clip (default: all for photos, 2 for texts)"
    options.add_argument("--adapt-blocks", type=_count, metavar="N", help=blocks)
    sides = "what LoRAs adapt: texts (default with embedded) or photos, as in the paper (default with open_clip)"
    options.add_argument("--adapt", choices=("texts", "photos"), help=sides)
    _device_option(parser)


def _device_option(parser: Parser) -> None:
    devices = "cuda (or cuda:1 and so on), mps, cpu, or auto, the first of them that this machine has (default)"
    parser.add_argument("--device", default="auto", metavar="NAME", help=devices)


def _routing_options(parser: Parser) -> None:
    parser.add_argument("--k", type=int, default=K, metavar="N", help=f"experts to route to, at most all of them ({K})")
    parser.add_argument("--tau", type=_finite, default=TAU, help=f"temperature of their softmax weights ({TAU})")


def _sampling_options(parser: Parser) -> None:
    _routing_options(parser)
    parser.add_argument("--seed", type=_seed, default=SEED, help=f"of the sample z ~ p(z | c) ({SEED})")
    strength = "0: zero-shot, 1: as generated (default: what is usual for the backbone)"
    parser.add_argument("--strength", type=_finite, help=strength)


@_command("route", commands.route, "show which experts a description is routed to, and with which weights")
def _route(parser: Parser) -> None:
    """
    example:
      python -m core route "photos of people surfing" --k 4 --json

    JSON:
      {"description", "backbone", "k", "tau",
       "experts": [{"name", "description", "similarity", "weight"}, ...],   best first; weights sum to 1
       "fit": {"fits", "closeness", "forgetting", "remark"}}
    Where no expert fits, only the part that all experts share is applied. "forgetting" is in points of R@1.
    """
    _text_option(parser)
    _routing_options(parser)
    _engine_options(parser)


@_command("adapt", commands.adapt, "generate a LoRA from a description and write it in PEFT format")
def _adapt(parser: Parser) -> None:
    """
    example:
      python -m core adapt "photos of people surfing" --out surfing --seed 1 --json

    DIR gets adapter_config.json and adapter_model.safetensors; the latter's header tells routing, seed and the
    backbone's fingerprint. The same description, options and seed give the same adapter.

    JSON: all that `route` prints, and
      {"seed", "strength", "parameters", "rank",
       "seconds": {"load", "encode", "route", "prior", "decode", "write"},
       "out": DIR, "files": [...]}
    """
    _text_option(parser)
    _path_option(parser, "--out", "folder to write the adapter to", required=True)
    names = "names of the linears: as they are here (peft), or those of transformers' CLIPModel"
    parser.add_argument("--format", choices=("peft", "transformers"), default="peft", help=names)
    _sampling_options(parser)
    _engine_options(parser)


@_command("teach", teach.teach, "teach names from a few photos each, as a LoRA in PEFT format")
def _teach(parser: Parser) -> None:
    """
    example:
      python -m core teach --name Shrek a.jpg b.jpg c.jpg --name "our boat" d.jpg --out names
      python -m core search "Shrek on our boat" --gallery ~/photos --adapter names
      python -m core teach FOLDER --task "photos of pets" --out pets

    FOLDER holds a folder of photos for each name, called like it. What cannot be taught is listed, and the rest is taught.

    JSON:
      {"names": [{"name", "photos": readable ones}, ...], "failed": [{"name", "reason"}, ...], "remarks": [...],
       "parameters", "rank", "seconds": {"load", "read", "teach", "write"}, "out": DIR, "files": [...]}
    """
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="folders of photos, the name of each its name")
    name = "a name and its photos; any number of times"
    parser.add_argument("--name", nargs="+", action="append", default=[], metavar="NAME", help=name)
    _path_option(parser, "--library", "photos are those of this library, by path or id; their files need not be there")
    base = parser.add_mutually_exclusive_group()
    base.add_argument("--task", metavar="TEXT", help="on top of the adapter of this sentence")
    base.add_argument("--adapter", type=Path, metavar="DIR", help="on top of an adapter in PEFT format")
    _path_option(parser, "--out", "folder to write the adapter to", required=True)
    _sampling_options(parser)
    _engine_options(parser)


@_command("search", search.search, "search a library or a folder of photos, zero-shot and adapted")
def _search(parser: Parser) -> None:
    """
    example:
      python -m core search "a dog in the snow" --library pictures.library --task "photos of dogs playing outside"
      python -m core search "dog -water" --library pictures.library --folder ~/photos/2024 --since 2024-06-01
      python -m core search beach.jpg "at night" --library pictures.library --find photos

    A library is indexed once (`index`); a folder is read at every call. A photo file as QUERY searches captions (of files as
    for `evaluate`), or, with --find photos, for photos like it. What cannot be read is left out. A library rejects adapters
    of photos, as open_clip models have.

    JSON:
      {"query", "task", "photos": readable and different ones, "total": candidates of all rankings,
       "rankings": {"zero-shot": [{"rank", "photo" (or "caption"), "score", "moved"}, ...], "sg-lora" or "adapter": [...]},
       "failed": [{"name", "reason"}, ...], "duplicates": [names],
       "approximate": whether a compressed index (from 50,000 photos on) may have missed photos,
       "seconds": {"load", "adapt", "index" (a folder's photos), "search"}}
      moved: places gained by the adapter (negative: lost; null: it was far behind)
    """
    query = "what to look for: words, photo files, or several of them together; -word excludes a word"
    parser.add_argument("query", nargs="+", metavar="QUERY", help=query)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--library", type=Path, metavar="DIR", help="library of photos, see `index`")
    place.add_argument("--gallery", type=Path, metavar="FOLDER", help="folder of photos")
    parser.add_argument("--task", metavar="TEXT", help="what the photos show, in a sentence (default: the query)")
    _path_option(parser, "--adapter", "an adapter in PEFT format in the place of a task")
    found = "what to find (for words photos, for a photo captions)"
    parser.add_argument("--find", choices=[search.PHOTOS, search.CAPTIONS], help=found)
    excluded = "what photos should not show; any number of times"
    parser.add_argument("--without", action="append", default=[], metavar="TEXT", help=excluded)
    _path_option(parser, "--folder", "only photos of the library in this folder or below it")
    parser.add_argument("--since", type=_day, metavar="DAY", help="only photos taken on this day (2024-05-31) or later")
    parser.add_argument("--until", type=_day, metavar="DAY", help="only photos taken on this day or earlier")
    _count_option(parser, "--top", 10, "hits to print (10)")
    _sampling_options(parser)
    _engine_options(parser)


@_command("index", library.index, "make a library of folders of photos, or bring it up to date")
def _index(parser: Parser) -> None:
    """
    example:
      python -m core index ~/photos --library pictures.library
      python -m core index /shared/photos --library /shared/pictures.library --engine ray --address auto

    Photos stay where they are. Only what is new or changed is encoded, and what is gone is forgotten, except where a whole
    folder is missing, as a drive may be. It may be interrupted at any time, and goes on there.

    JSON:
      {"library", "photos": in the library now, "added", "changed", "moved", "removed", "duplicates": how many,
       "failed": [{"name", "reason"}, ...], "seconds": {"load", "look", "encode", "write"}}
    """
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="folders of photos (default: those it knows)")
    _path_option(parser, "--library", "folder of the library", required=True)
    _flag(parser, "--forget-missing", "forget the photos of folders that are missing or empty, too")
    engines = (library.LOCAL, library.RAY)
    parser.add_argument("--engine", choices=engines, default=library.LOCAL, help="encode here, or on a Ray cluster")
    parser.add_argument("--address", metavar="HOST:PORT", help="of the Ray cluster (default: one of this machine's cores)")
    _backbone_options(parser)


@_command("library", library.library, "say what a library holds, and check it")
def _library(parser: Parser) -> None:
    """
    example:
      python -m core library pictures.library --verify

    JSON:
      {"library", "layout", "backbone", "fingerprint", "folders", "photos", "files", "failed": files that cannot be read,
       "captions", "dated": photos with a date, "bytes", "problems": [...] with --verify, else null}
    """
    parser.add_argument("library", type=Path, metavar="DIR", help="folder of the library")
    _flag(parser, "--verify", "read everything and compare it")


@_command("vector", library.vector, "print the vector of a query or a photo, for any vector database")
def _vector(parser: Parser) -> None:
    """
    example:
      python -m core vector "a dog in the snow" --adapter dogs --json

    Asked with it, a database of a library's vectors ranks as the adapter does. For the path of a photo it is the vector that
    this has in a library. JSON:
      {"query", "adapter", "backbone", "fingerprint", "dim", "vector": [...]}
    """
    parser.add_argument("query", metavar="QUERY", help="words to look for, or a photo")
    _path_option(parser, "--adapter", "an adapter in PEFT format (default: none, zero-shot)")
    _backbone_options(parser)


@_command("evaluate", commands.evaluate, "measure recall on a folder of captioned photos, zero-shot and adapted")
def _evaluate(parser: Parser) -> None:
    """
    example:
      python -m core evaluate --data photos --task "photos of people surfing" --json

    $FORMATS

    methods
      zero-shot            no adapter
      merge, equal-merge   the routed experts' weighted or plain mean
      mean-of-all          the mean of all experts
      nearest              the closest expert
      ridge                regression from sentence to LoRA
      one-lora             one for everything
      random-sentence      generated for another sentence
      sg-lora              the generated LoRA

    The whole folder is the gallery. Any of a photo's captions counts as a hit, equal captions are one text, and a
    wrong answer that ties with the right one ranks before it.

    JSON, in percent:
      {"images": photos that could be read, "captions": different texts among their captions,
       "methods": {"zero-shot": {"i2t": {"R@1", "R@5", "R@10"}, "t2i": {"R@1", "R@5", "R@10"}}, "merge": ..., ...}}
      i2t: from a photo to its captions; t2i: from a caption to its photos
    """
    _path_option(parser, "--data", "photos with captions or labels", "FOLDER", required=True)
    parser.add_argument("--task", metavar="TEXT", help="what the photos show, in a sentence")
    _path_option(parser, "--adapter", "an adapter in PEFT format to measure, too, or alone")
    parser.add_argument("--split", metavar="NAME", help='only the photos of this split, such as "val" (default: all)')
    usual = "zero-shot,merge,sg-lora"
    parser.add_argument("--methods", type=_methods, default=usual, metavar="A,B,...", help=f"see below (default: {usual})")
    _sampling_options(parser)
    _engine_options(parser)


@_command("train backbone", train.backbone, "train the two heads of the embedded backbone")
def _train_backbone(parser: Parser) -> None:
    """
    example:
      python -m core train backbone --data data

    DIR holds the folders coco and labelled, which train, and flickr8k, which only measures.
    An interrupted run goes on where it stopped. JSON: {"fingerprint", "zero_shot", "out"}
    """
    _train_options(parser, "FILE", "the shipped heads, assets/embedded/backbone.safetensors")
    _count_option(parser, "--steps", None, "optimisation steps (default: the recipe's)")
    _device_option(parser)


@_command("train shared", train.shared, "train what all adapters of the embedded backbone share, on both heads")
def _train_shared(parser: Parser) -> None:
    """
    example:
      python -m core train shared --data data

    DIR is such a FOLDER as `train experts` takes, or holds several. The experts and the generator are trained on top of the
    shared part: train them again after it. JSON: {"fingerprint", "out"}
    """
    _train_options(parser, "FILE", "assets/embedded/shared.safetensors")
    _path_option(parser, "--heads", "the heads (default: the shipped ones)", "FILE")
    _recipe_option(parser)
    _device_option(parser)


@_command(
    "train experts", train.experts, "train what all experts share, find topics in the data, and train one expert for each"
)
def _train_experts(parser: Parser) -> None:
    """
    example:
      python -m core train experts --data data --descriptions assets/embedded/descriptions.json
      python -m core train experts --data coco --backbone ViT-B-16 --pretrained openai
      accelerate launch -m core train experts --data coco --backbone ViT-B-16 --pretrained openai

    DIR is such a FOLDER, or holds several; `embedded` leaves out one called coco, which its base knows.

    $FORMATS

    Topics are words that captions share, clusters of captions, categories of COCO where photos have some, and groups of
    classes. Photos of the splits val and test train nothing. With --descriptions, a second run trains nothing again. An
    interrupted run goes on where it stopped. `accelerate launch` shares the experts out among all GPUs; several machines
    need one --cache that all see. JSON: {"fingerprint", "experts": [names], "out"}
    """
    _train_options(parser, "DIR", "the backbone's own, experts/NAME")
    _recipe_option(parser)
    parser.add_argument("--descriptions", type=Path, metavar="FILE", help="a JSON of experts' names and sentences for them")
    _flag(parser, "--random-weights", "train on a backbone without weights, to try things out")
    _backbone_options(parser)


@_command("train generator", train.generator, "train the generator, a conditional VAE, on the snapshots of the experts")
def _train_generator(parser: Parser) -> None:
    """
    example:
      python -m core train generator --data data
      python -m core train generator --data coco --backbone ViT-B-16 --pretrained openai

    It reads no photo. --data and --cache are those of `train experts`, which left the experts' last snapshots in the cache.
    JSON: {"fingerprint", "experts": how many, "out"}
    """
    _train_options(parser, "FILE", "beside the experts; for `embedded` assets/embedded")
    _path_option(parser, "--experts", "expert repository (default: the backbone's own, experts/NAME)")
    _recipe_option(parser)
    _backbone_options(parser)


@_command("experiment", experiment.experiment, "answer a question about the method with numbers")
def _experiment(parser: Parser) -> None:
    """
    example:
      python -m core experiment all --data data

    $EXPERIMENTS

    NAME.json and NAME.svg go to the folder of the results, findings and a table to stdout. `all` goes on where it stopped;
    so does each experiment that trains. `accelerate launch` shares the folds of `unseen` out among all GPUs.
    """
    _names_option(parser, EXPERIMENTS, help="one of those below, or all")
    parser.add_argument("--data", type=Path, default=Path("data"), metavar="DIR", help="the data folders (default: data)")
    _path_option(parser, "--out", "folder of the results (default: assets/results)")
    _path_option(parser, "--cache", "features and finished folds (default: the user's cache)")
    _backbone_options(parser)


@_command("bench", experiment.bench, "measure what the engine costs in time and memory")
def _bench(parser: Parser) -> None:
    """
    example:
      python -m core bench all
      python -m core bench indexing --largest 200 --json

    $BENCHMARKS

    bench-NAME.json goes to the folder of the results, findings and a table to stdout. What is compared is measured in turn,
    so ratios hold on a busy machine too; times are the best of all rounds: `wall` clock, and `cpu`, of all threads together.
    """
    _names_option(parser, BENCHMARKS, nargs="?", default=experiment.ALL, help="one of those below (all)")
    _path_option(parser, "--data", "data folders as of `train`, whose photos make the library (default: the sample photos)")
    _path_option(parser, "--out", "folder of the results (default: assets/results)")
    _count_option(parser, "--largest", 1_000_000, "most vectors or photos to measure with (1,000,000)")
    _count_option(parser, "--rounds", 5, "how often everything is measured (5)")
    _path_option(parser, "--work", "keep photos and libraries there, and go on where a run ended")


@_command("card", hub.card, "write the model card of an expert repository from its index")
def _card(parser: Parser) -> None:
    """
    example:
      python -m core card mine --license cc-by-4.0

    DIR gets a README.md with what the index knows: data, tasks, seeds, figures, fingerprints, and how to load it.
    `train experts` writes it too; this writes it again without training. JSON: {"out"}
    """
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="expert repository (default: the shipped one)")
    parser.add_argument("--license", metavar="ID", help='such as "apache-2.0" (default: what an earlier card says, or none)')


@_command("pull", hub.pull, "bring an expert repository from the hub or a folder")
def _pull(parser: Parser) -> None:
    """
    example:
      python -m core pull OWNER/NAME --out mine
      python -m core adapt "photos of people surfing" --out surfing --experts mine

    $PLACE
    """
    parser.add_argument("source", metavar="SOURCE", help="a repository on the hub, or a folder")
    _path_option(parser, "--out", "new folder, or a repository to replace", required=True)
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit on the hub (default: the newest)")
    _backbone_options(parser)


@_command("push", hub.push, "send an expert repository to the hub or a folder")
def _push(parser: Parser) -> None:
    """
    example:
      python -m core push experts/embedded OWNER/NAME

    $PLACE
    """
    parser.add_argument("folder", type=Path, metavar="DIR", help="expert repository")
    parser.add_argument("target", metavar="TARGET", help="a repository on the hub, made where there is none, or a folder")
    _path_option(parser, "--generator", "generator to send along (default: the one in DIR; the shipped one's)", "FILE")
    _flag(parser, "--private", "make a new hub repository a private one")
    _backbone_options(parser)


def _train_options(parser: Parser, kind: str, default: str) -> None:
    _path_option(parser, "--data", "photos to train on; see below", required=True)
    parser.add_argument("--out", type=Path, metavar=kind, help=f"what to write (default: {default})")
    _flag(parser, "--yes", "without --out, replace what is there already and do not ask")
    _path_option(parser, "--cache", "features of the frozen towers (default: the user's cache)")
    parser.add_argument("--seed", type=_seed, default=SEED, help=f"of everything random ({SEED})")


def _recipe_option(parser: Parser) -> None:
    fields = "a field of the recipe, as steps=200; any number of times"
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=fields)


def _type(name: str, read: Callable[[str], Any], holds: Callable[[Any], bool] = lambda value: True) -> Callable[[str], Any]:
    """What argparse reads a value with; its message names it: "invalid finite number value: 'nan'"."""

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
_day = _type("day (such as 2024-05-31)", date.fromisoformat)


def _methods(text: str) -> list[str]:
    from core.experiments.controls import METHODS

    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{unknown[0] if unknown else 'nothing'} is no method: {', '.join(METHODS)} are")
    return names
