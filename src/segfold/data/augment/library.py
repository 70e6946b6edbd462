"""The one import of albumentations (2.0.8, the last release under the MIT licence).

The library is imported when a step that needs it is built, as that takes seconds and prediction needs none.
"""

import os
from typing import Any


def library() -> Any:
    """The package ``albumentations``."""
    # Otherwise the import asks the package index for a newer version.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations
