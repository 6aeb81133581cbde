"""The model card of an expert repository: ``README.md`` beside its index, made from the index alone.

Format: https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from core.backbones import EMBEDDED
from core.backbones.spec import FOLDER, HUB, adapted_side, backbone_options, local_names, portable
from core.common import markdown
from core.common.digest import digest
from core.common.errors import RepositoryError
from core.common.metrics import mean_of_ways
from core.common.paths import GENERATOR_FILE
from core.experts import recall_summary
from core.experts.files import TENSORS_FILE, RepositoryIndex
from core.sglora.repository import Expert

CARD_FILE = "README.md"
TAG = "sg-lora"
LIBRARY = "sg-lora-studio"  # what loads the repository; peft loads the adapters that are generated from it
METHOD = "https://arxiv.org/abs/2509.10535"
# By how the name of a source begins; where a set is not listed, its own terms are all that can be said.
TERMS: Mapping[str, str] = {
    "flickr8k": "photos belong to their Flickr users; for research and education",
    "flickr30k": "photos belong to their Flickr users; for research and education",
    "coco": "captions and categories CC BY 4.0; photos under their Flickr licences",
}


def write_card(folder: Path, licence: str | None = None) -> Path:
    """Write the card of the repository in ``folder``, and return its path.

    Args:
        folder: of the repository.
        licence: of the experts, an identifier of https://huggingface.co/docs/hub/repositories-licenses; None keeps what an
            earlier card says.

    Raises:
        RepositoryError: the index is missing or damaged, or there is a README that is no such card.
    """
    path, generator = folder / CARD_FILE, folder / GENERATOR_FILE
    checksum = digest(generator.read_bytes()) if generator.is_file() else None
    card = model_card(RepositoryIndex.read(folder), licence or _licence(path), checksum)
    path.write_text(str(card), encoding="utf-8")
    return path


def model_card(index: RepositoryIndex, licence: str | None = None, generator: str | None = None) -> ModelCard:
    """Data, tasks, seeds, figures, licences and fingerprints of a repository, and how to load it.

    Args:
        index: of the repository. licence: of its numbers. generator: sha256 of the generator beside it, where one is.
    """
    spec = str(portable(index.backbone)["spec"])
    title = f"SG-LoRA experts: {spec}"
    parts = [
        f"# {title}",
        _summary(index),
        "## Use",
        _use(index),
        "## Fingerprints",
        _fields(
            {
                "backbone": f"`{index.fingerprint}`",
                f"`{TENSORS_FILE}`, sha256": f"`{index.checksum}`",
                **({f"`{GENERATOR_FILE}`, sha256": f"`{generator}`"} if generator else {}),
            }
        ),
        "SG-LoRA Studio checks them when it loads the files, and refuses experts of another backbone.",
        "## Data and licences",
        _data(index.experts),
        "No photo and no caption is part of this repository. "
        + (f"The experts' numbers: {licence}." if licence else "Nobody has stated a licence for the experts' numbers yet."),
        "## Training",
        _training(index),
        "## Results",
        _results(index),
    ]
    hub = spec.removeprefix(HUB)
    data = ModelCardData(
        language="en",
        license=licence,
        library_name=LIBRARY,
        base_model=hub if hub != spec else None,
        tags=["lora", TAG, "image-text-retrieval", "image-search", "arxiv:2509.10535"],
        model_name=title,
        eval_results=_evaluations(index.experts),
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n")


def _licence(path: Path) -> str | None:
    """What the card at ``path`` says; a README that is somebody's own is not overwritten."""
    if not path.is_file():
        return None
    front = re.match(r"---\n.*?^---$", path.read_text(encoding="utf-8", errors="replace"), re.DOTALL | re.MULTILINE)
    if front is None or f"\n- {TAG}\n" not in front[0]:
        raise RepositoryError(f"{path} is not a card that this command wrote: move it away, and run `python -m core card`.")
    stated = re.search(r"^license: (.+)$", front[0], re.MULTILINE)
    return stated[1] if stated else None


def _summary(index: RepositoryIndex) -> str:
    groups = Counter(e.group for e in index.experts)
    sizes = ", ".join(f"{group} {count}" for group, count in groups.most_common())
    if adapted_side(index.backbone) == "photos":
        adapted = "the query, key and value projections of the vision blocks"
    else:
        embedded = index.backbone["spec"] == EMBEDDED
        adapted = "the text head's two linears" if embedded else "the linears of the last text blocks and the text projection"
    return (
        f"{len(index.experts)} LoRA experts (rank {index.rank} on {adapted}), one for each of as many tasks: {sizes}. They are "
        f"what [SG-LoRA]({METHOD}) routes a sentence to, and what its generator learned from; each is also a LoRA of its "
        "own for photos of its task. They lie together in one file, which SG-LoRA Studio reads; what it writes from them, for "
        "a sentence or of one expert, is an adapter that peft loads."
    )


def _use(index: RepositoryIndex) -> str:
    choice = portable(index.backbone)
    usual = choice["spec"] == EMBEDDED and not choice.get("adapt")
    more = "" if usual else f" {shlex.join(backbone_options(choice))}"
    return (
        "With SG-LoRA Studio, in its folder (`OWNER/NAME` is this repository):\n\n"
        f"    python -m core pull OWNER/NAME --out mine{more}\n"
        f'    python -m core adapt "photos of people surfing" --out surfing --experts mine{more}\n\n'
        f"{_weights(index)}"
        "`surfing` is then an adapter in PEFT format, generated from the sentence. A single expert, in Python:\n\n"
        "    from pathlib import Path\n"
        "    from core.backbones import load_backbone\n"
        "    from core.backbones.peft_format import save_peft\n"
        "    from core.experts import load_repository\n"
        f"    backbone = load_backbone({', '.join(f'{k}={v!r}' for k, v in choice.items() if v is not None)})\n"
        "    repository = load_repository(Path('mine'), backbone.layout, backbone.fingerprint, backbone.shared)\n"
        "    save_peft(repository.lora(0), Path('expert'), backbone.fingerprint, backbone.name, {})"
    )


def _weights(index: RepositoryIndex) -> str:
    """What to put in the place of a name, where the weights are a local file or folder of the trainer."""
    local = local_names(index.backbone)
    if not local:
        return ""
    kinds = {"spec": "the folder", "pretrained": "the file"}
    names = " and ".join(f"{kinds[key]} `{name.removeprefix(FOLDER)}`" for key, name in local.items())
    return (
        f"The backbone's weights are not part of this repository. They were read from {names}: get a copy, put it anywhere on "
        "your machine, and write its path in the place of the name. Whether it is the same shows by the fingerprint, "
        f"`{index.fingerprint}`, which is made from the weights: with any other, the commands refuse and say so.\n\n"
    )


def _data(experts: Sequence[Expert]) -> str:
    rows: dict[str, list[Expert]] = {}
    for expert in experts:
        rows.setdefault(expert.source, []).append(expert)
    lines = []
    for source, members in rows.items():
        counts = [e.images for e in members]
        span = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
        terms = next((t for name, t in TERMS.items() if source.lower().startswith(name)), "see the data set")
        lines.append([source, str(len(members)), span, terms])
    return markdown.table(["data", "experts", "photos of one task", "terms of the data"], lines)


def _training(index: RepositoryIndex) -> str:
    seeds = sorted({e.seed for e in index.experts})
    snapshots = sorted({e.snapshots for e in index.experts})
    recipe = index.notes.get("recipe")
    facts = {
        "seeds": ", ".join(map(str, seeds)),
        "snapshots averaged per expert": ", ".join(map(str, snapshots)),
        **({k: f"`{json.dumps(v)}`" for k, v in recipe.items()} if isinstance(recipe, Mapping) else {}),
    }
    return (
        "A shared LoRA was trained on densely sampled tasks, and on top of it one own part per topic, with the symmetric "
        "contrastive loss and a penalty for forgetting class names. An own part is the mean of its last snapshots.\n\n"
        + _fields(facts)
    )


def _results(index: RepositoryIndex) -> str:
    if not any(e.measured for e in index.experts):
        return "Nobody has measured these experts."
    summary = recall_summary.verify(index)
    return (
        "Recall on each expert's own task, zero-shot → expert, on photos that neither trained nor stopped it; mean of both "
        "directions, in percent; gains in points with 95 % bootstrap intervals over experts. "
        + " ".join(recall_summary.findings(summary))
        + f"\n\n{recall_summary.table(summary)}"
    )


def _evaluations(experts: Sequence[Expert]) -> list[EvalResult] | None:
    """Mean recall over all measured experts for the model index, zero-shot and adapted."""
    measured = [e for e in experts if e.measured]
    if not measured:
        return None

    def result(k: int, kind: str) -> EvalResult:
        sides = [e.before if kind == "zero-shot" else e.after for e in measured]
        values = [mean_of_ways(side, f"R@{k}") for side in sides]
        return EvalResult(
            task_type="image-text-retrieval",
            task_name="Image-text retrieval",
            dataset_type="task-photos",
            dataset_name=f"Held-out photos of {len(measured)} tasks",
            metric_type="recall",
            metric_name=f"R@{k}, mean of both directions and all tasks, {kind}",
            metric_value=round(sum(values) / len(values), 2),
        )

    return [result(k, kind) for k in (1, 5) for kind in ("zero-shot", "expert")]


def _fields(facts: Mapping[str, Any]) -> str:
    return "\n".join(f"- {key}: {value}" for key, value in facts.items())
