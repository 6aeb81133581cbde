"""Hostile adapters in PEFT format and hostile saved experts, made from valid ones."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from hostile_cases import Case
from safetensors.torch import load, save
from torch import Tensor
from zips import unzipped, zipped

from core.backbones.peft_format import CONFIG_FILE, WEIGHTS_FILE
from core.experts.files import INDEX_FILE, TENSORS_FILE
from core.experts.own import OwnEntry, OwnExperts, save_zip
from core.sglora.engine import SGLora
from core.sglora.repository import Expert

MARKUP = "<img src=x onerror=alert(1)>"
NESTED = "[" * 200_000
SENTENCE = "photos of a cactus on a window sill"


@dataclass(frozen=True)
class Good:
    """The parts of a valid adapter, and a valid file of saved experts."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    fingerprint: str
    own_experts: bytes


def by_header(header: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header. ``length``: the header size that the file announces."""
    return struct.pack("<Q", len(header) if length is None else length) + header + body


# Adapters


def weights(good: Good) -> Iterator[tuple[str, bytes, str | None]]:
    """Yields (what, content of the weights file, part of the error message). None: the app accepts the file."""
    first = next(iter(good.tensors))
    metadata = {"format": "pt", "backbone_fingerprint": good.fingerprint}

    def changed(change: Callable[[Tensor], Tensor]) -> bytes:
        return save({**good.tensors, first: change(good.tensors[first]).contiguous()}, metadata)

    def header(entry: object) -> bytes:
        return by_header(json.dumps(dict.fromkeys(good.tensors, entry)).encode(), bytes(64))

    damaged = "damaged or not a safetensors file"
    yield "no byte", b"", damaged
    yield "a header of 2^63 bytes", by_header(b"{}", length=2**63), damaged
    yield "a header beyond the file", by_header(b'{"a":1}', length=999), damaged
    yield "a header of brackets", by_header(NESTED.encode()), damaged
    yield "a header of 2 MB of blanks", by_header(b"{}" + b" " * 2**21), ""
    yield "offsets beyond the file", header({"dtype": "F32", "shape": [9], "data_offsets": [0, 10**12]}), damaged
    yield "a shape of 2^80 numbers", header({"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 64]}), damaged
    yield "an unknown type", header({"dtype": "PICKLE", "shape": [16], "data_offsets": [0, 64]}), damaged
    empty = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}
    yield "100,000 empty tensors", by_header(json.dumps(empty).encode()), "does not fit this backbone"
    yield "a million empty entries", by_header(json.dumps({f"t{i}": {} for i in range(10**6)}).encode()), damaged
    yield "a name of a million letters", save({"n" * 10**6: torch.zeros(1)}), "does not fit this backbone"
    yield "a name with markup", save({**good.tensors, f"\x1b[31m{MARKUP}": torch.zeros(1)}), "is unknown"
    yield "a tensor too few", save(dict(list(good.tensors.items())[1:])), "is missing"
    yield "another shape", changed(lambda t: t[:, 1:]), "A and B of"
    yield "a number", changed(lambda t: t.sum()), "A and B of"
    yield "no rank", changed(lambda t: t[:0]), "A and B of"
    yield "numbers of four bits", changed(lambda t: t.to(torch.uint8).view(torch.float4_e2m1fn_x2)), ""
    for kind in (torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn):
        yield f"numbers of {kind}", changed(lambda t, kind=kind: t.to(kind)), ""
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        yield f"numbers of {kind}", changed(lambda t, kind=kind: t.to(kind)), None
    for value in (float("nan"), float("inf"), -float("inf")):
        changed_one = changed(lambda t, v=value: torch.where(torch.arange(t.numel()).view(t.shape) == 3, v, t))
        yield f"one {value}", changed_one, "NaN or inf"
    yield "numbers of 1e38", changed(lambda t: torch.full_like(t, 1e38)), "holds invalid numbers"
    yield "numbers beyond float32", changed(lambda t: torch.full_like(t, 1e300, dtype=torch.float64)), "NaN or infinite"
    yield "zeros", changed(torch.zeros_like), None
    yield "a pickle", pickle.dumps({first: [0.0]}), damaged
    torch.save({first: torch.zeros(3)}, buffer := io.BytesIO())
    yield "what torch.save writes", buffer.getvalue(), damaged
    for what, said in {"another backbone": "ffff", "a backbone of markup": MARKUP}.items():
        yield what, save(good.tensors, {**metadata, "backbone_fingerprint": said}), "another backbone"
    for what, origin in {
        "an origin of brackets": NESTED,
        "an origin of a number of 10,000 digits": "9" * 10_000,
        "an origin of markup": json.dumps({"description": MARKUP}),
        "an origin that is a list": "[1]",
    }.items():
        yield what, save(good.tensors, {**metadata, "sg_lora": origin}), None


def configs(good: Good) -> Iterator[tuple[str, bytes, str | None]]:
    """Yields (what, content of the configuration, part of the error message). None: the app accepts the file."""

    def changed(**values: object) -> bytes:
        return json.dumps({**good.config, **values}).encode()

    none, ranks = "is not a LoRA configuration", good.config["rank_pattern"]
    yield "a configuration of brackets", NESTED.encode(), none
    yield "a configuration that is a list", b"[]", none
    yield "no alpha", json.dumps({k: v for k, v in good.config.items() if k != "lora_alpha"}).encode(), none
    for alpha in ("two", None, [2], {"r": 2}):
        yield f"alpha {alpha}", changed(lora_alpha=alpha), none
    for rank in (0, "two", 10**9):  # the weights have the rank
        yield f"rank {rank}", changed(r=rank), None
    for alpha in (float("nan"), float("inf"), 1e308):
        yield f"alpha {alpha}", changed(lora_alpha=alpha), "NaN or infinite"
    yield "alpha 1e30", changed(lora_alpha=1e30), "holds invalid numbers"
    yield "a kind of markup", changed(peft_type=MARKUP), "only plain LoRA"
    yield "a kind of brackets", changed(peft_type=[[[[3]]]]), "only plain LoRA"
    yield "DoRA", changed(use_dora=True), "not use_dora"
    yield "scales by something else", changed(alpha_pattern={"v": None}), none
    yield "scales by an endless expression", changed(alpha_pattern={"(.*)*x": 8}), "is not the name of a linear"
    yield "scales by an expression of markup", changed(alpha_pattern={MARKUP: 8}), "is not the name of a linear"
    yield "a scale of a linear of 1e30", changed(alpha_pattern={**ranks, "mlp.3": 1e30}), "holds invalid numbers"
    yield "weights that are changed as well", changed(init_lora_weights="pissa"), "not init_lora_weights"
    yield "code to run", changed(auto_mapping={"x": "os.system"}, base_model_name_or_path="/etc/passwd"), None


def stored(files: Mapping[str, bytes]) -> bytes:
    """A ZIP without compression, which takes most of the time: weights are noise."""
    return zipped(files, zipfile.ZIP_STORED)


def archives(good: Good) -> Iterator[tuple[str, bytes, str | None]]:
    """Yields (what, ZIP, part of the error message). None: the app accepts the ZIP."""
    config, content = json.dumps(good.config).encode(), save(good.tensors, {"backbone_fingerprint": good.fingerprint})
    whole = {CONFIG_FILE: config, WEIGHTS_FILE: content}
    torch.save(good.tensors, buffer := io.BytesIO())
    yield "as it should be", zipped(whole), None
    yield "no ZIP", b"no zip at all", "damaged or not a ZIP"
    yield "cut in half", stored(whole)[:300], "damaged or not a ZIP"
    yield "a pickle beside its configuration", stored({CONFIG_FILE: config, "adapter_model.bin": buffer.getvalue()}), "lacks"
    yield "names that are paths", stored({f"../../{k}": v for k, v in whole.items()}), "lacks"
    yield "absolute names", stored({f"/{k}": v for k, v in whole.items()}), None
    yield "a configuration of 3 MB", zipped({**whole, CONFIG_FILE: b" " * 3 * 2**20}), "larger than 1 MB unpacked"
    yield "weights of 100 MB of zeros", zipped({**whole, WEIGHTS_FILE: bytes(100 * 2**20)}), "larger than 64 MB unpacked"
    yield "LZMA", zipped({**whole, WEIGHTS_FILE: b""}, zipfile.ZIP_LZMA), "damaged"
    locked = bytearray(stored(whole))
    for mark, at in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        locked[locked.index(mark) + at] |= 1
    yield "locked", bytes(locked), "damaged"


def adapters(good: Good) -> list[Case]:
    """All cases of adapters, as ZIP files."""
    config, content = json.dumps(good.config).encode(), save(good.tensors, {"backbone_fingerprint": good.fingerprint})
    pairs = [(what, config, data, reason) for what, data, reason in weights(good)]
    pairs += [(what, data, content, reason) for what, data, reason in configs(good)]
    made = [(what, stored({CONFIG_FILE: c, WEIGHTS_FILE: w}), reason) for what, c, w, reason in pairs]
    made += archives(good)
    return [Case(what, "adapter.zip", data, reason) for what, data, reason in made]


# Saved experts


def own_experts_file(engine: SGLora) -> bytes:
    """A valid file of one saved expert."""
    recall = {"i2t": {"R@1": 10.0, "R@5": 30.0, "R@10": 50.0}, "t2i": {"R@1": 20.0, "R@5": 40.0, "R@10": 60.0}, "images": 50}
    expert = Expert("mine", SENTENCE, "own", "own photos", 30, 0, 16, recall, recall)
    repository = engine.repository
    numbers = repository.means[0], repository.variances[0], repository.embeddings[0]
    return save_zip(OwnExperts(repository).add(OwnEntry(expert, *numbers)))


def own_experts_with(
    good: Good, tensors: dict[str, Tensor] | bytes | None = None, first: Mapping | None = None, **index: object
) -> bytes:
    """Saved experts with changed tensors, fields of the first expert, or index fields."""
    files = unzipped(good.own_experts)
    content = json.loads(files[INDEX_FILE])
    if tensors is not None:
        files[TENSORS_FILE] = tensors if isinstance(tensors, bytes) else save({**load(files[TENSORS_FILE]), **tensors})
    content["experts"][0] |= first or {}
    files[INDEX_FILE] = json.dumps(content | index).encode()
    return zipped(files)


def saved_experts(good: Good) -> list[Case]:
    files = unzipped(good.own_experts)
    tensors, entries = load(files[TENSORS_FILE]), json.loads(files[INDEX_FILE])["experts"]
    means, variances = tensors["means"], tensors["variances"]
    none, lost = "is not that of saved experts", {"before": {"i2t": MARKUP}}
    cases: list[tuple[str, bytes, str | None]] = [
        ("as it should be", good.own_experts, None),
        ("no ZIP", b"no zip", "damaged or not a ZIP"),
        ("no index", zipped({TENSORS_FILE: files[TENSORS_FILE]}), "lacks"),
        ("an index of brackets", zipped({**files, INDEX_FILE: NESTED.encode()}), none),
        ("an index of 3 MB", zipped({**files, INDEX_FILE: b" " * 3 * 2**20}), "unpacked"),
        ("a number too few", zipped({**files, TENSORS_FILE: files[TENSORS_FILE][:-1]}), "damaged"),
        ("a pickle for numbers", own_experts_with(good, tensors=pickle.dumps([1])), "damaged"),
        ("NaN", own_experts_with(good, tensors={"means": means * float("nan")}), "holds invalid numbers"),
        ("numbers of 1e30", own_experts_with(good, tensors={"means": means + 1e30}), "too large"),
        ("negative variances", own_experts_with(good, tensors={"variances": -variances}), "holds invalid numbers"),
        ("one number", own_experts_with(good, tensors={"means": torch.zeros(())}), "damaged"),
        ("an expert more than numbers", own_experts_with(good, experts=[*entries, entries[0]]), "damaged"),
        ("numbers of float8", own_experts_with(good, tensors={"means": means.to(torch.float8_e4m3fn)}), None),
        ("another shape", own_experts_with(good, tensors={"means": means[:, 1:].contiguous()}), "does not fit"),
        ("a LoRA of one number", own_experts_with(good, tensors={"0.text.mlp.1.a": torch.ones(1)}), "damaged"),
        ("other experts", own_experts_with(good, basis_sha256="ffff"), "other experts"),
        ("an infinite format", own_experts_with(good, format=float("inf")), none),
        ("no experts", own_experts_with(good, experts=[]), none),
        ("a thousand experts", own_experts_with(good, experts=entries * 1_000), none),
        ("a name that is taken", own_experts_with(good, first={"name": "Boy"}), "Boy already"),
        ("no name", own_experts_with(good, first={"name": ""}), "The expert has no name"),
        ("no description", own_experts_with(good, first={"description": "?"}), "The description has no letter or digit"),
        ("a recall after, and none before", own_experts_with(good, first={"before": {}, "after": lost["before"]}), none),
        ("a field too many", own_experts_with(good, first={"__class__": "os"}), none),
        ("a name that cannot be shown", own_experts_with(good, first={"name": "\u202e"}), none),
        ("a recall of 10^400", own_experts_with(good, first={"after": {"i2t": {"R@1": 10**400}}}), none),
        ("a seed of 2^64", own_experts_with(good, first={"seed": 2**64}), none),
        ("a loss of -1", own_experts_with(good, first={"lost": -1}), none),
        ("texts of markup", own_experts_with(good, first={"name": MARKUP, "description": MARKUP, "source": MARKUP}), None),
    ]  # fmt: skip
    return [Case(what, "experts.zip", data, reason) for what, data, reason in cases]
