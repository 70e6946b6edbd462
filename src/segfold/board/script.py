"""Data as scripts: a page that was opened from disk may run a script beside it, but not fetch a file.

A data script is one call, ``segfold.put("epochs/unet", …)``; what it puts is JSON, or base64 text of gzipped JSON, which
the page unpacks.
"""

import base64
import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from segfold.files import write_atomic

_PACKED = 4096
"""Bytes of JSON from which it is packed."""


def script_text(name: str, value: Any) -> str:
    """The text of a data script.

    Args:
        name: what the page asks for.
        value: JSON; arrays of numpy and paths are taken too, a number that is not finite becomes null.
    """
    text = json_text(value)
    if len(text) >= _PACKED:
        # No time in it: the same data makes the same file.
        text = json.dumps(base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode())
    return f"segfold.put({json_text(name)}, {text});\n"


def json_text(value: Any) -> str:
    """JSON that may stand in a script of a page: what could end the script, or a line of it, is escaped."""
    text = json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign, escaped in (
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(sign, escaped)
    return text.encode("utf-8", "backslashreplace").decode()


def write_script(path: Path, name: str, value: Any) -> None:
    """Writes a data script, whole or not at all."""
    with write_atomic(path, "w") as file:
        file.write(script_text(name, value))


def read_script(path: Path) -> tuple[str, Any]:
    """Name and value of a data script, for tests and people; errors as those of ``json`` and ``gzip``."""
    inside = path.read_text(encoding="utf-8").removeprefix("segfold.put(").removesuffix(");\n")
    name, value = json.loads(f"[{inside}]")
    if isinstance(value, str):
        value = json.loads(gzip.decompress(base64.b64decode(value)))
    return name, value


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind in "iub":
            return value.tolist()
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        # Run lengths are long lists of whole numbers, which json takes as they are.
        return list(value) if set(map(type, value)) <= {int} else [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
