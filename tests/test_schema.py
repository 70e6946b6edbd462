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
