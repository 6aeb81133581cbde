"""What each photo of the data folders does: it trains, chooses recipes, or measures."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from core.data import data_folders, read_folder
from core.training.backbone import coco_held_out
from core.training.corpus import COCO, TRANSLATIONS, parts


def splits(data: Path) -> dict[Path, str]:
    """ "train", "val" or "test" by photo, for the embedded backbone: `coco` trains its base alone."""
    folders = [folder for folder in data_folders(data) if folder != data / TRANSLATIONS]
    samples = [replace(s, dataset=s.dataset or f.name) for f in folders if f != data / COCO for s in read_folder(f)]
    coco = read_folder(data / COCO) if data / COCO in folders else []
    train, validation, _ = parts(samples)
    names = [*np.select([train, validation], ["train", "val"], "test"), *np.where(coco_held_out(coco), "test", "train")]
    return {sample.path: str(name) for sample, name in zip([*samples, *coco], names, strict=True)}
