"""Sentence embeddings for routing: the mean of a description's subject over templates (arXiv 2103.00020, section 3.1.4).

Sentences and experts are embedded in the same way. "my kids" and "photos of my kids" have one subject, so one embedding.
"""

import re
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from core.backbones.base import Towers

# For all languages: around a German or Japanese subject, they work as well as German templates, and better than none.
TEMPLATES = ("{}", "a photo of {}", "photos of {}", "my {}")

_PHOTO_OF = re.compile(
    r"^(?:(?:a|an|the|my|our|some|many|these are|this is|here are)\s+)*(?:close-up\s+)?"
    r"(?:photo(?:graph)?s?|pictures?|pics?|images?|snapshots?|snaps|shots?)\s+(?:of|with|showing|from|that show)\s+",
    re.IGNORECASE,
)
_OF_PHOTOS = re.compile(r"(?<=\w)\s+(?:photo(?:graph)?s?|pictures?|pics?|images?|snapshots?|snaps)$", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:a|an|the|my|our|your|some)\s+", re.IGNORECASE)
# "Photos of" in other languages, before or after the subject. Removing it brings a German, French, Spanish, Italian, Chinese,
# Japanese or Russian sentence closer to its English translation, and more often to the same expert.
_ELSEWHERE = re.compile(
    r"""
    ^(?:(?:les|des|une?|mes|nos|meine|unsere|eine?|einige|las|los|unas|mis|nuestras|le|delle|alcune|mie|nostre
        |as|umas|minhas|nossas|de|een|mijn|onze)\s+)*
    (?:fotos?|foto['’]s|photos?|photographies|bild(?:er)?|images?|imágenes|imagens|immagini|afbeeldingen
        |fotograf[ií]as|fotografie)\s+
    (?:(?:von|vom|de|du|des|del|di|della|dei|delle|da|do|das|dos|van)\s+|d['’])
    |^(?:фото(?:графи[ия]|снимки)?|zdjęci[ae]|صورة?|รูปถ่าย|ภาพถ่าย)(?:\s+|(?<=ย))
    |(?:的(?:照片|图片|相片|圖片)|の(?:写真|画像)|\s+사진(?:들)?|\s+fotoğraf(?:lar)?ı?)$
    """,
    re.IGNORECASE | re.VERBOSE,
)


def subject(text: str) -> str:
    """Remove "photos of", "… photos" and articles: "photos of my kids" and "kids pictures" become "kids"."""
    bare = " ".join(text.split()).strip(" .,!?;:。！？")
    bare = _PHOTO_OF.sub("", bare) or bare
    bare = _ELSEWHERE.sub("", bare) or bare
    bare = _ARTICLE.sub("", bare) or bare
    return _OF_PHOTOS.sub("", bare) or bare


def embed_descriptions(encoder: Towers, descriptions: Sequence[str]) -> Tensor:
    """Unit-length embeddings [n, s], each the mean over TEMPLATES."""
    texts = [template.format(subject(d)) for d in descriptions for template in TEMPLATES]
    flat = encoder.encode_sentence(texts)
    return F.normalize(flat.view(len(descriptions), len(TEMPLATES), -1).mean(1), dim=-1)


def embed_expert(encoder: Towers, wordings: Sequence[str]) -> Tensor:
    """An expert's key [s]: the mean over its wordings, each in all templates."""
    return F.normalize(embed_descriptions(encoder, wordings).mean(0), dim=0)
