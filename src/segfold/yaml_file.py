"""YAML as settings are written in it: text keys, plain values, and nothing that reads as something else than it says.

Refused in one line are doubled keys, tags, interpolation (it can read the environment), aliases that unfold without
end, and numbers that YAML 1.1 takes for others (``010`` for 8, ``1:30`` for 90). A date is text.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from segfold.errors import SegfoldError

_MOST_BYTES = 1_000_000
_MOST_VALUES = 100_000
_DEEPEST = 32
_MOST_DIGITS = 100  # Python refuses to read more than 4,300; longer ones stay text, which no number setting takes
_TAG = "tag:yaml.org,2002:"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class _Loader(yaml.SafeLoader):
    """Only composes nodes; their values are made by ``_Values``."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", list("yYnNtTfFoO")),
    ("misread", r"[-+]?0[0-7_]+|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?", list("-+0123456789")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*|0b[0-1_]+|0x[0-9a-fA-F_]+)", list("-+0123456789")),
    # YAML 1.1 asks for a point and a signed exponent, by which 1e-3 would be text.
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    ("merge", "<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_pattern})\\Z"), _first)


class _Dumper(yaml.SafeDumper):
    """Quotes what the reader would take for something else than text."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        return True


def yaml_text(values: Any) -> str:
    """YAML of plain values, which ``parse_yaml`` reads back; what holds no further collection stands on one line."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)


class _RefusedError(Exception):
    """What is wrong with a value, and what to do."""


class _Values:
    """Plain values of YAML nodes. Aliases are unfolded, so values are counted as they come."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader
        self._count = 0

    def of(self, node: yaml.Node | None, depth: int = 0) -> Any:
        self._count += 1
        if self._count > _MOST_VALUES or depth > _DEEPEST:
            raise _RefusedError(
                f"more than {_MOST_VALUES:,} values or {_DEEPEST} levels; expected a mapping of settings"
            )
        if node is None:
            return None
        tag = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and tag == "map":
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode) and tag == "seq":
            return [self.of(part, depth + 1) for part in node.value]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, tag)
        raise _RefusedError(f"the tag {node.tag} is not supported; write plain values")

    def _scalar(self, node: yaml.ScalarNode, tag: str) -> Any:
        text = node.value
        if tag == "misread":
            raise _RefusedError(
                f"found {text}, which YAML takes for another number; write it without a leading 0 or a colon, "
                f"or, if it is text, in quotes: '{text}'"
            )
        if tag == "str" or (tag == "int" and len(text) > _MOST_DIGITS):
            return _checked(text)
        # A tag that is written out may read a text as what it is not: ``!!int 010`` is 8.
        if self._loader.resolve(yaml.ScalarNode, text, (True, False)) == node.tag:
            return self._loader.construct_object(node)
        raise _RefusedError(f"the tag {node.tag} of {text!r} is not supported; write plain values")

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _RefusedError(f"a key in line {key_node.start_mark.line + 1} is not text; write a name")
            if key_node.tag == f"{_TAG}merge":
                found = self.of(value_node, depth)
                for part in reversed(found if isinstance(found, list) else [found]):
                    if not isinstance(part, dict):
                        raise _RefusedError("<< is for a mapping, or a list of them")
                    merged |= part
                continue
            # As it is written: ``on`` and ``1`` are names here, not a truth and a number.
            key = _checked(key_node.value)
            if key in values:
                raise _RefusedError(
                    f"key {key!r} is there twice, again in line {key_node.start_mark.line + 1}; keep one"
                )
            values[key] = self.of(value_node, depth + 1)
        return {**merged, **values}


def _checked(text: str) -> str:
    if "${" in text:
        raise _RefusedError("found ${…}; interpolation is not supported, write the value out")
    if found := _CONTROL.search(text):
        raise _RefusedError(f"found the character {found[0]!r} in {text[:60]!r}; take it out")
    return text


def parse_yaml(text: str, source: str) -> Any:
    """The value that ``text`` holds: mappings with text keys, lists, texts, finite and other numbers, truths, None.

    Args:
        source: named in front of what is wrong.

    Raises:
        SegfoldError: it is not YAML, or holds what the module refuses.
    """
    try:
        # The loader of plain Python: the one of C overflows its stack on deep nesting.
        loader = _Loader(text)
        return _Values(loader).of(loader.get_single_node())
    except _RefusedError as error:
        raise SegfoldError(f"{source}: {error}") from None
    except RecursionError:
        raise SegfoldError(f"{source}: nested too deeply; expected a mapping of settings") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise SegfoldError(f"{source}: not YAML: {' '.join(str(error).split())}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Mapping in a YAML file.

    Raises:
        SegfoldError: the file cannot be read, is not YAML in UTF-8, or holds no mapping.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise SegfoldError(f"{path}: more than {_MOST_BYTES:,} bytes; name a YAML file of settings")
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise SegfoldError(f"{path}: {error.strerror or error}; name an existing YAML file") from None
    except UnicodeDecodeError as error:
        raise SegfoldError(
            f"{path}: not YAML in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None
    except ValueError:  # a NUL in the path
        raise SegfoldError(f"{path}: no such file; name an existing YAML file") from None
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        found = "nothing" if values is None else type(values).__name__
        raise SegfoldError(f"{path}: found {found}, expected a mapping of settings")
    return values
