"""`python train.py …`: the verb `segfold train`, in a shell that has activated nothing."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from segfold.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
