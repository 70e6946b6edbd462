"""The settings of an experiment as text: one setting or group for a terminal, or all of them as a page of Markdown."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from segfold.errors import SegfoldError, shown
from segfold.schema.descriptions import summary
from segfold.schema.places import fields, forms
from segfold.schema.walk import FREE, Setting, find, root, walk
from segfold.schema.words import value_in_words
from segfold.settings import Experiment

_HEAD = """\
# Settings

What an experiment's YAML may say, by dotted path: the path is also the key of `key.sub=value` on the command line.
`segfold explain PATH` prints the same for one setting or group, with `--config FILE` beside that experiment's own values.
This page is made from the code by `make settings`. `NAME` stands for a name of your own; a setting without a default
must be given, but for those of a family (`augment`, `loss.mask`, …), where what is not named is not used.
"""
_MISSING = object()


def explain(path: str, values: Mapping[str, Any] | None = None) -> str:
    """What there is to say about a setting or a group.

    Args:
        path: dotted; empty for the top level.
        values: a dumped experiment, whose value at the path is told too.

    Raises:
        SegfoldError: no setting has that path.
    """
    keys = path.split(".") if path else []
    found = find(root(Experiment), keys)
    if not found:
        raise SegfoldError(f"no setting {shown(path)}; {_nearest(keys)}")
    if values is not None and path.startswith("model."):
        found = [setting for setting in found if setting.variant in ("", values["model"]["name"])] or found
    return "\n\n".join(_told(same, values) for same in _alike(found))


def _nearest(keys: Sequence[str]) -> str:
    known = keys[:-1]
    while known and not find(root(Experiment), known):
        known = known[:-1]
    beside = [part.path[-1] for above in find(root(Experiment), known) for part in above.below()]
    if not beside:
        return f"nothing stands below {'.'.join(known)}"
    everywhere = [setting.dotted for setting in walk(root(Experiment))]
    near = [".".join([*known, key]) for key in difflib.get_close_matches(keys[len(known)], beside, n=1)]
    near += [dotted for dotted in everywhere if dotted.rpartition(".")[2] == keys[-1]]
    near += difflib.get_close_matches(".".join(keys), everywhere, n=1)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(dict.fromkeys(beside))}"


def _alike(found: Sequence[Setting]) -> list[list[Setting]]:
    """The settings of several models, those together that say the same."""
    groups: dict[tuple[Any, ...], list[Setting]] = {}
    for setting in found:
        rows = [_cells(part) for part in setting.below()]
        groups.setdefault((setting.description, *_cells(setting), *rows) if setting.path else (), []).append(setting)
    return list(groups.values())


def _told(same: Sequence[Setting], values: Mapping[str, Any] | None) -> str:
    setting = same[0]
    rows = [part for part in setting.below() if not _is_free_value(part)]
    if values is not None:
        chosen = values["model"]["name"]
        rows = [part for part in rows if part.path[0] != "model" or part.variant in ("", chosen)]
    models = ", ".join(other.variant for other in same if other.variant)
    lines = [(setting.dotted or "An experiment") + (f" (of {models})" if models else "")]
    lines.append(f"  {_plain(setting.description)}")
    if setting.path:
        facts = {"may be": setting.may_be, "default": setting.default_words}
        if values is not None and (not rows or _value(values, setting.path) is _MISSING):
            facts["here"] = _shown(_value(values, setting.path))
        facts["in"] = ", ".join(dict.fromkeys(other.source for other in same))
        lines += [f"  {name + ':':9}{text}" for name, text in facts.items() if text]
    return "\n".join(lines) + ("\n\n" + _table(rows, values) if rows else "")


def _table(rows: Sequence[Setting], values: Mapping[str, Any] | None) -> str:
    models = list(dict.fromkeys(part.variant for part in rows))
    several = len(models) > 1
    table = Table(box=None, pad_edge=False)
    for column in (
        "setting",
        *(["model"] if several else []),
        "may be",
        "default",
        *(["here"] if values else []),
        "what",
    ):
        table.add_column(column, no_wrap=column == "setting")
    seen: set[tuple[str, ...]] = set()
    for part in rows:
        same = [other.variant for other in rows if _cells(other) == _cells(part)]
        if _cells(part) in seen:
            continue
        seen.add(_cells(part))
        key, may_be, default, what = _cells(part)
        model = [", ".join(same) if len(same) < len(models) else "all"] if several else []
        here = [_shown(_value(values, part.path))] if values else []
        table.add_row(*map(Text, [key, *model, may_be, default, *here, what]))
    text = StringIO()
    Console(file=text, width=max(Console().width, 100)).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines())


def _cells(setting: Setting) -> tuple[str, str, str, str]:
    return setting.path[-1], setting.may_be, setting.default_words, _plain(setting.description).partition(". ")[0]


def _plain(text: str) -> str:
    return text.replace("``", "`")


def _value(values: Any, path: Sequence[str]) -> Any:
    for key in path:
        if not isinstance(values, Mapping) or key not in values:
            return _MISSING
        values = values[key]
    return values


def _shown(value: Any) -> str:
    return "–" if value is _MISSING else value_in_words(value)


def _is_free_value(setting: Setting) -> bool:
    """Whether the key is the user's and what stands there has no settings of its own."""
    return setting.path[-1] == FREE and not any(fields(form) for form, _ in forms(setting.annotation))


def page() -> str:
    """All settings as Markdown."""
    return "\n".join([_HEAD, *_sections(root(Experiment), {})])


def _sections(group: Setting, known: dict[Any, str]) -> Iterator[str]:
    """A table of a group's settings, then those of the groups in it; one that was shown before is named only."""
    by_model: dict[str, list[Setting]] = {}
    for part in group.below():
        by_model.setdefault(part.variant, []).append(part)
    for model, parts in by_model.items():
        parts = [part for part in parts if not _is_free_value(part)]
        if not parts:
            continue
        if [part.path[-1] for part in parts] == [FREE]:
            yield from _sections(parts[0], known)
            continue
        said = group.description if group.is_family else summary(parts[0].owner)
        title = f"`{group.dotted}`" if group.path else "Experiment"
        yield f"## {title}{f', model {model}' if model else ''}\n\n{_markdown(said)}\n"
        yield "| setting | may be | default | what it does |\n| --- | --- | --- | --- |"
        later = []
        for part in parts:
            if group.is_family:
                yield from (_row(row, len(group.path)) for row in [part, *walk(part)] if not _is_free_value(row))
                continue
            shown_at = known.get(_key(part))
            yield _row(part, len(group.path), shown_at)
            if shown_at is None and _opens(part):
                known[_key(part)] = f"`{part.dotted}`" + (f" of {model}" if model else "")
                later.append(part)
        yield ""
        for part in later:
            yield from _sections(part, known)


def _key(setting: Setting) -> Any:
    """The settings classes that stand at a key: the same ones have the same table."""
    return tuple(form for form, _ in forms(setting.annotation) if fields(form)) or setting.dotted


def _opens(setting: Setting) -> bool:
    """Whether there are settings below it that the schema names."""
    return any(not _is_free_value(part) for part in setting.below())


def _row(setting: Setting, depth: int, shown_at: str | None = None) -> str:
    name = ".".join(setting.path[depth:])
    may_be = f"as {shown_at}" if shown_at else setting.may_be
    cells = [f"`{name}`", may_be, setting.default_words, setting.description]
    return "| " + " | ".join(_markdown(cell) for cell in cells) + " |"


def _markdown(text: str) -> str:
    return _plain(text).replace("|", "\\|")
