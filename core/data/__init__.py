"""Data folders: photos with captions or labels. Photos are read by path, never copied. One module per format."""

from core.data.folder import check_folder, data_folders, read_folder
from core.data.sample import Sample

__all__ = ["Sample", "check_folder", "data_folders", "read_folder"]
