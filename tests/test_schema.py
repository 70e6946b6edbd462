"""Schemas from signatures where one builder's argument is itself a choice of builders."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Discriminator, Tag, ValidationError

from segfold.schema import Settings, choice, explain, settings_model


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
    assert explain(error.value, model) == "unknown key shape.round.radios; did you mean radius?"
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
        message = explain(error.value, Root, ("first", "second"))
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
    assert explain(error.value, model) == said


def nothing() -> None: ...


def test_a_key_where_there_are_no_settings() -> None:
    model = choice("family", {"bare": nothing})
    with pytest.raises(ValidationError) as error:
        model.model_validate({"bare": {"width": 1}})
    assert explain(error.value, model) == "unknown key bare.width; there are no settings here"
