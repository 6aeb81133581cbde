"""The model card of an expert repository: ``README.md`` beside its index, written from the index.

Format: https://huggingface.co/docs/hub/model-cards. The text is in ``card.md``.
"""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from core.backbones.spec import needed_options, portable
from core.backbones.transformers_names import LIBRARY, hub_model
from core.common.digest import digest
from core.common.errors import RepositoryError
from core.common.paths import GENERATOR_FILE
from core.experts import recall_summary
from core.experts.files import TENSORS_FILE, RepositoryIndex

CARD_FILE = "README.md"
TEMPLATE = Path(__file__).with_name("card.md")
TAG = "sg-lora"


def write_card(folder: Path, licence: str | None = None) -> Path:
    """Write the card of the repository in ``folder``, and return its path.

    ``licence``: of the experts, an identifier of https://huggingface.co/docs/hub/repositories-licenses. None keeps the licence
    of an earlier card. Raises RepositoryError: when the index is missing or damaged, or README.md is not such a card.
    """
    path, generator = folder / CARD_FILE, folder / GENERATOR_FILE
    checksum = digest(generator.read_bytes()) if generator.is_file() else None
    card = model_card(RepositoryIndex.read(folder), licence or _licence(path), checksum)
    path.write_text(str(card), encoding="utf-8")
    return path


def model_card(index: RepositoryIndex, licence: str | None = None, generator: str | None = None) -> ModelCard:
    """The card: data, tasks, seeds, figures, licences and fingerprints of a repository, and how to load it. ``licence``: of the
    experts. ``generator``: sha256 of the generator beside the index, if there is one."""
    choice, measured = portable(index.backbone), any(e.measured for e in index.experts)
    name, recipe = f"SG-LoRA experts: {choice['spec']}", index.notes.get("recipe")
    summary = recall_summary.verify(index) if measured else {}
    about = "image-text-retrieval", "own-topics", "new photos of the experts' own topics", "recall"
    results = [
        EvalResult(*about, mean, dataset_config=group, metric_name=f"{measure} gained")
        for group in recall_summary.GROUPS
        for measure, (mean, *_) in summary.get(group, {}).get("gain", {}).items()
    ]
    data = ModelCardData(
        language="en",
        license=licence,
        library_name=LIBRARY,
        base_model=hub_model(choice),
        datasets=list(dict.fromkeys(e.source for e in index.experts)),
        pipeline_tag="zero-shot-image-classification",
        model_name=name,
        eval_results=results or None,
        tags=["lora", TAG, "image-text-retrieval", "image-search", "arxiv:2509.10535"],
    )
    return ModelCard.from_template(
        data,
        str(TEMPLATE),
        model_name=name,
        index=index,
        options=shlex.join(needed_options(choice)),
        arguments=", ".join(f"{key}={value!r}" for key, value in choice.items() if value is not None),
        tensors_file=TENSORS_FILE,
        generator_file=GENERATOR_FILE,
        generator=generator,
        recipe={key: json.dumps(value) for key, value in recipe.items()} if isinstance(recipe, Mapping) else {},
        findings=recall_summary.findings(summary) if measured else (),
        results=recall_summary.table(summary) if measured else "",
    )


def _licence(path: Path) -> str | None:
    """The licence in the card at ``path``, or None. Raises RepositoryError: when the README is not our card."""
    if not path.is_file():
        return None
    front = re.match(r"---\n.*?^---$", path.read_text(encoding="utf-8", errors="replace"), re.DOTALL | re.MULTILINE)
    if front is None or f"\n- {TAG}\n" not in front[0]:
        raise RepositoryError(f"{path} was not written by this command: move it away, and run `python -m core card`.")
    stated = re.search(r"^license: (.+)$", front[0], re.MULTILINE)
    return stated[1] if stated else None
