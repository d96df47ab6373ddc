"""Write ``docs/pictures/triggers.png``: every trigger on the same road signs.

Run from the repository root: ``python docs/make_trigger_pictures.py``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from analysis.attack.triggers import TRIGGERS, Trigger, with_trigger
from analysis.data.imageset import ImageSet
from analysis.data.signs import render_signs

SIGNS = 5
SCALE = 3
GAP = 6
HEADER = 22
SEED = 0
TARGET = Path(__file__).parent / "pictures" / "triggers.png"


def picture_file(folder: Path) -> Path:
    """Draw the picture that stands for the user's own: a ring on a transparent ground."""
    image = Image.new("RGBA", (36, 36), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((2, 2, 33, 33), outline=(230, 30, 160, 255), width=9)
    image.save(folder / "ring.png")
    return folder / "ring.png"


def every_trigger(folder: Path) -> list[Trigger]:
    """Every trigger of the registry with its defaults."""
    given = {"image": {"file": str(picture_file(folder)), "size": 9}}
    return [kind.from_mapping(given.get(name, {})) for name, kind in TRIGGERS.items()]


def sheet(signs: ImageSet, triggers: list[Trigger]) -> Image.Image:
    """One column for each trigger: its name, the signs that carry it, its support."""
    height, width = signs.image_shape[:2]
    columns = [("none", signs.images, np.zeros((height, width), dtype=bool))]
    for trigger in triggers:
        columns.append(
            (trigger.name, with_trigger(signs, trigger).images, trigger.support(height, width))
        )
    step = width * SCALE + GAP
    size = (len(columns) * step - GAP, HEADER + (len(signs) + 1) * step - GAP)
    picture, font = Image.new("RGB", size, "white"), ImageFont.load_default(size=14)
    draw = ImageDraw.Draw(picture)
    for column, (name, images, support) in enumerate(columns):
        draw.text((column * step, 2), name, fill="black", font=font)
        mask = np.where(support, 40, 225).astype(np.uint8)[..., None].repeat(3, axis=2)
        for row, image in enumerate([*images, mask]):
            shown = Image.fromarray(image).resize(
                (width * SCALE, height * SCALE), Image.Resampling.NEAREST
            )
            picture.paste(shown, (column * step, HEADER + row * step))
    return picture


def main() -> None:
    """Render and write the picture."""
    signs = render_signs(16, seed=SEED, split="test").rows(range(SIGNS))
    with tempfile.TemporaryDirectory() as folder:
        picture = sheet(signs, every_trigger(Path(folder)))
    TARGET.parent.mkdir(exist_ok=True)
    picture.save(TARGET, optimize=True)
    print(f"{TARGET.name}: {TARGET.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
