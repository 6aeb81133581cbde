"""Weights from the Hugging Face hub. An interrupted download goes on where it ended; its own client would begin again."""

import re
import shutil
from collections.abc import Callable
from hashlib import file_digest
from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, get_session, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.file_download import repo_folder_name

from core.common.errors import BackboneError
from core.common.paths import default_cache

WEIGHTS = "open_clip_model.safetensors"
PATIENCE = 10.0  # seconds
SHA256 = 64  # hex digits

Show = Callable[[int, int], object]  # (bytes so far, of all); may raise, which ends the download


def weights_here(repository: str) -> Path | None:
    """The weights of a repository on this machine: downloaded here, or by the hub's own client; else None."""
    cached, file = try_to_load_from_cache(repository, WEIGHTS), _file(repository)
    return file if file.is_file() else Path(cached) if isinstance(cached, str) else None


def fetch(repository: str, show: Show) -> Path | None:
    """The weights of a repository, downloaded unless they are here. None: the hub has none in this format, or its cache has the
    repository with others.

    Raises BackboneError: when the disk has too little room, or the hub sent another file than it names. Also raises as the
    hub's client.
    """
    if (here := weights_here(repository)) is not None:
        return here
    if _in_cache(repository):
        return None
    reach(repository)
    try:
        about = get_hf_file_metadata(hf_hub_url(repository, WEIGHTS))
    except EntryNotFoundError:
        return None
    file, size, etag = _file(repository), about.size or 0, about.etag or ""
    file.parent.mkdir(parents=True, exist_ok=True)
    version = re.sub(r"\W", "_", etag[:16])  # the hub may name it anything
    part = file.with_name(f"{WEIGHTS}.{version}.partial")  # another version starts from zero
    with part.open("ab") as out:
        lacking = size - out.tell() - shutil.disk_usage(file.parent).free
        if lacking > 0:
            room = {"folder": file.parent, "mb": lacking / 1e6}
            raise BackboneError("{folder} lacks {mb:,.0f} MB: delete files, or set XDG_CACHE_HOME to another disk.", **room)
        if out.tell() < size:
            headers = {"Range": f"bytes={out.tell()}-", "Accept-Encoding": "identity"}
            options = {"headers": headers, "timeout": PATIENCE, "follow_redirects": True}
            with get_session().stream("GET", about.location, **options) as response:
                response.raise_for_status()
                if response.status_code != 206:  # the server does not continue files
                    out.truncate(0)
                for chunk in response.iter_bytes():  # as they come: ``show`` may end a slow download
                    if out.tell() + len(chunk) > size:  # more than it announced: the file is broken
                        break
                    out.write(chunk)
                    show(out.tell(), size)
        out.flush()
    with part.open("rb") as content:
        broken = part.stat().st_size != size or (len(etag) == SHA256 and file_digest(content, "sha256").hexdigest() != etag)
    if broken:
        part.unlink()
        raise BackboneError("{repository} arrived damaged: try again, or give --pretrained FILE.", repository=repository)
    part.replace(file)
    return file


def reach(repository: str) -> None:
    """Raise unless the hub answers or its cache has the repository. The hub's client would retry for 90 seconds."""
    if not constants.HF_HUB_OFFLINE and not _in_cache(repository):
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)


def _in_cache(repository: str) -> bool:
    return Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repository, repo_type="model"), "snapshots").is_dir()


def _file(repository: str) -> Path:
    return default_cache() / "weights" / repository.replace("/", "--") / WEIGHTS
