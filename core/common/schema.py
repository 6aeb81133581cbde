"""Schema of the JSON files beside experts. They may come from anywhere: texts must be printable, figures finite."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field, GetPydanticSchema, Strict, ValidationError
from typing_extensions import TypedDict

from core.common.errors import brief


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds characters that cannot be shown")
    return text


Text = Annotated[str, Strict(), AfterValidator(_printable)]
Label = Annotated[Text, Field(max_length=200)]
Count = Annotated[int, Strict(), Field(ge=0, lt=2**63)]
Figure = Annotated[float, Strict(), Field(gt=-1e6, lt=1e6, allow_inf_nan=False)]
Percentage = Annotated[float, Strict(), Field(ge=0, le=100, allow_inf_nan=False)]
Share = Annotated[float, Strict(), Field(ge=0, le=1)]
Recalls = TypedDict(
    "Recalls", {"R@1": Percentage, "R@5": Percentage, "R@10": NotRequired[Percentage], "mAP": NotRequired[Percentage]}
)


class Measurement(TypedDict):
    """Recalls in both directions, and the number of photos."""

    i2t: Recalls
    t2i: Recalls
    images: Count


_Unmeasured = Annotated[dict[str, Any], Field(max_length=0)]
Measured = Annotated[
    Mapping[str, Any], GetPydanticSchema(lambda _, handler: handler.generate_schema(Measurement | _Unmeasured))
]


class _Backbone(TypedDict):
    spec: Text
    pretrained: NotRequired[Text | None]
    adapt_blocks: NotRequired[Annotated[int, Strict()] | None]
    adapt: NotRequired[Literal["texts", "photos"] | None]


BackboneChoice = Annotated[Mapping[str, Any], GetPydanticSchema(lambda _, handler: handler.generate_schema(_Backbone))]


def where_invalid(error: ValidationError) -> str:
    """The first error, such as "experts.3.images: Input should be a valid integer"."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return brief(f"{place}: {first['msg']}" if place else first["msg"])
