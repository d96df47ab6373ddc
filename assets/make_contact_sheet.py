"""Write ``assets/road-signs.png``: rendered road signs, one column for every class.

Run from the repository root: ``python assets/make_contact_sheet.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from analysis.data.signs import SIGN_CLASSES, render_signs

ROWS = 5
SCALE = 2
GAP = 4
SEED = 0
TARGET = Path(__file__).with_name("road-signs.png")


def contact_sheet() -> Image.Image:
    """Lay out the first ROWS test images of every class, enlarged without smoothing."""
    signs = render_signs(ROWS * len(SIGN_CLASSES), seed=SEED, split="test")
    side = signs.image_shape[0] * SCALE
    step = side + GAP
    sheet = Image.new("RGB", (len(SIGN_CLASSES) * step - GAP, ROWS * step - GAP), "white")
    for label in range(len(SIGN_CLASSES)):
        for row, index in enumerate(np.flatnonzero(signs.labels == label)):
            picture = Image.fromarray(signs.images[index])
            enlarged = picture.resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (label * step, row * step))
    return sheet


if __name__ == "__main__":
    contact_sheet().save(TARGET, optimize=True)
    print(
        f"{TARGET.name}: {TARGET.stat().st_size / 1000:.0f} kB, columns: {', '.join(SIGN_CLASSES)}"
    )
