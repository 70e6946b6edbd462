"""The one exception type for what a user can mend."""

_QUOTED = 80
LONGEST = 4000
"""Characters of a message; the middle of a longer one, which can only be quoted input, is left out."""


def one_line(text: str) -> str:
    """``text`` as one line that a terminal shows as it is: line ends, control characters and the like escaped.

    Example:
        >>> one_line("a\\nb\\x1f…")
        'a\\\\nb\\\\x1f…'
    """
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)


def shown(value: object) -> str:
    """What was found, for a message: as Python writes it, the end of a long one left out."""
    text = repr(value)
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…"


class SegfoldError(Exception):
    """Bad input that the user can mend.

    The message is one line, whatever it quotes: what was found, what was expected, what to do. The command line
    prints it and exits with code 2; no traceback is shown.
    """

    def __init__(self, message: object) -> None:
        text = one_line(str(message))
        if len(text) > LONGEST:
            text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
        super().__init__(text)
