"""A stop at a step of one's choice, in place of a signal."""

from segfold.stopping import Stopping


class StopOnce(Stopping):
    """Asked after so many steps, as Ctrl-C asks."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    @property
    def asked(self) -> bool:
        self.left -= 1
        return self.left == 0
