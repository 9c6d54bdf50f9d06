"""What watch shows: the check picture with the decision under it, in a window, on a page, or as a sheet of moments."""

from __future__ import annotations

import math
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.errors import InputError
from stereolive.images import write_png
from stereolive.picture import draw
from stereolive.rig import Rig
from stereolive.watch.fusion import Outcome
from stereolive.watch.watcher import Moment

Picture = NDArray[np.uint8]
COLOURS = {"bona_fide": (82, 122, 34), "attack": (48, 44, 188), "no_response": (118, 104, 92)}
OLD = (150, 150, 150)
SHEET_WIDTH = 640
SHEET_COLUMNS = 3


def picture_of(moment: Moment, rig: Rig, last: Outcome | None) -> Picture:
    """The check picture of one pair (H, W, 3), with the last fused decision below: coloured on the pair that decided,
    grey afterwards, so that nobody takes an old decision for the present one."""
    body = draw(moment.analysis, moment.pair.first, moment.pair.second, rig)
    bar = np.full((54, body.shape[1], 3), COLOURS[moment.outcome.decision] if moment.outcome else OLD, np.uint8)
    text = f"{'' if moment.outcome else 'last '}{describe(last)}" if last else "no decision yet"
    cv2.putText(bar, text, (24, 35), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 1, cv2.LINE_AA)
    return cast(Picture, np.concatenate([body, bar], axis=0))


def describe(outcome: Outcome) -> str:
    """One line for a person."""
    score = "" if outcome.score is None else f", score {outcome.score:.3f}"
    reasons = f" ({', '.join(outcome.reasons)})" if outcome.reasons else ""
    counted = f", {outcome.no_responses_in_a_row} without response in a row" if outcome.no_responses_in_a_row else ""
    responses = f"{outcome.responses} of {outcome.pairs} pairs in {outcome.duration_s:.1f} s"
    return f"decision: {outcome.decision}{score}{reasons}, {responses}{counted}"


def write_sheet(path: str | Path, pictures: list[Picture]) -> None:
    """Pictures of a run side by side, three in a row."""
    if not pictures:
        raise InputError("sheet: no pair was seen")
    small = [
        cv2.resize(p, (SHEET_WIDTH, round(p.shape[0] * SHEET_WIDTH / p.shape[1])), interpolation=cv2.INTER_AREA)
        for p in pictures
    ]
    height = max(p.shape[0] for p in small) + 8
    columns = min(SHEET_COLUMNS, len(small))
    sheet = np.full((math.ceil(len(small) / columns) * height, columns * (SHEET_WIDTH + 8), 3), 255, np.uint8)
    for index, picture in enumerate(small):
        y, x = index // columns * height, index % columns * (SHEET_WIDTH + 8)
        sheet[y : y + picture.shape[0], x : x + SHEET_WIDTH] = picture
    write_png(path, sheet)


class Page:
    """The live picture as a page for browsers on this machine, where there is no display: ``http://127.0.0.1:PORT``."""

    def __init__(self, port: int) -> None:
        self._changed = threading.Condition()
        self._jpeg, self._number = b"", 0
        self._closed = False
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path != "/stream":
                    self._send_page()
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
                self.end_headers()
                number = 0
                try:
                    self.wfile.write(b"--picture\r\n")
                    while (taken := page.next_picture(number)) is not None:
                        number, jpeg = taken
                        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
                        # A browser shows a picture when it has seen where it ends.
                        self.wfile.write(head + jpeg + b"\r\n--picture\r\n")
                except (BrokenPipeError, ConnectionResetError):
                    return

            def _send_page(self) -> None:
                body = b"<!doctype html><title>stereolive watch</title><body style='margin:0;background:#222'>"
                body += b"<img src='/stream' alt='live picture' style='max-width:100%'>"
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: the terminal belongs to the decisions."""

        try:
            # Faces are nobody else's business: this machine only.
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OverflowError:
            raise InputError(f"page: port {port} cannot be used (expected 0 to 65535)") from None
        except OSError as error:
            raise InputError(f"page: port {port} cannot be used ({error.strerror or error})") from None
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def show(self, picture: Picture) -> bool:
        """Make this the live picture; always goes on."""
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])
        with self._changed:
            self._jpeg, self._number = data.tobytes(), self._number + 1
            self._changed.notify_all()
        return True

    def next_picture(self, after: int) -> tuple[int, bytes] | None:
        """Wait for a picture with a greater number than ``after``, and give it with its number; None when the page is
        closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._number > after)
            return None if self._closed else (self._number, self._jpeg)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
