"""Find expert repositories on this machine, and load an engine from them; load an adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.backbones import EMBEDDED, load_backbone
from core.backbones.base import Backbone, photo_column
from core.backbones.embedded import EmbeddedBackbone
from core.backbones.lora_algebra import merge
from core.backbones.peft_format import load_peft
from core.backbones.spec import adapted_side, needed_options
from core.common.errors import AdapterError, RepositoryError
from core.common.paths import GENERATOR_FILE, ROOT, asset_path, experts_path
from core.experts.adapter_files import EXPERT, weight_of
from core.experts.files import INDEX_FILE, RepositoryIndex, load_generator, load_repository
from core.retrieval.adapter import Adapter
from core.sglora.engine import SGLora
from core.sglora.repository import ExpertRepository


def load_engine(backbone: Backbone | None = None, experts: Path | None = None, generator: Path | None = None) -> SGLora:
    """Load an engine from the shipped files, or from other files.

    Args:
        backbone: None loads the embedded one.
        experts: folder of the repository. None: the backbone's own. An open_clip model without one has no experts yet.
        generator: its file. None: the one beside the experts, else in the assets, by the folder's name or the backbone's.

    Raises BackboneError, RepositoryError: when a file is missing, damaged, or made for another backbone or other experts.
    """
    model = load_backbone() if backbone is None else backbone
    if experts is None and model.name != EMBEDDED and not experts_path(model.slug).exists():
        return SGLora(model, ExpertRepository.empty(model), None)
    experts = experts or experts_path(model.slug)
    repository = load_repository(experts, model.layout, model.fingerprint, model.shared)
    candidates = [experts / GENERATOR_FILE, *(asset_path(GENERATOR_FILE, name) for name in (experts.name, model.slug))]
    file = generator or next((file for file in candidates if file.is_file()), candidates[0])
    loaded = load_generator(file, model.fingerprint)
    if loaded.basis != repository.basis.digest:
        raise RepositoryError(f"{file} is not of the experts {experts}: `python -m core train generator` trains theirs.")
    return SGLora(model, repository, loaded)


def load_adapter(backbone: Backbone, folder: Path) -> Adapter:
    """The adapter in a folder in PEFT format, with the weight in its files. An expert's part gets the backbone's shared LoRA.
    Raises AdapterError: as ``load_peft``, when there is no such LoRA, or when it changes photos differently from it."""
    lora, origin = load_peft(folder, backbone.linears.values(), backbone.fingerprint)
    if origin.get("part") == EXPERT:
        if backbone.shared is None:
            raise AdapterError(f"{folder} is an expert's part without the shared LoRA: use the whole (`adapt --part whole`).")
        lora = merge([backbone.shared, lora], [1.0, 1.0])
    if backbone.shared is None:
        return Adapter.of(lora)
    photo_column(lora, backbone.shared)
    return Adapter.of(lora, weight_of(origin))


@dataclass(frozen=True)
class NamedBackbone:
    """A backbone that is not loaded yet, and its experts: a repository of which only the index was read, or none yet."""

    choice: Mapping[str, Any]  # arguments of ``load_backbone``
    experts: int = 0  # how many it has
    folder: Path | None = None  # of the repository
    fingerprint: str = ""  # of the experts' backbone

    @staticmethod
    def read(folder: Path) -> NamedBackbone:
        """The backbone of the repository in a folder. Raises RepositoryError: when there is none, or its index is damaged."""
        index = RepositoryIndex.read(folder)
        return NamedBackbone(index.backbone, len(index.experts), folder, index.fingerprint)

    @property
    def name(self) -> str:
        """A display name: "ViT-B-16 openai", or with the folder of experts "ViT-B-16 openai, last 4 blocks (paper)"."""
        pretrained, blocks, adapt = (self.choice.get(key) for key in ("pretrained", "adapt_blocks", "adapt"))
        name = Path(str(self.choice["spec"])).name + ("" if pretrained is None else f" {Path(pretrained).stem}")
        if self.folder is None:
            return name
        name += "" if blocks is None else f", last {blocks} block{'s' if blocks > 1 else ''}"
        name += "" if adapt is None else f", {adapt}"
        return name if self.folder.name == name.replace(", ", "-") else f"{name} ({self.folder.name})"

    @property
    def options(self) -> tuple[str, ...]:
        """The options of the command line that select it."""
        needed = needed_options(self.choice)
        if self.folder is None:
            return tuple(needed)
        folder = self.folder.resolve()
        if folder == experts_path().resolve():
            return ()  # it is the default
        path = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else self.folder
        return "--experts", str(path), *needed

    def fetch(self, show: Callable[[int, int], object]) -> None:
        """Download its weights if they are not on this machine. Raises as ``fetch_weights``."""
        if self.choice["spec"] != EMBEDDED:
            from core.backbones.open_clip import fetch_weights  # takes seconds, and most visitors never need it

            fetch_weights(self.choice["spec"], self.choice.get("pretrained"), show)

    def load(self, backbone: Backbone | None = None) -> SGLora:
        """Load its engine. Reuses ``backbone`` if the experts fit it, adapted to their side (photos or texts) if needed. Raises
        BackboneError, RepositoryError: as ``load_backbone`` and ``load_engine``."""
        if backbone is None or backbone.fingerprint != self.fingerprint:
            backbone = load_backbone(**self.choice)
        elif isinstance(backbone, EmbeddedBackbone):
            backbone = backbone.adapting(adapted_side(self.choice))
        elif any(backbone.choice.get(key) != self.choice.get(key) for key in ("adapt", "adapt_blocks")):
            backbone = load_backbone(**self.choice)
        return load_engine(backbone, self.folder)


def repository_folders(folder: Path) -> list[Path]:
    """The folder itself if it is a repository, and the repositories right below it, by name."""
    inside = [folder, *sorted(folder.iterdir())] if folder.is_dir() else []
    return [f for f in inside if (f / INDEX_FILE).is_file()]
