"""Transfer expert repositories from and to the Hugging Face hub or a folder: only their own files, and only complete ones."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, errors

from core.backbones.base import Backbone
from core.backbones.spec import HUB, portable
from core.common.errors import RepositoryError
from core.common.paths import GENERATOR_FILE, asset_path, experts_path
from core.experts.card import CARD_FILE, write_card
from core.experts.files import INDEX_FILE, TENSORS_FILE, load_repository, name_backbone
from core.sglora.generator import LoraGenerator
from core.sglora.repository import ExpertRepository

REQUIRED = (INDEX_FILE, TENSORS_FILE)
FILES = (*REQUIRED, CARD_FILE, GENERATOR_FILE)
HTTPError = errors.HTTPError  # pyright: ignore[reportPrivateImportUsage]  (of the HTTP client that huggingface_hub uses)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Transfer:
    place: str  # folder or address of the transferred repository
    files: tuple[str, ...]
    left: tuple[str, ...]  # other files of the source, not transferred
    experts: int  # number of experts
    fingerprint: str  # of the backbone


def pull(source: str, out: Path, backbone: Backbone, revision: str | None = None) -> Transfer:
    """Copy a repository to the folder ``out``. Changes nothing there unless all files are complete and fit the backbone.

    Args:
        source: a folder, or a hub repository: OWNER/NAME or ``hf-hub:OWNER/NAME``.
        out: a new folder, or one that holds an expert repository.
        revision: branch, tag or commit on the hub.

    Raises RepositoryError: when the hub is unreachable or refuses, files are missing, damaged or of another backbone, or
    ``out`` holds other files.
    """
    _check_free(out)
    with tempfile.TemporaryDirectory(prefix="sg-lora-pull-") as staged:
        stage, hub_id = Path(staged), _hub_id(source)
        present = _copy(Path(source), stage) if hub_id is None else _download(hub_id, revision, stage)
        repository = _check(stage, source, backbone)
        name_backbone(stage, backbone.choice)  # paths of this machine
        _place(stage, out)
    return _transfer(str(out), present, repository)


def push(folder: Path, target: str, backbone: Backbone, generator: Path | None = None, private: bool = False) -> Transfer:
    """Send the repository in ``folder`` to a hub repository or a folder. Writes a card if there is none.

    Args:
        target: as the source of ``pull``. A missing hub repository is created.
        generator: a file to send too. None: the generator in ``folder``; for the shipped experts, else the shipped one.
        private: whether to create a new hub repository as private.

    Raises as ``pull``.
    """
    hub_id = _hub_id(target)
    if generator is None and folder.resolve() == experts_path(backbone.name).resolve():
        generator = next((f for f in (folder / GENERATOR_FILE, asset_path(GENERATOR_FILE, backbone.name)) if f.is_file()), None)
    with tempfile.TemporaryDirectory(prefix="sg-lora-push-") as staged:
        stage = Path(staged)
        present = _copy(folder, stage)
        if generator is not None:
            if not generator.is_file():
                raise RepositoryError(f"The generator {generator} is not there.")
            shutil.copyfile(generator, stage / GENERATOR_FILE)
        repository = _check(stage, str(folder), backbone)
        name_backbone(stage, portable(repository.backbone))
        if CARD_FILE not in present:
            write_card(stage)
        sent = {name for name in FILES if (stage / name).is_file()}
        if hub_id is None:
            _check_free(Path(target))
            _place(stage, Path(target))
            place = target
        else:
            place = _upload(hub_id, private, stage)
    return _transfer(place, sent | (present - set(FILES)), repository)


def _hub_id(place: str) -> str | None:
    """OWNER/NAME of a hub repository, or None if ``place`` is a folder."""
    if place.startswith(HUB):
        return place.removeprefix(HUB)
    if not _HUB_ID.fullmatch(place) or place.startswith(".") or Path(place).exists():
        return None
    owner = Path(place).parent
    if owner.is_dir():
        raise RepositoryError(
            f"{place} may be a folder in {owner} or a repository on the hub: write ./{place} or {HUB}{place}."
        )
    return place


def _copy(folder: Path, stage: Path) -> set[str]:
    """Copy the files of a repository. Returns the names of all files in the folder."""
    if not folder.is_dir():
        raise RepositoryError(f"The folder {folder} does not exist; a repository on the hub is called OWNER/NAME.")
    names = {f.name for f in folder.iterdir() if f.is_file()}
    _check_names(names, str(folder))
    for name in names & set(FILES):
        shutil.copyfile(folder / name, stage / name)
    return names


def _place(stage: Path, out: Path) -> None:
    """Copy the repository in ``stage`` to ``out``, and delete files of an earlier one."""
    out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (stage / name).is_file():
            shutil.copyfile(stage / name, out / name)
        else:
            (out / name).unlink(missing_ok=True)


def _download(hub_id: str, revision: str | None, stage: Path) -> set[str]:
    """Download the files of a repository. Returns the names of all files in it."""
    with _hub(hub_id) as api:
        # Fix the commit first: a push meanwhile must not mix the files of two commits.
        info = api.model_info(hub_id, revision=revision)
        names = {file.rfilename for file in info.siblings or ()}
        _check_names(names, hub_id)
        api.snapshot_download(hub_id, revision=info.sha, local_dir=stage, allow_patterns=list(FILES))
    return names


def _upload(hub_id: str, private: bool, stage: Path) -> str:
    """Upload all files in ``stage`` as one commit. Returns the repository's address."""
    with _hub(hub_id) as api:
        address = str(api.create_repo(hub_id, private=private, exist_ok=True))
        names = set(api.list_repo_files(hub_id))
        if INDEX_FILE not in names and names - {".gitattributes", CARD_FILE}:
            raise RepositoryError(f"{hub_id} holds something else ({min(names - {CARD_FILE})}): choose another name.")
        api.upload_folder(repo_id=hub_id, folder_path=stage, commit_message="SG-LoRA experts")
    return address


def _check_names(names: set[str], label: str) -> None:
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise RepositoryError(f"{label} is no expert repository: it lacks {' and '.join(missing)}.")


def _check_free(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / INDEX_FILE).is_file():
        raise RepositoryError(f"{folder} holds files that are no expert repository: choose a new folder.")


def _check(stage: Path, label: str, backbone: Backbone) -> ExpertRepository:
    """The repository in ``stage``. Raises RepositoryError: unless all its files are complete and of this backbone."""
    try:
        repository = load_repository(stage, backbone.layout, backbone.fingerprint, backbone.shared)
        if (stage / GENERATOR_FILE).is_file():
            LoraGenerator.load(stage / GENERATOR_FILE, backbone.fingerprint)
    except RepositoryError as error:
        raise RepositoryError(str(error).replace(str(stage), label)) from None
    return repository


def _transfer(place: str, names: set[str], repository: ExpertRepository) -> Transfer:
    files = tuple(name for name in FILES if name in names)
    return Transfer(place, files, tuple(sorted(names - set(FILES))), len(repository.experts), repository.fingerprint)


@contextmanager
def _hub(hub_id: str) -> Iterator[HfApi]:
    """A block with the hub's client, whose errors become RepositoryErrors."""
    api = HfApi()
    try:
        yield api
    except (errors.HFValidationError, errors.XetDownloadError, HTTPError, OSError) as error:
        raise RepositoryError(_reason(error, api.endpoint, hub_id)) from None


def _reason(error: Exception, endpoint: str, hub_id: str) -> str:
    login = "log in with `hf auth login`, or set HF_TOKEN"
    match error:
        case errors.HFValidationError():
            return f"{hub_id} is no name of a repository on the hub: it is OWNER/NAME."
        case errors.GatedRepoError():
            return f"{hub_id} asks for its terms to be accepted on {endpoint} first; then {login}."
        case errors.RepositoryNotFoundError():
            return f"{endpoint} has no repository {hub_id}, or a private one: check the name, or {login}."
        case errors.RevisionNotFoundError():
            return f"{hub_id} has no such revision: check --revision."
        case errors.HfHubHTTPError(response=response) if response.status_code in (401, 403):
            return f"{endpoint} refuses access to {hub_id} (HTTP {response.status_code}): {login}."
        case errors.HfHubHTTPError():
            return f"{endpoint} failed on {hub_id} (HTTP {error.response.status_code}): try again later."
        case HTTPError() | errors.OfflineModeIsEnabled() | errors.LocalEntryNotFoundError():
            why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else type(error.__cause__ or error).__name__
            return f"{endpoint} cannot be reached ({why}). Check the network, or pull from a folder that was copied here."
    return f"{hub_id} did not arrive whole ({str(error).splitlines()[0]}): try again."
