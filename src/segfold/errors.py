"""The one exception type for what a user can mend."""


class SegfoldError(Exception):
    """Bad input that the user can mend.

    The message is one line: what was found, what was expected, what to do. The command line prints it
    and exits with code 2; no traceback is shown.
    """
