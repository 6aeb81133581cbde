"""The class names of ImageNet, compared with timm's own list."""

from timm.data.imagenet_info import ImageNetInfo

from core.names.ordinary_texts import imagenet_class_names


def test_names_are_those_that_timm_reads() -> None:
    info = ImageNetInfo("imagenet-1k")
    assert imagenet_class_names() == tuple(info.index_to_description(i).split(",")[0].strip() for i in range(1000))
