"""A report's page, driven in a real browser: Chromium, if the machine has one."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.records.cell import Cell, Score, UsedDataset
from bench.report.render import render
from bench.study.fields import Study

pytestmark = chromium.needs_chromium
SIDE = 100
PSNR = {"flat": 30.0, "bright": 20.0, "best": 40.0, "none": None}
"""In the study's order."""


def picture(change: int) -> NDArray[np.uint8]:
    """Gray 100, but for a white pixel at 40 across, 60 down; `change` levels brighter."""
    pixels = np.full((SIDE, SIDE, 3), 100 + change, np.uint8)
    pixels[60, 40] = 255
    return pixels


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a study of four rows, of which three have pictures."""
    folder = tmp_path_factory.mktemp("page")
    study = Study(
        name="shown",
        task={"kind": "super-resolution", "scale": 2},  # type: ignore[arg-type]
        methods={name: {"use": f"methods.{name}"} for name in PSNR},  # type: ignore[misc]
        evaluate={"datasets": ["set5"], "metrics": ["psnr_y", "lpips", "ssim_y"]},  # type: ignore[arg-type]
    )
    cells = []
    for name, value in PSNR.items():
        scores = [Score("set5", 2, "a", "psnr_y", "sr-y@1", value)] if value else []
        scores += (
            [Score("set5", 2, "b", "psnr_y", "sr-y@1", min(2 * value - 32, 40))] if value else []
        )
        scores += [Score("set5", 2, "a", "lpips", "sr-y@1", 50 - value)] if value else []
        cells.append(
            Cell(
                study="shown",
                method=name,
                use=f"methods.{name}",
                trial=None,
                seed=0,
                attempt=0,
                state="complete",
                parameters={"width": 8},
                fingerprint="feed" * 4,
                scores=scores,
                run_id="0123abcd",
                started="2026-01-02T03:04:05",
                datasets={
                    "set5": UsedDataset(fingerprint="beef", count=1, official=5, source="bicubic")
                },
                environment={
                    "commit": "c0ffee" * 7,
                    "tree": "dirty",
                    "torch": "9.9",
                    "host": "here",
                },
            )
        )
    changes = {"reference": 0, "flat-s0": 10, "bright-s0": 100, "best-s0": 1}
    for name, change in changes.items():
        file = folder / "pictures" / name / "set5" / "a.png"
        file.parent.mkdir(parents=True)
        Image.fromarray(picture(change)).save(file)
    return render(study, cells, folder / "pictures", folder / "out")["report.html"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium.opened() as found:
        yield found


@pytest.fixture
def page(browser: Any, page_file: Path) -> Iterator[Any]:
    """The page, opened; fails a test whose page asks for anything or reports an error."""
    opened = browser.new_page(viewport={"width": 1000, "height": 900})
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on(
        "request",
        lambda asked: (
            asked.url.startswith(("data:", page_file.as_uri())) or wrong.append(asked.url)
        ),
    )
    opened.goto(page_file.as_uri())
    yield opened
    opened.close()
    assert wrong == []


def rows(page: Any) -> list[str]:
    shown = page.locator("table.scores tbody tr:visible td:first-child")
    return [str(text).split(" ")[0] for text in shown.all_inner_texts()]


def pixel(stage: Any, across: float, down: float) -> tuple[int, ...]:
    """Colour on the screen, at a part of the stage."""
    shot = Image.open(io.BytesIO(stage.screenshot())).convert("RGB")
    return shot.getpixel((int(across * shot.width), int(down * shot.height)))  # type: ignore[return-value]


# Tables


def test_a_column_sorts_best_first_then_worst_first_then_as_the_study_has_it(page: Any) -> None:
    psnr = page.locator("table.scores th button", has_text="PSNR")
    psnr.click()
    assert rows(page) == ["best", "flat", "bright", "none"], "more is better, a dash is last"
    psnr.click()
    assert rows(page) == ["bright", "flat", "best", "none"]
    psnr.click()
    assert rows(page) == list(PSNR)
    page.locator("table.scores th button", has_text="LPIPS").click()
    assert rows(page) == ["best", "flat", "bright", "none"], "less is better"


def test_rows_are_filtered_and_columns_hidden(page: Any) -> None:
    page.get_by_label("Filter rows").first.fill("fl")
    assert rows(page) == ["flat"]
    assert page.get_by_role("status").first.inner_text() == "1 of 4 rows"
    page.get_by_text("Columns").first.click()
    page.get_by_label("LPIPS").first.uncheck()
    heads = page.locator("table.scores thead tr:last-child th:visible").all_inner_texts()
    assert [head.split(" ")[0] for head in heads] == ["method", "PSNR-Y", "SSIM-Y"]
    assert page.locator("table.scores thead th[colspan]").first.get_attribute("colspan") == "2"


def test_a_number_says_where_it_comes_from_and_what_makes_it_again(page: Any) -> None:
    page.locator("table.scores td[data-row]").first.click()
    told = page.locator("dialog").inner_text()
    assert "flat" in told and "= 29.00" in told, "of 30 and 28"
    for fact in (
        "1/5 images",
        "beef",
        "sr-y@1",
        "0123abcd",
        "with uncommitted changes",
        "torch 9.9",
    ):
        assert fact in told
    assert (
        "bench eval methods.flat --datasets set5 --scale 2 --metrics psnr_y --protocol sr-y@1"
        in told
    )
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()


def test_numbers_are_reached_by_keys(page: Any) -> None:
    page.locator("table.scores td[data-row]").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    assert "best" in page.locator("dialog h2").inner_text()
    assert "LPIPS" in page.locator("dialog h2").inner_text()


# Pictures


def test_the_slider_parts_two_pictures_by_mouse_and_by_key(page: Any) -> None:
    compare = page.locator(".compare")
    stage, choices = compare.locator(".compare-stage"), compare.locator("select")
    assert choices.nth(0).locator("option").all_inner_texts() == ["HR", "flat", "bright", "best"]
    choices.nth(1).select_option(label="bright")
    assert pixel(stage, 0.45, 0.3) == (100,) * 3 and pixel(stage, 0.55, 0.3) == (200,) * 3
    box = stage.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 3
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], middle[1])
    page.mouse.up()
    assert pixel(stage, 0.55, 0.3) == (100,) * 3, "the rule has gone to the right"
    ruler = compare.locator("input[type=range]")
    ruler.press("Home")
    assert pixel(stage, 0.45, 0.3) == (200,) * 3
    assert ruler.get_attribute("aria-valuetext") == "0 % HR, the rest bright"


def test_keys_step_through_the_pictures(page: Any) -> None:
    stage = page.locator(".compare-stage")
    stage.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    chosen = [choice.input_value() for choice in page.locator(".compare select").all()]
    assert chosen == ["1", "2"]
    page.keyboard.press("4")
    assert page.locator(".compare select").nth(1).input_value() == "3"


def test_the_difference_is_a_map_of_the_levels_between_two_pictures(page: Any) -> None:
    page.locator("button[data-key=difference]").click()
    page.locator("button[data-key='1']").click()
    value = page.evaluate(
        "() => [...document.querySelector('.compare-stage canvas').getContext('2d')"
        ".getImageData(3, 3, 1, 1).data]"
    )
    # 10 levels of 255 lie at 0.157 between black and (70, 20, 110)
    assert value == [11, 3, 17, 255]
    assert "black 0, white 255 levels" in page.locator(".compare-told").inner_text()


def test_a_pixel_is_a_square_when_it_is_large_and_both_sides_show_the_same_place(page: Any) -> None:
    stage = page.locator(".compare-stage")
    page.locator("button[data-key=beside]").click()
    stage.focus()
    for _ in range(12):
        page.keyboard.press("+")
    layers = page.locator(".compare-stage img")
    styles = [layer.evaluate("e => [e.style.transform, e.style.width]") for layer in layers.all()]
    assert styles[0] == styles[1]
    assert layers.first.evaluate("e => getComputedStyle(e).imageRendering") == "pixelated"
    before = styles[0][0]
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 120)
    page.mouse.up()
    after = [layer.evaluate("e => e.style.transform") for layer in layers.all()]
    assert after[0] == after[1] != before
    page.keyboard.press("0")
    assert layers.first.evaluate("e => e.style.transform") != after[0]


def test_the_wheel_zooms_to_the_pointer(page: Any) -> None:
    """What lies below the pointer stays there: the white pixel at (0.4, 0.6) of the picture."""
    stage = page.locator(".compare-stage")
    page.locator("select").nth(1).select_option(label="HR")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    side = box["height"]  # the picture is as high as the stage, and in its middle
    x = box["x"] + box["width"] / 2 + (0.405 - 0.5) * side
    y = box["y"] + 0.605 * side
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    for _ in range(3):
        page.mouse.wheel(0, -120)
    page.keyboard.up("Control")
    page.wait_for_timeout(100)
    place = ((x - box["x"]) / box["width"], (y - box["y"]) / box["height"])
    assert pixel(stage, *place) == (255,) * 3


def test_all_pictures_are_shown_at_the_same_place(page: Any) -> None:
    stage = page.locator(".compare-stage")
    page.locator("button[data-key=all]").click()
    page.get_by_role("button", name="Larger").click()
    cells = page.locator(".compare-cells img")
    styles = {cell.evaluate("e => e.style.transform + e.style.width") for cell in cells.all()}
    assert cells.count() == 4 and len(styles) == 1
    assert page.locator(".compare-cells .compare-name").all_inner_texts() == [
        "HR", "flat", "bright", "best",
    ]  # fmt: skip
    # in two columns and rows, each in a quarter of the stage
    seen = [pixel(stage, x, y)[0] for y in (0.3, 0.8) for x in (0.3, 0.8)]
    assert seen == [100, 110, 200, 101]
    page.keyboard.press("s")
    assert cells.count() == 0


def test_what_is_seen_is_saved_side_by_side(page: Any) -> None:
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save what is seen as a picture").click()
    with Image.open(saved.value.path()) as file:
        assert file.size == (2 * SIDE + 4, SIDE)
        assert file.convert("RGB").getpixel((3, 3)) == (100,) * 3
        assert file.convert("RGB").getpixel((SIDE + 7, 3)) == (110,) * 3


def test_a_point_of_a_figure_says_its_image_and_value_under_the_pointer(page: Any) -> None:
    """Of "flat" 28 dB on b, of "best" 40 there."""
    drawn = page.locator("figure > svg").first
    drawn.scroll_into_view_if_needed()
    point = drawn.locator("use[aria-label='b, flat: -12']")
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.locator(".answer").inner_text() == "b, flat: -12"
    page.mouse.move(5, 5)
    assert not page.locator(".answer").is_visible()


# All faces


def test_on_a_phone_nothing_but_tables_is_wider_than_the_screen(page: Any) -> None:
    page.set_viewport_size({"width": 320, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_the_dark_face_has_light_ink(page: Any) -> None:
    page.emulate_media(color_scheme="dark")
    ink, paper = (
        page.evaluate(f"getComputedStyle(document.body).{name}")
        for name in ("color", "backgroundColor")
    )
    assert (ink, paper) == ("rgb(230, 237, 243)", "rgb(13, 17, 23)")


def test_without_scripts_and_on_paper_tables_and_pictures_are_there(
    browser: Any, page_file: Path
) -> None:
    plain = browser.new_page(java_script_enabled=False)
    plain.goto(page_file.as_uri())
    assert plain.locator("table.scores tbody tr").count() == 4
    assert plain.locator(".compare > figure img:visible").count() == 4
    plain.close()
    printed = browser.new_page()
    printed.goto(page_file.as_uri())
    printed.emulate_media(media="print")
    assert printed.locator(".compare > figure img:visible").count() == 4
    assert printed.locator(".controls:visible, .compare-stage:visible").count() == 0
    printed.close()


def test_the_page_itself_is_small(page_file: Path) -> None:
    """At most 3 MB beside its pictures and figures."""
    text = page_file.read_text()
    assert sum(len(part) for part in text.split('src="data:')[0:1]) < 100_000
    assert len(text) < 3_000_000
