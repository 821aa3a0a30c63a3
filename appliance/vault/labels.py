"""Labels to print and QR codes, as SVG. Everything from outside is escaped, and nothing is fetched."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

# A label of 90 by 38 mm, fourteen of them on a sheet of A4 (210 by 297 mm).
WIDTH_MM: Final = 90.0
HEIGHT_MM: Final = 38.0
SHEET_WIDTH_MM: Final = 210.0
SHEET_HEIGHT_MM: Final = 297.0
COLUMNS: Final = 2
ROWS: Final = 7
PER_SHEET: Final = COLUMNS * ROWS
MAX_LABELS: Final = 1400
_GAP_X: Final = (SHEET_WIDTH_MM - COLUMNS * WIDTH_MM) / (COLUMNS + 1)
_GAP_Y: Final = (SHEET_HEIGHT_MM - ROWS * HEIGHT_MM) / (ROWS + 1)
_QR_MM: Final = 34.0
_LEFT: Final = 38.0  # where the text begins
_TEXT_MM: Final = WIDTH_MM - _LEFT - 2.0
_SVG: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{0:g}mm" height="{1:g}mm" viewBox="0 0 {0:g} {1:g}">'
)
_FONT: Final = 'font-family="DejaVu Sans, Arial, Helvetica, sans-serif" fill="#000"'


class Label(NamedTuple):
    """What stands on a label; ``code`` is the text of its QR code, ``lines`` are small and below the name."""

    endpoint_name: str
    label: str
    lines: tuple[str, ...]
    code: str


def qr_svg(text: str) -> str:
    """A QR code as an SVG document, a unit per module and its quiet zone; scales to any size."""
    out = io.BytesIO()
    _code(text).save(
        out, kind="svg", xmldecl=False, svgclass=None, lineclass=None, omitsize=True, light="#fff"
    )
    return out.getvalue().decode("utf-8").strip()


def label_svg(label: Label) -> str:
    """One label."""
    return _SVG.format(WIDTH_MM, HEIGHT_MM) + _drawn(label) + "</svg>"


def sheet_svg(labels: Sequence[Label]) -> str:
    """A4 sheets of labels below each other, with lines to cut along."""
    sheets = max(1, -(-len(labels) // PER_SHEET))
    parts = [_SVG.format(SHEET_WIDTH_MM, sheets * SHEET_HEIGHT_MM)]
    for number, label in enumerate(labels):
        sheet, place = divmod(number, PER_SHEET)
        row, column = divmod(place, COLUMNS)
        x = _GAP_X + column * (WIDTH_MM + _GAP_X)
        y = sheet * SHEET_HEIGHT_MM + _GAP_Y + row * (HEIGHT_MM + _GAP_Y)
        parts.append(
            f'<g transform="translate({x:.2f} {y:.2f})"><rect width="{WIDTH_MM:g}" height="{HEIGHT_MM:g}" '
            'fill="none" stroke="#999" stroke-width="0.1" stroke-dasharray="1 1"/>' + _drawn(label) + "</g>"
        )
    parts.append("</svg>")
    return "".join(parts)


def _drawn(label: Label) -> str:
    code = _code(label.code)
    side = code.symbol_size(border=2)[0]
    scale = _QR_MM / side
    path = "".join(
        f"M{column} {row}h1v1h-1z"
        for row, modules in enumerate(code.matrix_iter(border=2))
        for column, dark in enumerate(modules)
        if dark
    )
    parts = [f'<path transform="translate(2 2) scale({scale:.4f})" d="{path}" fill="#000"/>']
    y = 7.0
    for text, size in ((label.endpoint_name, 4.2), (label.label, 3.4), *((one, 2.6) for one in label.lines)):
        for line in _wrapped(text, size):
            if y > HEIGHT_MM - 1.5:
                break
            where = f'x="{_LEFT:g}" y="{y:g}" font-size="{size:g}"'
            parts.append(f"<text {where} {_FONT}>{_escaped(line)}</text>")
            y += size * 1.3
    return "".join(parts)


def _code(text: str) -> Any:
    import segno  # 1.2 MB that a unit needs only when a device is added

    return segno.make(text, error="m", micro=False)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _wrapped(text: str, size: float) -> list[str]:
    """The text in lines that fit, for letters of about 0.62 of their size; endpoint names have no spaces."""
    width = max(8, int(_TEXT_MM / (size * 0.62)))
    return [text[at : at + width] for at in range(0, len(text), width)]
