"""Data folders: photos with captions or labels, read by path and never copied; one file per format."""

from core.data.folder import data_folders, read_folder
from core.data.sample import Sample

__all__ = ["Sample", "data_folders", "read_folder"]
