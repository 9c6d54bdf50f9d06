"""The page in Chromium with two fake cameras.

Screenshots go to the folder in $STEREOLIVE_SCREENSHOTS, where it is set.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import httpx2
import numpy as np
import pytest

from stereolive import Rig
from stereolive.calibrate.boards import Board
from stereolive.calibrate.rendering import Look, random_poses, render_pair
from stereolive.demo import bundled_pairs
from stereolive.explain import SIGNS
from stereolive.quality import ADVICE

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
WEB = Path(__file__).parents[2] / "src/stereolive/serve/web"
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"
)
# A machine that is busy with other things still passes.
SLOW_MS = 180_000
playwright.expect.set_options(timeout=SLOW_MS)
FLAGS = [
    "--no-sandbox",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream=device-count=2",
    "--enable-unsafe-swiftshader",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=SLOW_MS)
        yield made
        made.close()


@pytest.fixture
def open_page(browser, live) -> Iterator[Callable[..., object]]:
    """Opens the page with its key; the test fails on any error in the page and on any request to another host."""
    contexts, faults = [], []

    def opened(address: str = live.page, script: str = "", **options: object) -> object:
        context = browser.new_context(reduced_motion="reduce", permissions=["camera"], **options)
        context.set_default_timeout(SLOW_MS)
        contexts.append(context)
        page = context.new_page()
        if script:
            page.add_init_script(script)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on(
            "request",
            lambda request: (
                faults.append(request.url) if not request.url.startswith((*hosts, "data:", "blob:")) else None
            ),
        )
        hosts = [address.partition("/page/")[0]]
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


def _shoot(page, name: str) -> None:
    folder = os.environ.get("STEREOLIVE_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def _choose_files(page, folder: Path, pair) -> None:
    for name, data in (("first.png", pair.first), ("second.png", pair.second), ("rig.json", pair.rig.encode())):
        (folder / name).write_bytes(data)
    page.get_by_role("radio", name="Two files").focus()
    page.keyboard.press("Space")
    page.set_input_files("#drop-first input", folder / "first.png")
    page.set_input_files("#drop-second input", folder / "second.png")
    page.set_input_files("#rig-file", folder / "rig.json")


LAYOUTS = {
    "desk": {"viewport": {"width": 1280, "height": 860}},
    "dark": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "is_mobile": True,
        "has_touch": True,
        "device_scale_factor": 2,
    },
}


@needs_chromium
@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_files_give_a_verdict_with_a_relief_that_turns(open_page, pair_number, tmp_path: Path, layout: str) -> None:
    page = open_page(**LAYOUTS[layout])
    page.wait_for_selector("#main:not([hidden])")
    # The key is taken out of the address at once.
    assert "key" not in page.url
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    _choose_files(page, tmp_path, pair_number(1))
    page.click("#check:enabled")
    page.wait_for_selector("#measures:not([hidden])")
    playwright.expect(page.locator("#verdict .word")).to_contain_text("A living face")
    playwright.expect(page.locator("#verdict .under")).to_contain_text("Took")
    playwright.expect(page.locator("#reasons li")).not_to_have_count(0)
    relief = page.locator("#relief")
    playwright.expect(relief).to_have_attribute("aria-label", re.compile("Depth of the face as a relief.*Distance"))
    _shoot(page, f"files-{layout}")
    relief.focus()
    page.keyboard.press("Home")
    before = relief.screenshot()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    turned = relief.screenshot()
    assert turned != before
    page.keyboard.press("Home")
    assert relief.screenshot() == before
    page.get_by_role("radio", name="Depth").check(force=True)
    assert relief.screenshot() != before
    _shoot(page, f"files-{layout}-depth")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@needs_chromium
def test_two_cameras_go_through_a_session(open_page, pair_number, tmp_path: Path) -> None:
    page = open_page(**LAYOUTS["desk"])
    (tmp_path / "rig.json").write_text(pair_number(1).rig, "utf-8")
    page.wait_for_selector("#main:not([hidden])")
    page.get_by_role("radio", name="Two cameras").check(force=True)
    page.set_input_files("#rig-file", tmp_path / "rig.json")
    page.click("#cameras-start")
    playwright.expect(page.locator("#check")).to_be_enabled()
    sizes = page.evaluate(
        "[...document.querySelectorAll('video')].map((video) => [video.videoWidth, video.videoHeight])"
    )
    assert sizes == [[640, 480], [640, 480]]
    with page.expect_response(re.compile(r"/v1/sessions/ses_.*/pairs")) as answer:
        page.click("#check")
    assert answer.value.status == 200
    playwright.expect(page.locator("#verdict .word")).to_contain_text("No answer")
    playwright.expect(page.locator("#reasons")).to_contain_text("no face is seen")
    _shoot(page, "cameras")
    page.get_by_role("radio", name="Two files").check(force=True)
    assert page.evaluate("document.getElementById('video-first').srcObject") is None


@needs_chromium
def test_without_a_key_the_page_asks_for_one(open_page, live) -> None:
    page = open_page(f"{live.address}/", **LAYOUTS["desk"])
    playwright.expect(page.get_by_label("API key")).to_be_focused()
    _shoot(page, "key")
    page.keyboard.type(live.key)
    page.keyboard.press("Enter")
    page.wait_for_selector("#main:not([hidden])")


@pytest.fixture(scope="module")
def released(start_service) -> object:
    """A service with the model that comes with the package."""
    return start_service("--page", model="")


@needs_chromium
def test_every_bundled_pair_is_one_press_away(open_page, released) -> None:
    """With the released model; which verdict it gives is not this test's business."""
    pairs = httpx2.get(f"{released.address}/page/gallery").json()
    assert len(pairs) > 8 and {pair["label"] for pair in pairs} == {"bona_fide", "attack"}
    words = json.loads((WEB / "strings.json").read_text("utf-8"))["en"]
    page = open_page(released.page, **LAYOUTS["desk"])
    page.wait_for_selector("#main:not([hidden])")
    playwright.expect(page.locator("#verdict li")).to_have_count(3)
    _shoot(page, "start")
    buttons = page.locator("#gallery button")
    playwright.expect(buttons).to_have_count(len(pairs))
    for number, pair in enumerate(pairs):
        button = buttons.nth(number)
        button.focus()
        with page.expect_response(re.compile("/v1/checks")) as answer:
            page.keyboard.press("Enter")
        assert answer.value.status == 200
        decision = answer.value.json()["decision"]
        playwright.expect(page.locator("#verdict .word")).to_contain_text(words[f"decision_{decision}"])
        right = {"no_response": "This example"}.get(decision, "Right" if decision == pair["label"] else "Wrong")
        playwright.expect(page.locator("#verdict .example")).to_contain_text(right)
        playwright.expect(button).to_have_attribute("aria-pressed", "true")
        playwright.expect(page.locator("#checked canvas")).to_have_count(2)
        if number in (0, len(pairs) - 1):
            _shoot(page, f"gallery-{number}")
    # Pressed before the last one is shown, the next is not lost.
    playwright.expect(page.locator("#verdict .busy")).to_have_count(0)
    first, last = buttons.nth(0), buttons.nth(len(pairs) - 1)
    first.click()
    last.click()
    playwright.expect(last).to_have_attribute("aria-pressed", "true")
    playwright.expect(page.locator("#verdict .busy")).to_have_count(0)
    playwright.expect(page.locator("#verdict .word")).to_contain_text(words[f"decision_{decision}"])


@needs_chromium
def test_the_page_is_used_with_the_keyboard_alone(open_page, pair_number, tmp_path: Path) -> None:
    page = open_page(**LAYOUTS["desk"])
    page.wait_for_selector("#gallery button")
    page.keyboard.press("Tab")
    playwright.expect(page.locator(".skip")).to_be_focused()
    _choose_files(page, tmp_path, pair_number(2))
    page.locator("#rig-file").focus()
    page.keyboard.press("Tab")
    playwright.expect(page.locator("#check")).to_be_focused()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#verdict .word")).to_contain_text("A living face")
    page.keyboard.press("Tab")
    playwright.expect(page.locator("#relief")).to_be_focused()
    # Whatever can be pressed says what it is.
    unnamed = page.evaluate(
        """[...document.querySelectorAll('button, input, select, canvas, a, progress')].filter((e) => !(
            e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.[0]?.textContent.trim()
            || e.getAttribute('aria-hidden'))).map((e) => e.outerHTML)"""
    )
    assert unnamed == []


@pytest.fixture(scope="module")
def board_pairs(rig: Rig) -> list[tuple[bytes, bytes]]:
    """PNGs of a ChArUco board before both sensors, in six places that count as different views."""
    random = np.random.default_rng(4)
    board = Board.parse("charuco")
    poses = random_poses(board, rig, 8, random)[:6]
    pairs = (render_pair(board, rig, pose, (Look(), Look()), random) for pose in poses)
    return [tuple(cv2.imencode(".png", image)[1].tobytes() for image in pair) for pair in pairs]


def _calibrate(open_page, live, layout: str, script: str = "") -> object:
    page = open_page(live.page.replace("/page/", "/page/calibrate.html"), script, **LAYOUTS[layout])
    page.wait_for_selector("#main:not([hidden])")
    return page


@needs_chromium
@pytest.mark.parametrize("layout", ["desk", "phone"])
def test_pictures_of_a_board_become_a_rig_to_check_with(open_page, live, board_pairs, tmp_path: Path, layout) -> None:
    page = _calibrate(open_page, live, layout)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    with page.expect_download() as board:
        page.click("#board-print")
    assert Path(board.value.path()).read_bytes().startswith(b"%PDF")
    page.get_by_role("radio", name="Pictures").check(force=True)
    paths: dict[str, list[Path]] = {"first": [], "second": []}
    for number, pair in enumerate(board_pairs):
        for view, data in zip(paths, pair, strict=True):
            path = tmp_path / f"{view}{number}.png"
            path.write_bytes(data)
            paths[view].append(path)
    for view in paths:
        page.set_input_files(f"#pictures-{view}", paths[view])
    playwright.expect(page.locator("#count")).to_have_text(f"{len(board_pairs)} of 15 views")
    playwright.expect(page.locator("#missing li")).not_to_have_count(0)
    page.click("#rig-make:enabled")
    playwright.expect(page.locator("#findings li")).not_to_have_count(0)
    _shoot(page, f"calibrate-{layout}")
    with page.expect_download() as made:
        page.click("#rig-save")
    rig = Rig.load(made.value.path())
    assert rig.baseline_mm == pytest.approx(40, rel=0.1)
    with page.expect_download() as report:
        page.click("#rig-report")
    assert "Expected depth error" in Path(report.value.path()).read_text("utf-8")
    # Six views are too few to be relied on; a rig that is good enough is handed on to the page that checks.
    playwright.expect(page.locator("#rig-use")).to_be_hidden()
    page.evaluate("(rig) => sessionStorage.setItem('stereolive-rig', rig)", json.dumps(rig.as_json()))
    page.goto(live.page.partition("#")[0])
    page.wait_for_selector("#gallery button")
    page.get_by_role("radio", name="Two files").check(force=True)
    playwright.expect(page.locator("#rig option:checked")).to_have_text("Calibrated here")


CAMERAS = """
// Two cameras that show what the test hands them.
const canvases = ["a", "b"].map(() => Object.assign(document.createElement("canvas"), { width: 640, height: 480 }));
window.hold = async (pictures) => {
  for (const [index, picture] of pictures.entries()) {
    const image = Object.assign(new Image(), { src: "data:image/png;base64," + picture });
    await image.decode();
    canvases[index].getContext("2d").drawImage(image, 0, 0);
  }
};
const devices = canvases.map((_, i) => ({ kind: "videoinput", deviceId: String(i), label: "camera " + i }));
navigator.mediaDevices.enumerateDevices = async () => devices;
navigator.mediaDevices.getUserMedia = async ({ video }) => {
  const canvas = canvases[Number(video.deviceId?.exact ?? 0)];
  // A canvas that nobody draws on sends no frames.
  setInterval(() => canvas.getContext("2d").drawImage(canvas, 0, 0), 50);
  return canvas.captureStream(20);
};
"""


@needs_chromium
def test_a_board_before_live_cameras_is_seen_and_its_views_are_taken(open_page, live, board_pairs) -> None:
    page = _calibrate(open_page, live, "desk", CAMERAS)
    held = [[base64.b64encode(image).decode() for image in pair] for pair in board_pairs[:2]]
    page.evaluate("hold", held[0])
    page.click("#cameras-start")
    playwright.expect(page.locator("#count")).to_have_text("1 of 15 views")
    playwright.expect(page.locator("#guide")).to_contain_text("board")
    missing = page.locator("#missing li").count()
    _shoot(page, "calibrate-live")
    page.evaluate("hold", held[1])
    playwright.expect(page.locator("#count")).to_have_text("2 of 15 views")
    assert page.locator("#missing li").count() < missing
    page.click("#cameras-stop")
    assert page.evaluate("document.getElementById('video-first').srcObject") is None
    page.click("#over")
    playwright.expect(page.locator("#rig-make")).to_be_disabled()


def test_everything_on_the_pages_has_a_name_and_every_word_is_in_the_strings() -> None:
    words = json.loads((WEB / "strings.json").read_text("utf-8"))["en"]
    scripts = "".join(path.read_text("utf-8") for path in WEB.glob("*.js"))
    pages = {path.name: path.read_text("utf-8") for path in WEB.glob("*.html")}
    assert set(pages) == {"index.html", "calibrate.html"}
    used = set(re.findall(r'data-(?:text|label)="(\w+)"', "".join(pages.values())))
    used |= set(re.findall(r'\btext\("(\w+)"', scripts)) | set(re.findall(r'"(check_needs_\w+)"', scripts))
    used |= {f"decision_{code}" for code in ("bona_fide", "attack", "no_response")}
    used |= {f"measure_{name}" for name in re.search(r"MEASURES = \[(.*)\]", scripts)[1].replace('"', "").split(", ")}
    used |= {f"example_{how}" for how in ("right", "wrong", "open")} | {f"intro_{step}" for step in (1, 2, 3)}
    used |= {f"views_{sees}" for sees in ("first_only", "second_only", "none")}
    bundled = bundled_pairs()
    used |= {f"species_{pair.pai_species or 'living'}" for pair in bundled}
    used |= {f"light_{pair.illumination}" for pair in bundled}
    assert used == set(words)
    for html in pages.values():
        # No word outside the strings but names, and what is said without JavaScript.
        assert set(re.findall(r">\s*([A-Za-z][^<]*)<", html.split("<body>")[1])) <= {
            "stereolive",
            "This page needs JavaScript.",
            "A4",
            "A3",
            "Letter",
        }


def test_every_reason_has_a_sentence(make_client) -> None:
    sentences = make_client().get("/page/reasons").json()
    assert {*SIGNS, *ADVICE, "internal_error"} == set(sentences)
    assert all(" " in sentence for sentence in sentences.values())


def test_the_page_calls_no_other_host() -> None:
    for path in WEB.iterdir():
        found = re.findall(r"(?:https?:)?//[\w.]+\.\w+", path.read_text("utf-8"))
        assert set(found) <= {"http://www.w3.org"}, path
