"""Any open_clip model with a plain ViT image tower as a backbone, its fused q/k/v projection split for LoRA.

peft on torch's fused ``nn.MultiheadAttention`` is wrong and not thread-safe (docs/design.md, section 3), and one shared A is
not the paper's parameterisation. So the adapted blocks get separate q/k/v linears; all else is open_clip's own modules.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tempfile
import textwrap
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import get_session
from open_clip.transform import PreprocessCfg
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from core.backbones.attention import PROJECTIONS, SplitAttention
from core.backbones.base import AdaptedModule
from core.backbones.clip_text import text_tower
from core.backbones.lora import Lora, LoraLayout, LoraModule
from core.backbones.preprocess import pixel_values
from core.backbones.spec import FOLDER, with_full_paths
from core.common.device import CPU, autocast, batch_size, sent
from core.common.errors import BackboneError
from core.common.images import Framing

LORA_RANK = 2
IMAGE_BATCH = 32  # a ViT-B/16 block of 32 photos needs about 80 MB for its widest activation
HUB = "hf-hub:"
HUB_PATIENCE = 10.0  # seconds
OWN_WEIGHTS = (FOLDER, HUB)
QUICK = "-quickgelu"
ARCHIVED_SIZES = ("input_resolution", "context_length", "vocab_size")  # beside the weights of OpenAI's archives
HELP = "The backbone `embedded` needs no model hub."


def plain_vit(visual: nn.Module) -> tuple[VisionTransformer, list[ResidualAttentionBlock]]:
    """The image tower and its blocks.

    Raises:
        BackboneError: it is no ViT as in CLIP, with torch's attention, a class token and one pooled vector.
    """
    if not isinstance(visual, VisionTransformer):
        raise BackboneError(f"Only plain ViT image towers are supported, not {type(visual).__name__}.")
    if visual.attn_pool is not None or visual.pool_type not in ("tok", "avg"):
        kind = "attention" if visual.attn_pool is not None else visual.pool_type
        raise BackboneError(f"Only plain ViT image towers are supported, not ones with {kind} pooling.")
    blocks = [block for block in visual.transformer.resblocks if isinstance(block, ResidualAttentionBlock)]
    if len(blocks) != len(visual.transformer.resblocks):
        raise BackboneError("Only plain ViT image towers are supported, not ones with custom attention blocks.")
    return visual, blocks


class Stem(nn.Module):
    """The frozen prefix: patch embedding and the first ``cut`` blocks, untouched."""

    def __init__(self, visual: VisionTransformer, cut: int) -> None:
        super().__init__()
        self.conv1 = visual.conv1
        self.class_embedding = visual.class_embedding
        self.positional_embedding = visual.positional_embedding
        self.ln_pre = visual.ln_pre
        self.blocks = visual.transformer.resblocks[:cut]

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels [n, 3, h, w] to activations [n, 1 + patches, width]."""
        x = self.conv1(pixels).flatten(2).transpose(1, 2)  # [n, patches, width]
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        x = self.ln_pre(x)
        for block in self.blocks:
            x = block(x)
        return x


class AdaptedBlock(nn.Module):
    """An open_clip residual block whose attention is split; its norms, layer scales and MLP are the original's."""

    def __init__(self, block: ResidualAttentionBlock, name: str) -> None:
        super().__init__()
        self.attn_name = f"{name}.attn"
        self.attn = SplitAttention.from_fused(block.attn)
        self.ln_1, self.ls_1 = block.ln_1, block.ls_1
        self.ln_2, self.ls_2, self.mlp = block.ln_2, block.ls_2, block.mlp

    def forward(self, x: Tensor, lora: Lora | None = None) -> Tensor:
        x = x + self.ls_1(self.attn(self.ln_1(x), lora, self.attn_name))
        return x + self.ls_2(self.mlp(self.ln_2(x)))


class AdaptedTower(AdaptedModule):
    """The adapted suffix: the last blocks of a ViT, its final norm, pooling and projection.

    Blocks keep their number in the whole tower, so that an adapter of the last two cannot pass for one of the first two.

    Args:
        visual: open_clip's image tower; its modules are shared, only the attention's weights are copied.
        adapt_blocks: how many blocks at the end are adapted (None: all).

    Raises:
        BackboneError: another architecture than a plain ViT, or more blocks than there are.
    """

    def __init__(self, visual: nn.Module, adapt_blocks: int | None = None) -> None:
        super().__init__()
        tower, blocks = plain_vit(visual)
        adapt_blocks = len(blocks) if adapt_blocks is None else adapt_blocks
        if not 1 <= adapt_blocks <= len(blocks):
            raise BackboneError(f"adapt_blocks is {adapt_blocks}: this image tower has 1 to {len(blocks)} blocks to adapt.")
        self.cut = len(blocks) - adapt_blocks
        self.width = tower.transformer.width
        self.patches = len(tower.positional_embedding) - 1
        self.pool_type, self.norm_last = tower.pool_type, tower.final_ln_after_pool
        self.blocks = nn.ModuleDict({str(i): AdaptedBlock(blocks[i], f"blocks.{i}") for i in range(self.cut, len(blocks))})
        self.ln_post, self.proj = tower.ln_post, tower.proj

    @property
    def dim(self) -> int:
        return self.width if self.proj is None else self.proj.shape[1]

    def forward(self, prefix: Tensor, lora: Lora | None = None, keep: Tensor | None = None) -> Tensor:
        """Activations [n, 1 + patches, width] to unit-length embeddings [n, dim], with the LoRA applied.

        ``keep`` holds the indexes of the patches to look at (training only); the class token always stays.
        """
        x = prefix if keep is None else torch.cat([prefix[:, :1], prefix[:, 1 + keep]], 1)
        for block in self.blocks.values():
            x = block(x, lora)
        pooled = self._pool(x) if self.norm_last else self._pool(self.ln_post(x))
        pooled = self.ln_post(pooled) if self.norm_last else pooled
        return F.normalize((pooled if self.proj is None else pooled @ self.proj).float(), dim=-1)

    def _pool(self, x: Tensor) -> Tensor:
        return x[:, 0] if self.pool_type == "tok" else x[:, 1:].mean(1)

    def layout(self, rank: int = LORA_RANK) -> LoraLayout:
        """q, k and v of every adapted block (110,592 parameters for all of ViT-B/16 at rank 2)."""
        names = [f"blocks.{i}.attn.{p}" for i in self.blocks for p in PROJECTIONS]
        return LoraLayout(tuple(LoraModule(name, self.width, self.width) for name in names), rank)


class OpenClipBackbone:
    """Implements ``core.backbones.base.Backbone`` over an open_clip model; descriptions are routed in its text space.

    Args:
        name: how users choose it.
        model: an open_clip CLIP with a plain ViT image tower. It is taken over: its image tower becomes this
            backbone's prefix and suffix and is removed from it, so that the weights are not held twice.
        tokenizer: texts to token ids [n, context].
        adapt_blocks: how many blocks at the end of the image tower are adapted (None: all).
        rank: of generated LoRAs.
        pretrained: where the weights come from, a tag or a file (None: the name says it all).

    Raises:
        BackboneError: another architecture than a plain ViT, adapt_blocks out of range, weights that are not finite.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        tokenizer: Callable[[list[str]], Tensor],
        adapt_blocks: int | None = None,
        rank: int = LORA_RANK,
        pretrained: str | None = None,
    ) -> None:
        self.name = name
        self.slug = _slug(name, pretrained, adapt_blocks)
        self.choice = with_full_paths({"spec": name, "pretrained": pretrained, "adapt_blocks": adapt_blocks})
        model = model.float().eval().requires_grad_(False)
        visual, _ = plain_vit(model.get_submodule("visual"))
        preprocess = open_clip.get_model_preprocess_cfg(model)
        self.adapted = AdaptedTower(visual, adapt_blocks).eval().requires_grad_(False)
        self.fingerprint = self.prefix_key = self.sentence_key = _fingerprint(model, self.adapted, preprocess)
        self._stem = Stem(visual, self.adapted.cut).eval()
        del model.visual
        self._text, self._tokenizer, self._tokenizer_lock = text_tower(model), tokenizer, threading.Lock()
        seen = PreprocessCfg(**preprocess)
        self.framing = _framing(seen)
        self._mean, self._std = (torch.tensor(values).view(-1, 1, 1) for values in (seen.mean, seen.std))
        self.layout = self.adapted.layout(rank)
        self.mirror = None
        self.dim = self.sentence_dim = self.adapted.dim
        self.prefix_shape = tuple(self._stem.positional_embedding.shape)
        self.device = CPU

    def to(self, device: torch.device) -> OpenClipBackbone:
        for part in (self.adapted, self._stem, self._text):
            part.to(device)
        self.device = device
        return self

    def encode_sentence(self, texts: Sequence[str]) -> Tensor:
        return self.encode_text(texts)

    def text_from_sentences(self, sentences: Tensor) -> Tensor:
        return sentences

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        if not texts:
            return torch.empty(0, self.dim)
        with self._tokenizer_lock:  # fast tokenizers of Hugging Face fail when two threads set their padding at once
            tokens = self._tokenizer(list(texts))
        return self._text(tokens).cpu()

    def normalised(self, frames: Tensor) -> Tensor:
        return frames.permute(0, 3, 1, 2).float().div_(255).sub_(self._mean).div_(self._std)

    def pixels(self, image: Image.Image) -> Tensor:
        return self.normalised(pixel_values(self.framing(image))[None])[0]

    @torch.no_grad()
    def activations(self, pixels: Tensor) -> Tensor:
        """What ``prefix`` caches, before it is rounded to float16: [n, *prefix_shape] float32."""
        return self._stemmed(pixels, torch.float32)

    @torch.no_grad()
    def prefix(self, pixels: Tensor) -> Tensor:
        return self._stemmed(pixels, torch.float16)

    def _stemmed(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        if not len(pixels):
            return torch.empty(0, *self.prefix_shape, dtype=dtype)
        with self._fast():
            return torch.cat([self._stem(sent(part, self.device)).to(dtype).cpu() for part in self._batches(pixels)])

    @torch.no_grad()
    def suffix(self, prefix: Tensor, lora: Lora | None = None) -> Tensor:
        if not len(prefix):
            return torch.empty(0, self.dim)
        there = None if lora is None else lora.to(self.device)
        with self._fast():
            parts = [self.adapted(sent(part, self.device).float(), there).cpu() for part in self._batches(prefix)]
        return torch.cat(parts)

    def _batches(self, photos: Tensor) -> tuple[Tensor, ...]:
        return photos.split(batch_size(self.device, IMAGE_BATCH))

    def _fast(self) -> AbstractContextManager[object]:
        """Half precision on a GPU; on the CPU float32, in which CLIP's embeddings are what its paper has."""
        return autocast(self.device, torch.float32 if self.device.type == "cpu" else None)


def _framing(preprocess: PreprocessCfg) -> Framing:
    """What open_clip's transform shows the model of a photo."""
    _, height, width = preprocess.input_size
    if preprocess.resize_mode not in ("shortest", "squash"):
        raise BackboneError(f"Models that pad photos (resize_mode {preprocess.resize_mode}) are not supported.")
    return Framing(width, height, preprocess.resize_mode == "squash", Image.Resampling[preprocess.interpolation.upper()])


def _slug(name: str, pretrained: str | None, adapt_blocks: int | None) -> str:
    """A folder name that is safe everywhere and tells models, weights and adapted blocks apart."""
    parts = [f"local-dir-{Path(name).name}" if name.startswith(FOLDER) else name]
    parts += [Path(pretrained).stem] if pretrained else []
    parts += [f"last-{adapt_blocks}"] if adapt_blocks else []
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts)).strip(".-")[:100]


def _fingerprint(model: nn.Module, tower: AdaptedTower, preprocess: Mapping[str, Any]) -> str:
    """16 hex digits over the weights and over what changes embeddings or cached prefixes without showing in them."""
    block: Any = next(iter(tower.blocks.values()))
    facts = {
        "cut": tower.cut,
        "heads": block.attn.heads,
        "pool": [tower.pool_type, tower.norm_last],
        "activation": type(block.mlp.gelu).__name__,
        "eps": block.ln_1.eps,
        "preprocess": dict(preprocess),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for key, value in sorted(model.state_dict().items()):
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise BackboneError(f"The weights of {key} hold NaN or infinite numbers.")
        digest.update(f"{key} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def load_open_clip(
    name: str,
    pretrained: str | None = None,
    adapt_blocks: int | None = None,
    rank: int = LORA_RANK,
    seed: int = 0,
) -> OpenClipBackbone:
    """Build an open_clip model as a backbone.

    Args:
        name: a model of open_clip ("ViT-B-16"), "local-dir:folder" or "hf-hub:owner/repository".
        pretrained: a checkpoint file, a tag of open_clip (fetched on first use), or None for random weights drawn with
            ``seed`` (of use in tests only). Folders and hub repositories bring their own. The archives that OpenAI gave
            out, such as ViT-B-16.pt, are known to need another activation; no other file says so of itself, and OpenAI's
            weights in another format belong to the names that end in "-quickgelu".

    Raises:
        BackboneError: an unknown model, tag or file, a tower that is not a plain ViT, weights that cannot be fetched
            or do not fit; the text says what to do.
    """
    config = _config(name)
    _check_config(name, config["vision_cfg"])
    own_weights = name.startswith(OWN_WEIGHTS)
    if own_weights and pretrained:
        raise BackboneError(f"{name} brings its own weights: leave out {pretrained}.")
    is_file = pretrained is not None and Path(pretrained).is_file()
    archive = pretrained is not None and is_file and _is_archive(Path(pretrained))
    tag = {} if pretrained is None or is_file else open_clip.get_pretrained_cfg(name, pretrained)
    if pretrained is not None and not is_file and not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name))
        raise BackboneError(
            f"{pretrained} is neither a checkpoint file nor a tag of {name} (its tags: {tags or 'none'}). {HELP}"
        )
    try:
        if not is_file and tag.get("hf_hub"):
            _reach_hub(tag["hf_hub"])
        with torch.random.fork_rng(devices=[]), _readable(pretrained, archive) as weights:
            torch.manual_seed(seed)
            model = open_clip.create_model(
                name,
                pretrained=weights,
                # open_clip only warns when a tag was trained with another activation, and is then quietly wrong.
                force_quick_gelu=archive or bool(tag.get("quick_gelu")),
                pretrained_image=False,
                pretrained_text=False,
                require_pretrained=bool(own_weights or pretrained),
            )
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # open_clip, the hub, the unpickler and load_state_dict raise a dozen types between them
        raise BackboneError(_failure(name, pretrained, is_file, tag, error)) from error
    return OpenClipBackbone(name, model, tokenizer, adapt_blocks, rank, pretrained)


def _config(name: str) -> dict[str, Any]:
    """The model's configuration, without weights."""
    try:
        if name.startswith(HUB):
            _reach_hub(name.removeprefix(HUB))
        config = open_clip.get_model_config(name)
    except Exception as error:  # as above
        raise BackboneError(_failure(name, None, False, {}, error)) from error
    if config is None:
        close = difflib.get_close_matches(name, open_clip.list_models(), n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise BackboneError(f"open_clip knows no model {name}.{hint} {HELP}")
    return config


def _is_archive(path: Path) -> bool:
    """Whether a checkpoint is TorchScript, as OpenAI gave its models out."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


@contextmanager
def _readable(pretrained: str | None, archive: bool) -> Iterator[str | None]:
    """What open_clip can load: ``torch.load``, which it uses, refuses TorchScript unless it may unpickle anything.
    ``torch.jit.load`` unpickles no Python objects at all."""
    if not archive:
        yield pretrained
        return
    with tempfile.TemporaryDirectory(prefix="sg-lora-") as folder:
        file = Path(folder) / "weights.safetensors"
        state = torch.jit.load(pretrained, map_location="cpu").state_dict()
        save_file({key: value.contiguous() for key, value in state.items() if key not in ARCHIVED_SIZES}, file)
        yield str(file)


def _reach_hub(repository: str) -> None:
    """Raise unless the hub answers or its cache has the repository; its own client would try for a minute and a half."""
    cached = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repository.strip("/"), repo_type="model"), "snapshots")
    if not constants.HF_HUB_OFFLINE and not cached.is_dir():
        get_session().head(constants.ENDPOINT, timeout=HUB_PATIENCE)


def _check_config(name: str, vision: Mapping[str, Any]) -> None:
    """Refuse towers that cannot be adapted before gigabytes are fetched for them."""
    kind = None
    if vision.get("timm_model_name"):
        kind = f"timm's {vision['timm_model_name']}"
    elif isinstance(vision.get("layers"), list | tuple):
        kind = "a ResNet"
    elif vision.get("attentional_pool"):
        kind = "a ViT with attention pooling"
    if kind:
        raise BackboneError(f"{name} has {kind} as its image tower: only plain ViT towers are supported, as in ViT-B-16.")


def _failure(name: str, pretrained: str | None, is_file: bool, tag: Mapping[str, Any], error: Exception) -> str:
    """What was tried, why it failed, and what to do, in one paragraph."""
    reason = textwrap.shorten((str(error).strip().splitlines() or [""])[0], 200, placeholder=" …")
    why = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    if is_file:
        return f"The checkpoint {pretrained} does not load into {name} ({why}): it is damaged or of another model."
    if name.startswith(FOLDER):
        return f"{name} does not load ({why}): the folder must hold open_clip_config.json and the weights. {HELP}"
    source = f"huggingface.co/{tag['hf_hub'].strip('/')}" if tag.get("hf_hub") else tag.get("url") or name
    what = f"the weights {pretrained} of {name}" if pretrained else f"the model {name}"
    # A file does not say which activation it was trained with.
    quick = tag.get("quick_gelu") and not name.endswith(QUICK)
    instead = f"--backbone {name}{QUICK} --pretrained FILE" if quick else f"--backbone {name} --pretrained FILE"
    if name.startswith(OWN_WEIGHTS):
        instead = "--backbone local-dir:FOLDER, which holds its open_clip_config.json and weights"
    return (
        f"open_clip could not load {what} from {source} ({why}). Without access to the hub, download the checkpoint elsewhere, "
        f"put it anywhere on this machine, and say {instead}. {HELP}"
    )
