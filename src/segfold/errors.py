"""The one exception type for what a user can mend."""


class SegfoldError(Exception):
    """Bad input that the user can mend.

    The message is one line: what was found, what was expected, what to do. The command line prints it
    and exits with code 2; no traceback is shown.
    """

    def __init__(self, message: object) -> None:
        super().__init__(one_line(str(message)))


def one_line(text: str) -> str:
    """`text` with escapes for line breaks and whatever else a terminal cannot show, such as an id may hold."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)
