"""A drawing as SVG."""

from __future__ import annotations

import base64
import html

from dashboard.drawing.shapes import (
    Circle,
    Drawing,
    Outline,
    Picture,
    Shape,
    Stroke,
    Words,
    channels,
    hidden,
)
from dashboard.drawing.words import FAMILY, font_file

_SEAM = ' stroke-width="3" stroke-linejoin="round" paint-order="stroke"'


def svg(drawing: Drawing, *, fonts: bool = False, alt: str = "") -> str:
    """``drawing`` as the text of an SVG file; ``alt`` says in words what it shows.

    ``fonts`` puts the fonts into the file, for pictures that stand alone.
    """
    width, height = _number(drawing.width), _number(drawing.height)
    body = [_shape(shape) for shape in drawing.shapes]
    if drawing.background is not None:
        body.insert(0, f'<rect width="{width}" height="{height}" fill="{drawing.background}"/>')
    label = f' role="img" aria-label="{_text(alt)}"' if alt else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="\'{FAMILY}\', sans-serif"{label}>'
        f"{_faces(drawing) if fonts else ''}{''.join(body)}</svg>"
    )


def _shape(shape: Shape) -> str:
    match shape:
        case Outline():
            return _outline(shape)
        case Circle():
            at = f'cx="{_number(shape.x)}" cy="{_number(shape.y)}" r="{_number(shape.radius)}"'
            return _titled("circle", f"{at}{_paint(shape.fill, shape.stroke)}", shape.title)
        case Words():
            return _words(shape)
        case Picture():
            return _picture(shape)


def _outline(shape: Outline) -> str:
    moves = " ".join(f"{_number(x)},{_number(y)}" for x, y in shape.points)
    tag = "polygon" if shape.closed else "polyline"
    return _titled(tag, f'points="{moves}"{_paint(shape.fill, shape.stroke)}', shape.title)


def _titled(tag: str, attributes: str, title: str) -> str:
    if not title:
        return f"<{tag} {attributes}/>"
    return f"<{tag} {attributes}><title>{_text(title)}</title></{tag}>"


def _paint(fill: str | None, stroke: Stroke | None) -> str:
    # What is not seen but can be pointed at stays, or its title would be lost.
    painted = _color("fill", fill) if fill is not None else ' fill="none"'
    if stroke is None or stroke.width == 0 or hidden(stroke.color):
        return painted
    dash = " ".join(_number(length) for length in stroke.dash)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    width = f' stroke-width="{_number(stroke.width)}"'
    return f"{painted}{_color('stroke', stroke.color)}{width}{dashes}"


def _color(name: str, color: str) -> str:
    red, green, blue, opacity = channels(color)
    faint = "" if opacity == 1 else f' {name}-opacity="{opacity:g}"'
    return f' {name}="#{red:02x}{green:02x}{blue:02x}"{faint}'


def _words(shape: Words) -> str:
    x, y = _number(shape.x), _number(shape.y)
    turned = f' transform="rotate({_number(shape.angle)} {x} {y})"' if shape.angle else ""
    weight = "" if shape.weight == 400 else f' font-weight="{shape.weight}"'
    anchor = "" if shape.anchor == "start" else f' text-anchor="{shape.anchor}"'
    seam = "" if shape.halo is None else f"{_color('stroke', shape.halo)}{_SEAM}"
    return (
        f'<text x="{x}" y="{y}" font-size="{_number(shape.size)}"{_color("fill", shape.color)}'
        f"{weight}{anchor}{seam}{turned}>{_text(shape.text)}</text>"
    )


def _picture(shape: Picture) -> str:
    kind = "webp" if shape.data[8:12] == b"WEBP" else "png"
    data = base64.b64encode(shape.data).decode()
    at = " ".join(
        f'{name}="{_number(getattr(shape, name))}"' for name in ("x", "y", "width", "height")
    )
    source = f'href="data:image/{kind};base64,{data}"'
    style = 'preserveAspectRatio="none" style="image-rendering:pixelated"'
    return _titled("image", f"{at} {style} {source}", shape.title)


def _faces(drawing: Drawing) -> str:
    weights = sorted({shape.weight for shape in drawing.shapes if isinstance(shape, Words)})
    rules = "".join(font_face(weight) for weight in weights)
    return f"<style>{rules}</style>" if rules else ""


def font_face(weight: int) -> str:
    """The CSS rule that carries the font in one weight with it."""
    data = base64.b64encode(font_file(weight).read_bytes()).decode()
    return (
        f"@font-face{{font-family:'{FAMILY}';font-weight:{weight};"
        f"src:url(data:font/woff2;base64,{data})}}"
    )


def _text(text: str) -> str:
    return html.escape(text, quote=True)


def _number(value: float) -> str:
    rounded = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if rounded == "-0" else rounded
