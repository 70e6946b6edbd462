"""Schemas from signatures where one builder's argument is itself a choice of builders."""

from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Le
from pydantic import Discriminator, Tag, ValidationError

from segfold.config import merge
from segfold.errors import SegfoldError
from segfold.schema import Settings, build, choice, problems, settings_model


def round_(*, radius: int = 3) -> None: ...


def square(*, side: int = 2) -> None: ...


SHAPES = {"round": round_, "square": square}


def builder(*, shape: Annotated[Any, SHAPES] = "square", width: int = 1) -> None: ...


def other(*, height: int = 1) -> None: ...


def test_an_argument_annotated_with_a_family_is_a_choice() -> None:
    model = settings_model("thing", builder)
    assert model().shape.name == "square" and model().shape.settings == {"side": 2}
    assert model.model_validate({"shape": {"round": {"radius": 5}}}).model_dump(exclude_none=True) == {
        "shape": {"round": {"radius": 5}},
        "width": 1,
    }
    with pytest.raises(ValidationError) as error:
        model.model_validate({"shape": {"round": {"radios": 5}}})
    assert problems(error.value, model) == "unknown key shape.round.radios; did you mean radius?"
    nested = choice("family", {"thing": builder}).model_validate({"thing": {"shape": "round"}})
    assert nested.settings["shape"]["round"] == {"radius": 3}


def test_hints_come_from_the_union_member_that_was_meant() -> None:
    variants = [
        Annotated[settings_model(name, function, extra={"name": (Literal[name], name)}), Tag(name)]
        for name, function in (("first", builder), ("second", other))
    ]

    class Root(Settings):
        model: Annotated[variants[0] | variants[1], Discriminator(lambda value: value["name"])]  # type: ignore[valid-type]

    for name, key, hint in (("first", "widht", "width"), ("second", "hieght", "height")):
        with pytest.raises(ValidationError) as error:
            Root.model_validate({"model": {"name": name, key: 1}})
        message = problems(error.value, Root, ("first", "second"))
        assert message == f"unknown key model.{key}; did you mean {hint}?"


def forms(
    *,
    size: int | tuple[int, int] = 1,
    stages: Literal["all"] | tuple[int, ...] = "all",
    rate: bool | Literal["auto"] = "auto",
    shape: Annotated[Any, SHAPES] = "square",
) -> None: ...


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"size": "x"}, "size: Input should be a valid integer or a list, found 'x'"),
        ({"size": [1, "x"]}, "size.1: Input should be a valid integer, found 'x'"),
        ({"stages": "some"}, "stages: Input should be 'all' or a list, found 'some'"),
        ({"rate": "fast"}, "rate: Input should be a valid boolean or 'auto', found 'fast'"),
        ({"shape": {"round": 3}}, "shape.round: Input should be a mapping, found 3"),
        (
            {"size": "x", "sise": 1},
            "size: Input should be a valid integer or a list, found 'x'; unknown key sise; did you mean size?",
        ),
    ],
)
def test_a_value_of_several_forms_is_refused_once(values: dict[str, Any], said: str) -> None:
    model = settings_model("thing", forms)
    with pytest.raises(ValidationError) as error:
        model.model_validate(values)
    assert problems(error.value, model) == said


def nothing() -> None: ...


def test_a_key_where_there_are_no_settings() -> None:
    model = choice("family", {"bare": nothing})
    with pytest.raises(ValidationError) as error:
        model.model_validate({"bare": {"width": 1}})
    assert problems(error.value, model) == "unknown key bare.width; there are no settings here"


def record(
    *given: Any, width: Annotated[int, Ge(1), Le(9)] = 1, shape: Annotated[Any, SHAPES] = "square", **extra: Any
) -> Any:
    return given, width, shape, extra


def sized(first: int, *, channels: int, sizes: tuple[int, ...] = (1, 2), rate: float = 0.5) -> Any:
    return first, channels, sizes, rate


def test_building_by_name_checks_what_is_given_and_leaves_the_rest() -> None:
    assert build("part", sized, {"sizes": [3]}, 7, channels=2) == (7, 2, (3,), 0.5)
    assert build("part", record, {}) == ((), 1, "square", {})
    assert build("part", record, {"shape": "round"})[2] == {"round": {}}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"width": 0}, "part.width: Input should be greater than or equal to 1, found 0"),
        ({"width": True}, "part.width: expected a number, found True"),
        ({"widht": 2}, "unknown key part.widht; did you mean width?"),
        ({"shape": {"round": {"radios": 1}}}, "unknown key part.shape.round.radios; did you mean radius?"),
    ],
)
def test_building_by_name_refuses_with_the_path(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SegfoldError) as error:
        build("part", record, settings)
    assert str(error.value) == said


def test_merging_knows_a_choice_where_the_schema_has_one() -> None:
    """Under any name, within a free mapping, and in the one union member that has it."""

    def chooser(*, tail: Annotated[Any, SHAPES] = "square") -> None: ...

    def mapper(*, tail: dict[str, int] | None = None) -> None: ...

    variants = [
        Annotated[settings_model(name, function, extra={"name": (Literal[name], name)}), Tag(name)]
        for name, function in (("first", chooser), ("second", mapper))
    ]

    class Part(Settings):
        outline: choice("outline", SHAPES)  # type: ignore[valid-type]

    class Root(Settings):
        parts: dict[str, Part]
        model: Annotated[variants[0] | variants[1], Discriminator(lambda value: value["name"])]  # type: ignore[valid-type]

    old, new, more = {"round": {"radius": 1}}, {"square": {"side": 2}}, {"round": {"colour": 3}}
    both = {"round": {"radius": 1, "colour": 3}}

    def merged(values: Any, over: Any) -> Any:
        return merge(values, over, Root)

    for change, result in ((new, new), (more, both)):
        assert merged({"parts": {"a": {"outline": old}}}, {"parts": {"a": {"outline": change}}}) == {
            "parts": {"a": {"outline": result}}
        }
        assert merged({"model": {"name": "first", "tail": old}}, {"model": {"tail": change}}) == {
            "model": {"name": "first", "tail": result}
        }
    assert merged({"model": {"name": "second", "tail": {"x": 1}}}, {"model": {"tail": {"y": 2}}}) == {
        "model": {"name": "second", "tail": {"x": 1, "y": 2}}
    }
