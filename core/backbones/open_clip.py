"""Any open_clip model with a plain ViT image tower as a backbone."""

import difflib
import hashlib
import json
import re
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import open_clip
import torch
from open_clip.model import _build_vision_tower
from open_clip.transform import PreprocessCfg
from PIL import Image
from torch import Tensor, nn

from core.backbones import hub
from core.backbones.attention import PROJECTIONS
from core.backbones.base import Backbone, TwoTowers, finished
from core.backbones.clip_text import text_tower
from core.backbones.lora import LORA_RANK, Lora, LoraLayout
from core.backbones.spec import FOLDER, HUB, OWN_WEIGHTS, Side, portable, slug, with_full_paths
from core.backbones.vit import AdaptedTower, PlainViT
from core.common.device import autocast, batch_size, sent
from core.common.errors import BackboneError, StudioError, brief
from core.common.images import Framing
from core.common.progress import Steps, say
from core.common.runtime import compute_dtype

IMAGE_BATCH = 32  # a ViT-B/16 block of 32 photos needs about 80 MB for its widest activation
QUICK = "-quickgelu"
MB = 10**6
TOKENIZER_OPTIONS = ("clean", "strip_sep_token", "language")  # these only change how texts are cleaned
HUB_NAME = re.compile(r"(?!\.)[\w.-]+(/(?!\.)[\w.-]+)?")
ARCHIVED_SIZES = ("input_resolution", "context_length", "vocab_size")  # entries of OpenAI's archives beside the weights


class OpenClipBackbone(Backbone):
    """An open_clip model; descriptions are routed in its text space.

    Args:
        model: loses its image tower, a plain ViT, to this backbone, so that memory holds its weights once.
        tokenizer: from texts to token ids [n, context].
        adapt_blocks: number of last blocks of the adapted tower that LoRAs adapt (None: all of the image tower, or the last
            two of the text tower).
        pretrained: the source of the weights, a tag or a file (None: the name is enough).
        adapt: "photos" adapts q, k and v of the image tower, as in the paper. "texts" adapts all linears of the last text
            blocks and the text projection. Both embed photos in the same way, so their fingerprints are equal if all image
            blocks are adapted.

    Raises BackboneError: when the image tower is not a plain ViT, adapt_blocks is out of range, weights are not finite, or
        the text tower is not a plain transformer.
    """

    languages = frozenset({"English"})  # the only language that its texts are known to have

    def __init__(
        self,
        name: str,
        model: nn.Module,
        tokenizer: Callable[[list[str]], Tensor],
        adapt_blocks: int | None = None,
        pretrained: str | None = None,
        adapt: Side = "photos",
    ) -> None:
        texts = adapt == "texts"
        self.name = name
        self.slug = slug(name, pretrained, adapt_blocks, adapt)
        choice = {"spec": name, "pretrained": pretrained, "adapt_blocks": adapt_blocks}
        self.choice = with_full_paths(choice | ({"adapt": adapt} if texts else {}))
        model = model.float().eval().requires_grad_(False)
        preprocess = open_clip.get_model_preprocess_cfg(model)
        weights = model.state_dict()
        vit = PlainViT.of(model.get_submodule("visual"))
        tower = AdaptedTower(vit, None if texts else adapt_blocks)
        facts = {"cut": tower.cut, **vit.facts, "preprocess": dict(preprocess)}
        self.fingerprint = self.sentence_key = _fingerprint(facts, weights)
        del model.visual
        text = text_tower(model, texts, adapt_blocks)
        self.adapted = TwoTowers(text, tower, tower.patches).eval().requires_grad_(False)
        self.dim = self.sentence_dim = tower.dim
        if texts:
            self.linears = self.adapted.linears("text.blocks.", "text.projection")
            adapted = [*self.linears]
            self._stem, self.prefix_shape = nn.Sequential(vit.prefix(tower.cut), tower), (tower.dim,)
            self.prefix_key, self.text_key = f"{self.fingerprint} embeddings", None
        else:
            self.linears = self.adapted.linears("vision.blocks.")
            adapted = [name for name in self.linears if name.endswith(PROJECTIONS)]
            self._stem, self.prefix_shape = vit.prefix(tower.cut), (vit.tokens, vit.width)
            self.prefix_key = self.text_key = self.fingerprint
        self.layout = LoraLayout.of(self.linears, adapted, LORA_RANK)
        self.tokenizer, self._tokenizer_lock = tokenizer, threading.Lock()
        settings = PreprocessCfg(**preprocess)
        self.framing = _framing(settings)
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (settings.mean, settings.std))

    @property
    def dtype(self) -> torch.dtype:
        """Half precision on a GPU. float32 on the CPU, so that CLIP's embeddings are as in its paper."""
        return torch.float32 if self.device.type == "cpu" else compute_dtype(self.device)

    def to(self, device: torch.device) -> Self:
        for part in (self.adapted, self._stem):
            part.to(device)
        return super().to(device)

    def encode_sentence(self, texts: Sequence[str]) -> Tensor:
        return self.encode_text(texts)

    def text_prefix(self, texts: Sequence[str]) -> Tensor:
        with self._tokenizer_lock:  # Hugging Face's fast tokenizers fail when two threads set padding at once
            tokens = self.tokenizer(list(texts) or [""])[: len(texts)]
        return tokens if self.layout.moves_texts else self._read(tokens)

    def text_suffix(self, prefix: Tensor, lora: Lora | None = None) -> Tensor:
        return self._read(prefix, lora) if self.layout.moves_texts else finished(prefix, lora, "texts")

    @torch.no_grad()
    def _read(self, tokens: Tensor, lora: Lora | None = None) -> Tensor:
        return self.adapted.text(tokens, lora and lora.to(self.device)).cpu() if len(tokens) else torch.empty(0, self.dim)

    @torch.no_grad()
    def prefix(self, pixels: Tensor, dtype: torch.dtype = torch.float16) -> Tensor:
        if not len(pixels):
            return torch.empty(0, *self.prefix_shape, dtype=dtype)
        with autocast(self.device, self.dtype):
            return torch.cat([self._stem(part).to(dtype).cpu() for part in self._sent(pixels)])

    @torch.no_grad()
    def suffix(self, prefix: Tensor, lora: Lora | None = None) -> Tensor:
        if not self.layout.moves_photos:
            return finished(prefix, lora, "photos")
        if not len(prefix):
            return torch.empty(0, self.dim)
        lora = lora and lora.to(self.device)
        with autocast(self.device, self.dtype):
            return torch.cat([self.adapted.vision(part.float(), lora).cpu() for part in self._sent(prefix)])

    def _sent(self, photos: Tensor) -> Iterator[Tensor]:
        return (sent(part, self.device) for part in photos.split(batch_size(self.device, IMAGE_BATCH)))


def _framing(preprocess: PreprocessCfg) -> Framing:
    """The framing of open_clip's transform. Raises BackboneError: when it pads photos."""
    _, height, width = preprocess.input_size
    if preprocess.resize_mode not in ("shortest", "squash"):
        raise BackboneError(f"Models that pad photos (resize_mode {preprocess.resize_mode}) are not supported.")
    return Framing(width, height, preprocess.resize_mode == "squash", Image.Resampling[preprocess.interpolation.upper()])


def _fingerprint(facts: Mapping[str, object], weights: Mapping[str, Tensor]) -> str:
    """16 hex digits over the weights, and over ``facts`` that change embeddings or cached prefixes but not weights."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for key, value in sorted(weights.items()):
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise BackboneError(f"The weights of {key} hold NaN or infinite numbers.")
        digest.update(f"{key} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def load_open_clip(
    name: str, pretrained: str | None = None, adapt_blocks: int | None = None, adapt: Side = "photos"
) -> OpenClipBackbone:
    """Build an open_clip model as a backbone.

    Args:
        name: "ViT-B-16", "local-dir:folder" or "hf-hub:owner/repository".
        pretrained: a checkpoint file, a tag of open_clip (downloaded on first use), or None for random weights, always the
            same. Folders and hub repositories have their own weights.

    Files from OpenAI need another activation (quick GELU). This function detects OpenAI's archives, such as ViT-B-16.pt. For
    OpenAI's weights in another format, choose a name that ends in "-quickgelu".

    Raises BackboneError: when the model, tag or file is unknown, there is no plain ViT, or weights cannot be downloaded or do
        not fit.
    """
    model, config = open_clip_model(name, pretrained)
    tokenizer = _tokenizer(name, config["text_cfg"])
    return OpenClipBackbone(name, model, tokenizer, adapt_blocks, pretrained, adapt)


def open_clip_model(name: str, pretrained: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """open_clip's own model and its configuration. Raises as ``load_open_clip``."""
    own_weights = name.startswith(OWN_WEIGHTS)
    if own_weights and pretrained:
        raise BackboneError(f"{name} brings its own weights: leave out {pretrained}.")
    is_file = pretrained is not None and Path(pretrained).is_file()
    tag = {} if pretrained is None or is_file else open_clip.get_pretrained_cfg(name, pretrained)
    try:
        config = _config(name)
        _check_runs_no_code(name, config)
        archived = _archived(pretrained) if is_file else None
        # If a tag was trained with another activation, open_clip only warns, and computes wrong embeddings.
        quick = archived is not None or bool(tag.get("quick_gelu"))
        with torch.device("meta"):  # refuses another tower before gigabytes are downloaded
            PlainViT.of(_build_vision_tower(config["embed_dim"], config["vision_cfg"]))
        steps = Steps(say)
        fetched = fetch_weights(
            name, pretrained, lambda done, size: steps(f"{name} {pretrained}", done // MB, size // MB, "MB")
        )
        weights = pretrained if fetched is None else str(fetched)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = open_clip.create_model(
                name,
                pretrained=None if archived else weights,
                force_quick_gelu=quick,
                pretrained_image=False,
                pretrained_text=False,
                force_preprocess_cfg=_settings(tag) if tag else {} if own_weights else _usual_preprocessing(name),
                require_pretrained=bool(own_weights or (pretrained and not archived)),
            )
        if archived:
            model.load_state_dict(archived)
    except BackboneError:
        raise
    except Exception as error:  # open_clip, the hub, the unpickler and load_state_dict raise a dozen types
        raise _failure(name, pretrained, is_file, tag, error) from error
    return model, config | ({"quick_gelu": True} if quick else {})


def fetch_weights(name: str, pretrained: str | None, show: hub.Show) -> Path | None:
    """The file with the weights of a tag, downloaded unless it is on this machine. None: open_clip finds them by itself.

    Raises BackboneError: when there is no such model, tag, file or folder, or weights cannot be downloaded. Also as ``show``.
    """
    if name.startswith(FOLDER) and not Path(name.removeprefix(FOLDER)).is_dir():
        raise BackboneError(f"{name} does not load (no such folder): it must hold open_clip_config.json and weights.")
    if name.startswith(OWN_WEIGHTS) or pretrained is None or Path(pretrained).is_file():
        return None
    _config(name)
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise BackboneError(f"{pretrained} is neither a checkpoint file nor a tag of {name} (its tags: {tags}).")
    repository, _, file = tag.get("hf_hub", "").rpartition("/")
    try:
        if file and repository:
            hub.reach(repository)
        return hub.fetch(repository, show) if repository and not file else None
    except StudioError:
        raise
    except Exception as error:  # the hub's client and the disk raise a dozen types
        raise _failure(name, pretrained, False, tag, error) from error


def _config(name: str) -> dict[str, Any]:
    if name.startswith(HUB):
        hub.reach(name.removeprefix(HUB).strip("/"))
    config = open_clip.get_model_config(name)
    if config is None:
        close = difflib.get_close_matches(name, open_clip.list_models(), n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise BackboneError(f"open_clip knows no model {name}.{hint}")
    return config


def _tokenizer(name: str, text: Mapping[str, Any]) -> Callable[[list[str]], Tensor]:
    source = text.get("hf_tokenizer_name")
    try:
        if source and not name.startswith(OWN_WEIGHTS):
            hub.reach(source)
        # Without this option, transformers asks on the terminal.
        safe: dict[str, Any] = {"trust_remote_code": False} if source else {}
        return open_clip.get_tokenizer(name, **safe)
    except Exception as error:  # as above
        hint = "copy its repository, and say --backbone local-dir:FOLDER"
        raise BackboneError(f"The tokenizer of {name} does not load ({_why(error)}): {hint}.") from error


def _usual_preprocessing(name: str) -> dict[str, Any]:
    """The preprocessing that all published weights of a model share; {} if they differ.

    SigLIP needs squashed photos, MobileCLIP needs values that are not normalised. A checkpoint file does not contain this, and
    open_clip would use OpenAI's preprocessing.
    """
    tags = [open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)]
    settings = [_settings(tag) for tag in tags]
    return settings[0] if settings and all(other == settings[0] for other in settings) else {}


def _settings(tag: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode") if tag.get(key) is not None}


def _archived(pretrained: str | None) -> dict[str, Tensor] | None:
    """The weights in TorchScript, as in OpenAI's archives; None if a checkpoint is in another format. open_clip rejects
    TorchScript unless it may unpickle anything. ``torch.jit.load`` unpickles no Python objects."""
    try:
        state = torch.jit.load(pretrained, map_location="cpu").state_dict()
    except RuntimeError:
        return None
    return {key: value for key, value in state.items() if key not in ARCHIVED_SIZES}


def _check_runs_no_code(name: str, config: object) -> None:
    """Raise BackboneError unless the configuration is valid and asks only for what published models need. Hugging Face runs
    Python files that a tokenizer names."""
    shown = portable({"spec": name})["spec"]
    towers = [config.get(key) if isinstance(config, Mapping) else None for key in ("vision_cfg", "text_cfg")]
    if not all(isinstance(tower, Mapping) for tower in towers):
        raise BackboneError(f"{shown} has no configuration of open_clip: vision_cfg and text_cfg are needed.")
    text = towers[1] or {}
    if text.get("hf_model_name"):
        raise BackboneError(f"Only plain text towers of open_clip are supported, not {brief(text['hf_model_name'])}.")
    options = text.get("tokenizer_kwargs") or {}
    harmless = isinstance(options, Mapping) and all(
        key in TOKENIZER_OPTIONS and isinstance(value, str | bool) for key, value in options.items()
    )
    source = text.get("hf_tokenizer_name") or "none"
    if not (harmless and isinstance(source, str) and HUB_NAME.fullmatch(source)):
        allowed = ", ".join(TOKENIZER_OPTIONS)
        raise BackboneError(f"The tokenizer of {shown} may run code: use a published one, with {allowed} alone.")


def _failure(name: str, pretrained: str | None, is_file: bool, tag: Mapping[str, Any], error: Exception) -> BackboneError:
    why = _why(error)
    if is_file:
        return BackboneError(f"{pretrained} does not load into {name} ({why}): it is damaged or of another model.")
    if name.startswith(FOLDER):
        return BackboneError(f"{name} does not load ({why}): it must hold open_clip_config.json and weights.")
    source = f"huggingface.co/{tag['hf_hub'].strip('/')}" if tag.get("hf_hub") else tag.get("url") or name
    # A downloaded file does not contain the activation that it was trained with.
    quick = QUICK if tag.get("quick_gelu") and not name.endswith(QUICK) else ""
    item, option = (f"{name} {pretrained}", f"{name}{quick} --pretrained FILE") if pretrained else (name, "local-dir:FOLDER")
    failed = "{item} does not load from {source} ({error}). Without the hub, copy it here, and say --backbone {option}."
    return BackboneError(failed, item=item, source=source, error=why, option=option)


def _why(error: Exception) -> str:
    reason = textwrap.shorten((str(error).strip().splitlines() or [""])[0], 200, placeholder=" …")
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__
