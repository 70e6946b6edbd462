"""``python -m segfold <verb>``."""

import sys

from segfold.cli import main

sys.exit(main())
