"""The page in Chromium with two fake cameras.

Screenshots go to the folder in $STEREOLIVE_SCREENSHOTS, where it is set.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

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

    def opened(address: str = live.page, **options: object) -> object:
        context = browser.new_context(reduced_motion="reduce", permissions=["camera"], **options)
        context.set_default_timeout(SLOW_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on(
            "request",
            lambda request: (
                faults.append(request.url) if not request.url.startswith((live.address, "data:", "blob:")) else None
            ),
        )
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


@needs_chromium
def test_the_bundled_pairs_are_one_press_away(open_page, live) -> None:
    pairs = httpx2.get(f"{live.address}/page/gallery").json()
    page = open_page(**LAYOUTS["desk"])
    page.wait_for_selector("#main:not([hidden])")
    if not pairs:
        playwright.expect(page.locator("#source-gallery")).to_contain_text("without example pairs")
        pytest.skip("this installation comes without the bundled pairs")
    playwright.expect(page.locator("#gallery button")).to_have_count(len(pairs))
    page.locator("#gallery button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#measures:not([hidden])")
    page.wait_for_timeout(300)
    _shoot(page, "gallery")


def test_everything_on_the_page_has_a_name_and_every_word_is_in_the_strings() -> None:
    words = json.loads((WEB / "strings.json").read_text("utf-8"))["en"]
    html = (WEB / "index.html").read_text("utf-8")
    scripts = "".join(path.read_text("utf-8") for path in WEB.glob("*.js"))
    used = set(re.findall(r'data-(?:text|label)="(\w+)"', html)) | set(re.findall(r'\btext\("(\w+)"', scripts))
    used |= {f"decision_{code}" for code in ("bona_fide", "attack", "no_response")}
    used |= {f"measure_{name}" for name in re.search(r"MEASURES = \[(.*)\]", scripts)[1].replace('"', "").split(", ")}
    assert used == set(words)
    # No word outside the strings but the name, and what is said without JavaScript.
    assert set(re.findall(r">\s*([A-Za-z][^<]*)<", html.split("<body>")[1])) == {
        "stereolive",
        "This page needs JavaScript.",
    }


def test_every_reason_has_a_sentence(make_client) -> None:
    sentences = make_client().get("/page/reasons").json()
    assert {*SIGNS, *ADVICE, "internal_error"} == set(sentences)
    assert all(" " in sentence for sentence in sentences.values())


def test_the_page_calls_no_other_host() -> None:
    for path in WEB.iterdir():
        found = re.findall(r"(?:https?:)?//[\w.]+\.\w+", path.read_text("utf-8"))
        assert set(found) <= {"http://www.w3.org"}, path
