"""The commands that share expert repositories: card, pull, push."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict

from core.cli.commands import Answer, chosen_backbone
from core.common.paths import experts_path
from core.experts import hub
from core.experts.card import write_card


def card(arguments: Namespace) -> Answer:
    path = write_card(arguments.folder or experts_path(), arguments.license)
    return Answer({"out": str(path)}, lambda data: f"Wrote {path}.")


def pull(arguments: Namespace) -> Answer:
    return _transferred(hub.pull(arguments.source, arguments.out, chosen_backbone(arguments), arguments.revision))


def push(arguments: Namespace) -> Answer:
    model = chosen_backbone(arguments)
    return _transferred(hub.push(arguments.folder, arguments.target, model, arguments.generator, arguments.private))


def _transferred(transfer: hub.Transfer) -> Answer:
    left = f"\nLeft where they were: {', '.join(transfer.left)}" if transfer.left else ""
    text = (
        f"Checked {transfer.experts} experts of the backbone {transfer.fingerprint}. They are in {transfer.place}: "
        f"{', '.join(transfer.files)}{left}"
    )
    return Answer(asdict(transfer), lambda data: text)
