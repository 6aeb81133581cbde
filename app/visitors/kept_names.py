"""Taught names in the browser's storage: a file of names for each backbone. Untrusted, since anyone may change it."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.backbones.base import Backbone
from core.common.errors import RepositoryError
from core.common.messages import message
from core.names.file import DAMAGED_NAMES, load_names, save_names
from core.names.teach import TaughtNames

LETTERS = 1_500_000  # most of all files together; browsers keep about 5 million for a site


@dataclass(frozen=True)
class KeptNames:
    files: Mapping[str, str] = field(default_factory=dict)  # in base64, by the backbone's fingerprint

    @staticmethod
    def of(memory: Any) -> KeptNames:
        """Parse what the browser sent (None: nothing yet). Raises RepositoryError: when it is too large or has another form."""
        kept = KeptNames({} if memory is None else memory)
        readable = isinstance(kept.files, dict) and all(isinstance(x, str) for pair in kept.files.items() for x in pair)
        if not readable or kept.memory > LETTERS:
            raise RepositoryError(DAMAGED_NAMES, label=message("The file of names"))
        return kept

    @property
    def memory(self) -> int:
        return sum(len(key) + len(content) for key, content in self.files.items())

    def names(self, backbone: Backbone) -> TaughtNames:
        """The names for a backbone. Raises RepositoryError: when the file is damaged; AdapterError: as ``TaughtNames.on``."""
        if (file := self.files.get(backbone.fingerprint)) is None:
            return TaughtNames(backbone)
        try:
            content = b64decode(file, validate=True)
        except ValueError:
            content = b""  # which load_names rejects
        names = load_names(content, backbone)
        names.on(None)
        return names

    def with_names(self, names: TaughtNames) -> KeptNames:
        """A copy with these names for their backbone; with none for it if all files would be too large."""
        others = {key: file for key, file in self.files.items() if key != names.backbone.fingerprint}
        these = {names.backbone.fingerprint: b64encode(save_names(names)).decode()} if names.entries else {}
        more = KeptNames(others | these)
        return more if more.memory <= LETTERS else KeptNames(others)
