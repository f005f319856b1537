"""The page of `bench web`, driven in a real browser: Chromium, if the machine has one."""

import io
import json
import re
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import chromium
import numpy as np
import pytest
from kit import METHODS, Command, commands, make_world, until, write_study
from PIL import Image

pytestmark = chromium.needs_chromium
SLOW = '''

class Slow(Shift):
    """Restores nothing as long as a file named wait is there."""

    def forward(self, lr):
        while not self.training and os.path.exists("wait"):
            time.sleep(0.01)
        return super().forward(lr)
'''
WAIT = 30_000
"""Milliseconds."""
TIMES = "\N{MULTIPLICATION SIGN}"


def png(level: int = 100, side: int = 64, noise: bool = False) -> bytes:
    """A picture of one gray, or of it and noise."""
    values = np.full((side, side, 3), level, np.uint8)
    if noise:
        values += np.random.default_rng(0).integers(0, 100, values.shape, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def file(name: str, content: bytes | None = None) -> dict[str, Any]:
    return {"name": name, "mimeType": "image/png", "buffer": content or png()}


def serve(world: Path, *more: str, home: Path | None = None) -> tuple[Command, str]:
    """The running command and the page's address."""
    command = commands().start(world, "web", "--no-browser", *more, home=home)
    out = command.folder / "out"
    found = until(lambda: out.exists() and re.search(r"http://\S+", out.read_text()), "its address")
    return command, found[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a study of two trained methods; one of them can be told to wait."""
    folder = make_world(tmp_path_factory.mktemp("web") / "world")
    (folder / "nets.py").write_text(METHODS + SLOW)
    methods = (
        "bicubic: {use: methods.classical.Bicubic}\n"
        "shift: {use: nets.Shift}\nslow: {use: nets.Slow}"
    )
    write_study(folder, methods, budget="{sampler: grid}", select="",
                evaluate="{datasets: [bsd100], metrics: [psnr_y], pictures: all}")  # fmt: skip
    ended = commands().run(folder, "sweep", "tiny.yaml", "--workers", "1")
    assert ended.status == 0, ended.err
    return folder


@pytest.fixture(scope="module")
def address(world: Path) -> Iterator[str]:
    command, found = serve(world, "--port", "0")
    yield found
    command.kill(signal.SIGTERM)
    command.wait()


@pytest.fixture
def held(world: Path) -> Iterator[Path]:
    """The file as long as which the method "slow" waits."""
    file = world / "wait"
    file.touch()
    yield file
    file.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium.opened() as found:
        yield found


def ask(address: str, path: str, method: str = "GET", body: bytes | None = None) -> Any:
    headers = {"X-Bench": "1", "X-Name": "gray.png"}
    request = urllib.request.Request(address + path, method=method, headers=headers, data=body)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page with no picture."""
    for picture in ask(address, "api/state")["pictures"]:
        ask(address, f"api/pictures/{picture['id']}", "DELETE")
    with opened(browser, address) as page:
        page.locator("body.empty .row").first.wait_for()
        yield page


@contextmanager
def opened(browser: Any, address: str, place: str = "") -> Iterator[Any]:
    """A page; fails a test in which it asks others for anything, or reports an error."""
    page = browser.new_page(viewport={"width": 1280, "height": 850})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on(
        "request",
        lambda asked: asked.url.startswith((address, f"blob:{address}")) or wrong.append(asked.url),
    )
    page.goto(address + place)
    yield page
    page.close()
    assert wrong == []


def add(page: Any, *files: dict[str, Any]) -> None:
    """Chooses files, and waits until each has been read."""
    page.locator("#files").set_input_files(list(files))
    page.locator(".card .thumb img").nth(len(files) - 1).wait_for(timeout=WAIT)


def choose(page: Any, *names: str) -> None:
    for row in page.locator(".row").all():
        name = row.locator("b").first.inner_text()
        row.locator("input").set_checked(name in names, force=True)


def enhance(page: Any, *names: str) -> None:
    choose(page, *names)
    page.locator("#go").click()


def done(page: Any, count: int) -> None:
    page.locator("tr.done a[title=Download]").nth(count - 1).wait_for(timeout=WAIT)


def pixel(stage: Any, across: float, down: float) -> int:
    """Red on the screen, at a part of the stage."""
    shot = Image.open(io.BytesIO(stage.screenshot())).convert("RGB")
    return shot.getpixel((int(across * shot.width), int(down * shot.height)))[0]  # type: ignore[index, return-value]


# Enhance


def test_two_pictures_are_enhanced_by_bicubic_and_a_trial_opened_and_taken_home(page: Any) -> None:
    add(page, file("one.png", png(noise=True, side=128)), file("two.png"))
    enhance(page, "bicubic", "shift")
    done(page, 4)
    cards = page.locator(".card")
    assert sorted(cards.locator("h2").all_inner_texts()) == ["one.png", "two.png"]
    one = cards.filter(has_text="one.png")
    assert one.locator("tbody th .name").all_inner_texts() == ["input", "shift", "bicubic"]
    assert f"256{TIMES}256" in one.locator("tr.done").nth(1).inner_text()
    niqe = one.locator("tr.done").nth(2).locator("td[data-label=NIQE]").inner_text()
    assert float(niqe.split()[0]) > 0
    with page.expect_popup() as popup:
        one.locator(".thumb a").nth(2).click()
    shown = popup.value
    assert shown.locator("img").evaluate("image => image.naturalWidth") == 256
    shown.close()
    with page.expect_download() as saved:
        one.get_by_label("Download bicubic of one.png").click()
    assert saved.value.suggested_filename.endswith(".png")
    with Image.open(saved.value.path()) as picture:
        assert picture.size == (256, 256)
    with page.expect_download() as saved:
        page.get_by_role("link", name="Download all").click()
    assert saved.value.suggested_filename.endswith(".zip")
    one.get_by_label("Scores and provenance of bicubic").click()
    assert "bench restore" in page.locator("dialog").inner_text()
    page.keyboard.press("Escape")
    assert "4 of 4 results ready" in page.locator("#heard").inner_text()


def test_an_image_of_a_set_is_scored_against_its_original(page: Any) -> None:
    form = page.locator("#sample")
    form.locator("select").first.select_option(label="set14")
    form.get_by_role("button", name="Add").click()
    page.locator(".card .thumb img").nth(1).wait_for(timeout=WAIT)
    enhance(page, "bicubic")
    done(page, 1)
    value = page.locator("tr.done").nth(2).locator("td[data-label=PSNR-Y]").inner_text()
    assert 20 < float(value.split()[0]) < 80
    assert "original" in page.locator("tbody th .name").all_inner_texts()
    assert "against the original under sr-y@1" in page.locator(".under").inner_text()


def test_work_goes_on_when_the_page_is_loaded_again_and_ends_when_it_is_cancelled(
    page: Any, held: Path
) -> None:
    add(page, file("one.png"), file("two.png"))
    enhance(page, "slow")
    page.locator("progress:visible").wait_for(timeout=WAIT)
    assert re.match(r"1 running, \d waiting", page.locator("#queue").inner_text())
    page.reload()
    page.locator("progress:visible").wait_for(timeout=WAIT)
    assert page.locator("tr.pending").count() == 2
    page.locator("tr.pending").filter(has_text="waiting").get_by_role("button").click()
    page.get_by_text("Cancelled.").wait_for(timeout=WAIT)
    page.get_by_role("button", name="Cancel all").click()
    page.get_by_text("Cancelled.").nth(1).wait_for(timeout=WAIT)
    held.unlink()
    page.locator("#queue").wait_for(state="hidden")


# What cannot be taken


def test_what_is_no_picture_or_too_large_is_told_in_a_sentence(page: Any, tmp_path: Path) -> None:
    wide = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(wide, "PNG")
    page.locator("#files").set_input_files(
        [file("broken.png", b"no picture"), file("wide.png", wide.getvalue())]
    )
    page.locator(".card.refused").nth(1).wait_for(timeout=WAIT)
    told = dict(
        zip(
            page.locator(".refused h2").all_inner_texts(),
            page.locator(".refused .state").all_inner_texts(),
            strict=True,
        )
    )
    assert "PNG" in told["broken.png"] and "pixels" in told["wide.png"]
    assert page.locator("#go").is_disabled()
    heavy = tmp_path / "heavy.png"
    with heavy.open("wb") as sparse:
        sparse.truncate(64_000_001)
    page.locator("#files").set_input_files([heavy, tmp_path / "notes.txt"][:1])
    note = page.locator("#notes li")
    assert note.inner_text().startswith("heavy.png: 64 MB are too many")
    note.get_by_role("button").click()
    assert note.count() == 0


def test_names_are_text_and_never_markup(page: Any) -> None:
    names = ["<img src=x onerror=alert(1)>.png", '"><svg onload=alert(2)>.png']
    add(page, *map(file, names))
    assert sorted(page.locator(".card h2").all_inner_texts()) == sorted(names)
    assert page.locator(".card h2 *").count() == 0
    page.locator("#files").set_input_files([file(names[0], b"nothing")])
    page.locator(".card.refused").wait_for(timeout=WAIT)
    assert page.locator("img[src=x]").count() == 0


# Compare


@pytest.fixture(scope="module")
def gray(address: str) -> str:
    """The id of an input of gray 100, with an original of gray 200 and twice the size."""
    picture = ask(address, "api/pictures", "POST", png(100, 64))["id"]

    def state() -> Any:
        return next(one for one in ask(address, "api/state")["pictures"] if one["id"] == picture)

    until(lambda: state()["state"] == "ready")
    ask(address, f"api/pictures/{picture}/original", "POST", png(200, 128))
    until(lambda: state()["original_image"])
    return str(picture)


@pytest.fixture
def pair(browser: Any, address: str, gray: str) -> Iterator[Any]:
    """Their comparison."""
    with opened(browser, address, f"#/compare/{gray}") as page:
        page.get_by_text(f"drawn at 128{TIMES}128").wait_for(timeout=WAIT)
        yield page


def test_the_slider_goes_by_mouse_and_by_key(pair: Any) -> None:
    stage, ruler = pair.locator(".compare-stage"), pair.locator(".compare input[type=range]")
    assert (pixel(stage, 0.45, 0.5), pixel(stage, 0.55, 0.5)) == (100, 200)
    box = stage.bounding_box()
    pair.mouse.move(box["x"] + box["width"] / 2, box["y"] + 200)
    pair.mouse.down()
    pair.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 200)
    pair.mouse.up()
    assert pixel(stage, 0.55, 0.5) == 100
    ruler.press("Home")
    assert pixel(stage, 0.45, 0.5) == 200
    assert ruler.get_attribute("aria-valuetext") == "0 % input, the rest original"
    assert (
        f"input is 64{TIMES}64, drawn at 128{TIMES}128"
        in pair.locator(".compare-told").inner_text()
    )


def test_keys_change_the_way_of_comparing_and_the_address_keeps_it(pair: Any) -> None:
    pair.keyboard.press("d")
    told = pair.locator(".compare-told")
    until(lambda: "Largest 100, mean 100.00 levels" in told.inner_text())
    middle = "c => [...c.getContext('2d').getImageData(60, 60, 1, 1).data]"
    # 4 times 100 levels are more than 255: white
    assert pair.locator(".compare-stage canvas").evaluate(middle) == [255, 255, 220, 255]
    for key in "n+++":
        pair.keyboard.press(key)
    before = pair.locator(".compare-percent").inner_text()
    kept = re.compile(r"mode=beside&zoom=([0-9.]+)")

    def is_kept() -> bool:
        found = kept.search(pair.evaluate("location.hash"))
        return found is not None and f"{100 * float(found[1]):.0f} %" == before

    until(is_kept, "the zoom in the address")
    assert pair.locator(".compare-mini").is_visible()
    pair.reload()
    pair.locator(".compare-mini").wait_for()
    assert pair.locator(".compare-percent").inner_text() == before
    assert pair.locator("button[data-key=beside]").get_attribute("aria-pressed") == "true"
    pair.goto(pair.url.replace("mode=beside", "mode=split&at=25"))
    pair.locator(".compare-rule").wait_for()
    assert pair.locator(".compare input[type=range]").input_value() == "25"
    pair.go_back()
    pair.locator(".compare-rule").wait_for(state="hidden")
    styles = [
        img.evaluate("e => e.style.transform") for img in pair.locator(".compare-pane img").all()
    ]
    assert styles[0] == styles[1], "both show the same place"


def test_blinking_stands_still_for_who_wants_no_motion(pair: Any) -> None:
    pair.keyboard.press("b")
    told = pair.locator(".compare-told")
    until(lambda: told.inner_text().startswith("now input"))
    until(lambda: told.inner_text().startswith("now original"))
    assert told.get_attribute("aria-live") == "off"
    pair.emulate_media(reduced_motion="reduce")
    pair.keyboard.press("s")
    pair.keyboard.press("b")
    first = told.inner_text()
    pair.wait_for_timeout(700)
    assert told.inner_text() == first
    pair.keyboard.press("Space")
    assert told.inner_text() != first


def test_a_figure_of_all_pictures_is_saved_and_copied(pair: Any) -> None:
    with pair.expect_download() as saved:
        pair.get_by_role("button", name="Save figure").click()
    with Image.open(saved.value.path()) as figure:
        # two pictures of 128, each pixel a square of two, and 8 between them
        assert figure.width == 2 * 256 + 8 and figure.height > 256
        assert figure.convert("RGB").getpixel((256 + 8 + 9, 9)) == (200,) * 3
    pair.context.grant_permissions(["clipboard-read", "clipboard-write"])
    pair.get_by_role("button", name="Copy figure").click()
    until(lambda: "in the clipboard" in pair.locator(".compare-told").inner_text())
    kinds = pair.evaluate("async () => (await navigator.clipboard.read()).flatMap(i => i.types)")
    assert "image/png" in kinds


# Studies


def test_a_study_has_its_report_and_its_pictures_best_or_worst_first(page: Any) -> None:
    page.get_by_role("link", name="Studies").click()
    with page.expect_popup() as popup:
        page.get_by_role("link", name="Open the report").click()
    popup.value.locator("table.scores").first.wait_for()
    popup.value.close()
    page.get_by_role("link", name="Pictures of bsd100").click()
    page.locator(".scene").first.wait_for()

    def values() -> list[float]:
        texts = page.locator(".scene").first.locator("figcaption b").all_inner_texts()
        return [float(text.split()[0]) for text in texts]

    falling = values()
    assert len(falling) == 3 and falling == sorted(falling, reverse=True)
    page.get_by_label("Order").select_option("worst")
    rising = values()
    assert rising == sorted(rising) and rising[-1] < falling[0], "the other image, the worst first"
    page.locator(".scene figure a").nth(1).click()
    page.locator(".compare-stage").wait_for()
    assert page.locator(".compare-bar select").first.locator("option").count() == 4
    before = page.locator("#view h1").inner_text()
    page.keyboard.press("ArrowDown")
    until(lambda: page.locator("#view h1").inner_text() != before)


# Everybody


def test_all_is_done_by_keys_alone(page: Any) -> None:
    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"no way to {selector}")

    page.on("filechooser", lambda chooser: chooser.set_files([file("one.png")]))
    tab_to("#choose")
    page.keyboard.press("Enter")
    page.locator(".card .thumb img").wait_for(timeout=WAIT)
    tab_to("input[name=scale]")
    tab_to(".row input")
    choose(page, "bicubic")
    tab_to("#go")
    page.keyboard.press("Enter")
    done(page, 1)
    tab_to(".compare-link")
    page.keyboard.press("Enter")
    page.locator(".compare-stage").wait_for()
    tab_to("input[type=range]")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".compare input[type=range]").input_value() == "49.5"


CONTRAST = """() => {
  const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
    .getContext("2d", { willReadFrequently: true });
  const rgba = (text) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = text;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => colour.slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!text || !e.checkVisibility() || e.closest(".unseen, :disabled, option")) continue;
    const [a, b] = [light(rgba(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${e.tagName} ${e.className} ${e.textContent}: ${ratio}`);
  }
  return found;
}"""
SMALL = """() => [...document.querySelectorAll("button, a, select, input:not([hidden]), summary")]
  .filter((e) => e.checkVisibility() && !e.closest("[hidden], .unseen, p.quiet"))
  .filter((e) => e.type !== "checkbox" && e.type !== "radio") // their labels are pressed
  .map((e) => [e.outerHTML.slice(0, 80), e.getBoundingClientRect()])
  .filter(([, box]) => box.width < 24 || box.height < 24).map(([html]) => html)"""


def test_every_text_has_contrast_and_every_control_a_size_on_every_screen(page: Any) -> None:
    add(page, file("a_long_name_of_a_picture_from_a_telephone.png"))
    enhance(page, "bicubic")
    done(page, 1)
    page.locator("#files").set_input_files([file("broken.png", b"nothing")])
    page.locator(".card.refused").wait_for(timeout=WAIT)
    compare = page.locator(".compare-link:visible").get_attribute("href")
    for place in ("#/", "#/studies", "#/studies/tiny/bsd100", compare):
        page.goto(page.url.split("#")[0] + place)
        page.locator(".card:visible, .scene:visible, .compare-stage:visible").first.wait_for()
        for width in (1280, 320):
            page.set_viewport_size({"width": width, "height": 640})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, place
            assert page.evaluate(SMALL) == [], (place, width)
            for face in ("light", "dark"):
                page.emulate_media(color_scheme=face)
                assert page.evaluate(CONTRAST) == [], (place, width, face)
        page.set_viewport_size({"width": 1280, "height": 850})


def test_the_switch_between_light_and_dark_is_kept(page: Any) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    page.get_by_label("Theme").select_option("dark")
    assert page.evaluate(paper) == "rgb(13, 17, 23)"
    page.reload()
    page.locator(".row").first.wait_for()
    assert page.evaluate(paper) == "rgb(13, 17, 23)"


def test_the_page_is_light(browser: Any, address: str) -> None:
    """Below 100 kB in all, of the 400 that are allowed."""
    page, sizes = browser.new_page(), {}
    page.on(
        "response", lambda answer: sizes.update({answer.url: answer.headers.get("content-length")})
    )
    page.goto(address)
    page.locator(".row").first.wait_for()
    page.close()
    files = [int(size) for url, size in sizes.items() if "/api" not in url]
    assert len(files) > 8 and all(files) and sum(files) < 100_000


def test_a_page_says_when_its_server_is_gone_and_when_it_is_back(browser: Any, world: Path) -> None:
    home = commands().blank(world / "other-home")
    command, address = serve(world, "--port", "0", home=home)
    page = browser.new_page()
    page.goto(address)
    page.locator("body.empty .row").first.wait_for()
    page.locator("#files").set_input_files([file("one.png")])
    page.locator(".card .thumb img").wait_for(timeout=WAIT)
    command.kill(signal.SIGTERM)
    command.wait()
    page.get_by_text("The connection to the server is lost").wait_for(timeout=WAIT)
    command, _ = serve(world, "--port", address.rstrip("/").rpartition(":")[2], home=home)
    page.locator("#lost").wait_for(state="hidden", timeout=WAIT)
    assert page.locator(".card h2").all_inner_texts() == ["one.png"]
    page.close()
    command.kill(signal.SIGTERM)
    command.wait()
