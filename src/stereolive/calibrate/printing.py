"""A board as a PDF page in true size, so that it can be printed at 100 % and measured with its own ruler."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stereolive.calibrate.boards import Board
from stereolive.errors import InputError

PAPERS_MM = {"a4": (210.0, 297.0), "a3": (297.0, 420.0), "letter": (215.9, 279.4)}
POINTS_PER_MM = 72 / 25.4
MARGIN_MM = 10.0
FOOT_MM = 14.0
RULER_MM = 100.0
_QUARTER_CIRCLE = 0.5522847498
"""Length of a cubic's handle that draws a quarter of a unit circle within 0.03 %."""


def board_pdf(board: Board, paper: str = "a4") -> bytes:
    """The page. Raises InputError where the board does not fit on the paper."""
    if paper not in PAPERS_MM:
        raise InputError(f"paper: expected one of {', '.join(PAPERS_MM)}, got {paper!r}")
    short, long = PAPERS_MM[paper]
    left, top, right, bottom = board.extent_mm
    width, height = right - left, bottom - top
    page = next(
        (
            (w, h)
            for w, h in ((long, short), (short, long))
            if width + 2 * MARGIN_MM <= w and height + 2 * MARGIN_MM + FOOT_MM <= h
        ),
        None,
    )
    if page is None:
        raise InputError(
            f"board: {width:.0f} x {height:.0f} mm does not fit on {paper}; take a larger paper or a smaller spacing"
        )
    # From board coordinates to points counted from the lower left corner of the page.
    offset_x = (page[0] - width) / 2 - left
    offset_y = page[1] - (page[1] - FOOT_MM - height) / 2 + top

    def x(mm: float) -> float:
        return (offset_x + mm) * POINTS_PER_MM

    def y(mm: float) -> float:
        return (offset_y - mm) * POINTS_PER_MM

    drawing = ["0 g"]
    for rx, ry, rw, rh in board.rectangles_mm:
        drawing.append(f"{x(rx):.4f} {y(ry + rh):.4f} {rw * POINTS_PER_MM:.4f} {rh * POINTS_PER_MM:.4f} re")
    drawing += [_disc(x(cx), y(cy), radius * POINTS_PER_MM) for cx, cy, radius in board.circles_mm]
    drawing.append("f")
    drawing += _foot(board, page)
    return _document("\n".join(drawing), page)


def write_board_pdf(path: str | Path, board: Board, paper: str = "a4") -> None:
    """Write the page whole or not at all. Raises InputError."""
    data = board_pdf(board, paper)
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)  # a pipe or a printer takes it as it comes
        else:
            _replace(path.resolve(), data)
    except OSError as error:
        raise InputError(f"board {path}: cannot be written ({error.strerror or error})") from None


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _disc(x: float, y: float, r: float) -> str:
    k = _QUARTER_CIRCLE * r
    return (
        f"{x + r:.4f} {y:.4f} m {x + r:.4f} {y + k:.4f} {x + k:.4f} {y + r:.4f} {x:.4f} {y + r:.4f} c "
        f"{x - k:.4f} {y + r:.4f} {x - r:.4f} {y + k:.4f} {x - r:.4f} {y:.4f} c "
        f"{x - r:.4f} {y - k:.4f} {x - k:.4f} {y - r:.4f} {x:.4f} {y - r:.4f} c "
        f"{x + k:.4f} {y - r:.4f} {x + r:.4f} {y - k:.4f} {x + r:.4f} {y:.4f} c"
    )


def _foot(board: Board, page: tuple[float, float]) -> list[str]:
    """What the board is, how to print it, and a ruler to check the printer with."""
    unit = POINTS_PER_MM
    x0, y0 = MARGIN_MM * unit, 8.0 * unit
    lines = [f"{0.25 * unit:.3f} w {x0:.3f} {y0:.3f} m {x0 + RULER_MM * unit:.3f} {y0:.3f} l S"]
    for mm in np.arange(0, RULER_MM + 1, 10):
        tick = 3.0 if mm % 50 == 0 else 1.8
        lines.append(f"{x0 + mm * unit:.3f} {y0:.3f} m {x0 + mm * unit:.3f} {y0 + tick * unit:.3f} l S")
    step = "row distance" if board.kind == "circles" else "square"
    about = f"stereolive {board.kind} {board.columns}x{board.rows}, {step} {board.spacing_mm:g} mm"
    how = (
        "Print at 100 %: the ruler must measure 100 mm. Laser print (dye ink is invisible in near-infrared). "
        "Glue onto something flat and matt."
    )
    text_x = x0 + (RULER_MM + 4) * unit
    if page[0] < 250:
        lines.append(_text(x0, 4.2 * unit, 6.5, how))
        lines.append(_text(text_x, y0, 7.5, about))
    else:
        lines.append(_text(text_x, y0 + 1.2 * unit, 8, about))
        lines.append(_text(x0, 4.0 * unit, 7.5, how))
    return lines


def _text(x: float, y: float, size: float, text: str) -> str:
    escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    return f"BT /F1 {size:g} Tf {x:.3f} {y:.3f} Td ({escaped}) Tj ET"


def _document(drawing: str, page: tuple[float, float]) -> bytes:
    """A PDF 1.4 file of one page. ``/PrintScaling /None`` asks viewers not to fit it to the paper."""
    width, height = (side * POINTS_PER_MM for side in page)
    stream = drawing.encode("ascii")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /ViewerPreferences << /PrintScaling /None >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width:.4f} {height:.4f}] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>".encode("ascii"),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    parts = [b"%PDF-1.4\n"]
    places = []
    for number, body in enumerate(objects, 1):
        places.append(sum(map(len, parts)))
        parts.append(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = sum(map(len, parts))
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    parts.append(b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table))
    parts.append(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return b"".join(parts)
