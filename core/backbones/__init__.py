"""Image-text models behind one interface (``base.Backbone``), chosen by name. No module of this package imports this file."""

from core.backbones.load import load_backbone
from core.backbones.spec import EMBEDDED

__all__ = ["EMBEDDED", "load_backbone"]
