"""Marks and intervals: against SciPy, hand-worked cases, and simulations of equal methods."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bench.records.cell import Cell, Score
from bench.report.latex import to_latex
from bench.report.marks import against_best, rank_section
from bench.report.markup import Report, to_markdown
from bench.report.means import means_of
from bench.report.page.html import to_html
from bench.report.paired import (
    holm,
    interval,
    p_over_images,
    p_over_seeds,
    smallest_resolvable,
)
from bench.report.rows import Row, choose_rows
from bench.report.scores import Column, columns_of
from bench.report.stats import mean_over_seeds
from bench.report.tables import Table, make_tables
from bench.study.fields import SelectSection, Study

PSNR = Column("set14", 2, "psnr_y", "", "sr-y@1")
DIGITS = 8


def p_of(*differences: float) -> float:
    return float(p_over_images(np.array([differences]), DIGITS)[0])


def one_seed(*values: float) -> NDArray[np.float64]:
    return np.array([values], float)


# Tests


def test_six_images_that_agree_give_2_of_64_flips_and_five_can_never_tell() -> None:
    assert p_of(0.3, 0.2, 0.4, 0.1, 0.2, 0.5) == 2 / 64
    assert p_of(9, 9, 9, 9, 9) == 2 / 32  # above 0.05 however large
    # of 8 flips of 1, 2, 4 the sums 7, 5, -5, -7 are as large as 5
    assert p_of(-1, 2, 4) == 4 / 8
    assert p_of(0, 0, 0) == p_of(1, 2, math.inf) == p_of(1, math.nan, 2) == 1


def test_the_sign_flip_test_is_scipys_permutation_test() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, (4, 9))
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, axis=-1,
        vectorized=True,
    ).pvalue  # fmt: skip
    assert p_over_images(differences, DIGITS) == pytest.approx(expected, abs=1e-12)


def test_beyond_14_images_it_is_wilcoxons_test_for_the_side_with_the_larger_mean() -> None:
    differences = np.random.default_rng(1).normal(0.3, 1, (5, 30))
    expected = [stats.wilcoxon(d).pvalue for d in differences]
    assert p_over_images(differences, DIGITS) == pytest.approx(expected)
    # the ranks favour one method and a single image the mean of the other: nothing is told
    assert p_of(*[-0.1] * 19, 100.0) == 1
    assert p_of(*[0.1] * 20) < 0.001


def test_round_off_is_no_difference() -> None:
    noise = 1e-14 * np.random.default_rng(2).uniform(0, 1, 20)
    assert stats.wilcoxon(noise).pvalue < 0.001  # what SciPy makes of it
    assert p_of(*noise) == 1


def test_holm_multiplies_by_those_that_are_left() -> None:
    # 0.01 * 4, 0.012 * 3 raised to the one before, 0.03 * 2, 0.2 * 1
    assert holm(np.array([0.03, 0.01, 0.2, 0.012])) == pytest.approx([0.06, 0.04, 0.2, 0.04])
    assert holm(np.array([0.5, 0.6])) == pytest.approx([1.0, 1.0])


def test_seeds_are_told_apart_by_welchs_test() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(31, 0.1, (4, 6)), rng.normal(31.1, 0.3, (3, 6))
    expected = stats.ttest_ind(a.mean(axis=1), b.mean(axis=1), equal_var=False).pvalue
    assert p_over_seeds(a, b) == pytest.approx(expected)
    fixed = one_seed(*[31.0] * 6)  # published weights have no scatter of seeds
    expected = stats.ttest_1samp(a.mean(axis=1), 31.0).pvalue
    assert p_over_seeds(a, fixed) == pytest.approx(expected)
    assert p_over_seeds(fixed, one_seed(*[30.0] * 6)) == 0


# Intervals


def test_equal_differences_leave_no_doubt_and_four_images_no_interval() -> None:
    assert interval(one_seed(*[0.5] * 6), one_seed(*[0.0] * 6)) == (0.5, 0.5)
    assert interval(one_seed(*[0.1] * 4), one_seed(*[0.0] * 4)) is None
    assert interval(one_seed(*[math.inf] * 6), one_seed(*[0.0] * 6)) is None
    # 400 differences of deviation 1: standard error 0.05, times 1.96
    found = interval(one_seed(*[-1.0, 1.0] * 200), one_seed(*[0.0] * 400))
    assert found == pytest.approx((-0.098, 0.098), abs=0.01)


def test_of_one_seed_the_interval_is_bca_which_leans_to_the_long_side() -> None:
    skewed = np.random.default_rng(4).exponential(1, 14)
    low, high = interval(skewed[None], np.zeros((1, 14))) or (0, 0)
    expected = stats.bootstrap((skewed,), np.mean, rng=5, n_resamples=20_000).confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.05)
    assert high - skewed.mean() > 1.2 * (skewed.mean() - low)


def test_the_scatter_of_seeds_widens_the_interval_as_its_variance_says() -> None:
    """Seeds 0.1 apart shift all images alike: over images alone the difference is sure."""
    shifts = np.array([-0.1, 0.0, 0.1])[:, None]
    a, b = 31 + shifts + np.zeros((3, 100)), 30.95 + shifts + np.zeros((3, 100))
    low, high = interval(a, b) or (0, 0)
    assert low < 0 < high
    # standard error sqrt(2 * 0.01 / 3) = 0.0816, times 1.96: 0.16 either way
    assert (high - low) / 2 == pytest.approx(0.16, abs=0.03)


def test_what_fourteen_images_can_resolve() -> None:
    differences = np.array([1.0, -1.0] * 7)  # deviation sqrt(14 / 13)
    # (2.1604 + 0.8702) * 1.0377 / sqrt(14), quantiles of t with 13 degrees of freedom
    assert smallest_resolvable(differences) == pytest.approx(0.8405, abs=0.001)
    assert smallest_resolvable(np.array([1.0, 2, 3, 4, 5])) == math.inf
    # among 20 comparisons 9 images can give 2 / 512 at best, and 0.05 / 20 = 0.0025 is asked
    assert smallest_resolvable(np.arange(9.0), 20) == math.inf
    found = stats.ttest_1samp(
        np.random.default_rng(6).normal(0.8405, math.sqrt(14 / 13), (4000, 14)), 0, axis=1
    )
    assert (found.pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.03)


# Two equal methods


def test_of_1000_pairs_of_equal_methods_one_in_twenty_has_a_false_winner() -> None:
    rng = np.random.default_rng(0)
    difficulty = rng.normal(30, 3, 14)
    winners = 0
    for _ in range(1000):
        pair = (difficulty + rng.normal(0, 0.2, (2, 14))).tolist()
        means = [[mean_over_seeds({0: dict(enumerate(side))})] for side in pair]  # type: ignore[arg-type]
        (found,) = against_best([PSNR], means)
        winners += found.told
    assert 36 <= winners <= 64  # 5 +- 1.4 %


@pytest.mark.parametrize("scatter", ["normal", "laplace"])
@pytest.mark.parametrize("images", [8, 14, 100])
def test_nor_has_it_for_other_sets_and_heavier_tails(images: int, scatter: str) -> None:
    sides = getattr(np.random.default_rng(1), scatter)(0, 0.2, (2, 1000, images))
    winners = (p_over_images(sides[0] - sides[1], DIGITS) <= 0.05).mean()
    # 8 images give the p 12 / 256 and then 14 / 256: at most 4.7 %
    assert 0.036 * (images > 8) < winners <= 0.064


def test_of_equal_methods_with_three_seeds_no_more_are_false_winners() -> None:
    """A seed shifts all images: what a test over images alone takes for a better method."""
    rng = np.random.default_rng(8)
    difficulty = rng.normal(30, 3, 14)
    winners, over_images = 0, 0
    for _ in range(200):
        sides = difficulty + rng.normal(0, 0.1, (2, 3, 1)) + rng.normal(0, 0.2, (2, 3, 14))
        by_seed = [{s: dict(enumerate(v)) for s, v in enumerate(side.tolist())} for side in sides]
        (found,) = against_best([PSNR], [[mean_over_seeds(one)] for one in by_seed])  # type: ignore[arg-type]
        winners += found.told
        over_images += float(p_over_images(found.differences[None], DIGITS)[0]) <= 0.05
    assert winners <= 0.064 * 200
    assert over_images > 0.2 * 200


# Tables

STUDY = Study.model_validate(
    {
        "name": "marks",
        "task": {"kind": "super-resolution", "scale": 2},
        "methods": {name: {"use": "x"} for name in ("a", "b", "c")},
        "evaluate": {"datasets": ["set5", "set14"], "metrics": ["psnr_y"]},
    }
)
WAVE = np.sin(np.arange(14.0))


def cell(method: str, values: NDArray[np.float64], seed: int = 0, dataset: str = "set14") -> Cell:
    return Cell(
        study="marks", method=method, use="x", trial=None, seed=seed, attempt=0, state="complete",
        parameters={}, fingerprint="feed",
        scores=[Score(dataset, 2, f"{k:02d}", "psnr_y", "sr-y@1", v) for k, v in enumerate(values)],
    )  # fmt: skip


def table_of(cells: list[Cell], study: Study = STUDY) -> Table:
    rows = [row for row in choose_rows(study, cells)[0] if row.cells]
    (table,) = make_tables(study, cells, rows, columns_of(study, cells))
    return table


NEAR = [cell("a", 31.97 + WAVE), cell("b", 31.96 + WAVE[::-1]), cell("c", 30.5 + WAVE)]


def test_with_one_seed_31_97_against_31_96_is_not_a_winner() -> None:
    table = table_of(NEAR)
    marks = {label: (entry.place, entry.mark) for label, (entry,) in table.rows}
    assert marks == {"a": (1, ""), "b": (2, "≈"), "c": (0, "")}
    assert table.notes[0] == (
        "≈ cannot be told from the best of its column (p > 0.05; over images the exact sign-flip "
        "test; Holm over 2 comparisons). One seed: this is said of these weights, not of the "
        "methods."
    )
    assert "second underlined, ≈ not told from the best" in table.about


def test_the_mark_stands_in_all_three_languages() -> None:
    report = Report("marks", "", [], [table_of(NEAR)], [], [], [])
    text = to_markdown(report)
    assert "**31.99**" in text and "≈ |" in text and "\n- ≈ cannot be told" in text
    assert r"$\approx$ \\" in to_latex(report) and r"\par $\approx$ cannot be told" in to_latex(
        report
    )
    assert "</u> ≈</td>" in to_html(report)


def test_what_is_better_on_every_image_by_little_is_told() -> None:
    table = table_of([cell("a", 31.97 + WAVE), cell("b", 31.96 + WAVE)])
    assert [entry.mark for _, (entry,) in table.rows] == ["", ""]
    assert table.notes[0].startswith("Every row is told from the best of its column (p <= 0.05")
    assert "one comparison" in table.notes[0]


def test_seeds_that_scatter_more_than_the_difference_tell_nothing() -> None:
    cells = [
        cell(m, v + WAVE + 0.1 * s, s) for m, v in (("a", 31.97), ("b", 31.96)) for s in range(3)
    ]
    table = table_of(cells)
    assert [entry.mark for _, (entry,) in table.rows] == ["", "≈"]
    assert "; over seeds Welch's t-test; one comparison" in table.notes[0]
    assert "One seed" not in table.notes[0]
    assert "interval over seeds and images" in table.notes[1]
    # of seeds 0, 0.1 and 0.2, and of the sine over 14 images
    assert table.scatter.rows[0][1] == f"0.10 / {WAVE.std(ddof=1):.2f}"


def test_a_table_says_what_its_sets_can_resolve() -> None:
    few = [cell(m, v + WAVE[:5], dataset="set5") for m, v in (("a", 33.0), ("b", 30.0))]
    assert [entry.mark for _, (entry,) in table_of(few).rows] == ["", "≈"]
    assert (
        table_of(few).notes[-1].endswith("set5 x2 (5 images) none, so few images reach no such p.")
    )
    differences = 0.01 + WAVE - WAVE[::-1]
    least = (2.1604 + 0.8702) * differences.std(ddof=1) / math.sqrt(14)
    assert table_of(NEAR).notes[-1].endswith(f"set14 x2 (14 images) PSNR-Y {least:.3f}.")


def test_the_root_of_a_mean_square_is_compared_by_its_squares() -> None:
    column = Column("pirm", 4, "rmse", "", "pirm@1")
    sides = [{0: {"a": 1.0, "b": 7.0}}, {0: {"a": 5.0, "b": 5.1}}]  # squares: mean 25 and 25.5
    means = [[mean_over_seeds(side, column.pool)] for side in sides]
    (found,) = against_best([column], means)
    assert found.best == 0 and found.differences == pytest.approx([24, -22.99])


def test_mean_places_are_over_sets_and_equal_numbers_share_one() -> None:
    values = {"set5": (33.0, 34.0, 32.0), "set14": (30.004, 30.001, 29.0)}
    cells = [
        cell(method, np.full(3, value), dataset=name)
        for name, of_set in values.items()
        for method, value in zip("abc", of_set, strict=True)
    ]
    rows = [Row(m, m, tuple(c for c in cells if c.method == m)) for m in "abc"]
    merged = []
    for row in rows:
        both = [score for c in row.cells for score in c.scores]
        merged.append(replace(row, cells=(row.cells[0].model_copy(update={"scores": both}),)))
    columns = columns_of(STUDY, [row.cells[0] for row in merged])
    (section,) = rank_section(merged, columns, means_of(merged, columns))
    assert section.header == ("row", "PSNR-Y, 2 sets")
    # set5: 2, 1, 3; set14, alike at two digits: 1.5, 1.5, 3
    assert section.rows == (("a", "1.75"), ("b", "1.25"), ("c", "3.00"))


def test_a_set_that_the_sampler_saw_is_marked_with_the_trials_searched() -> None:
    seen = SelectSection(dataset="set14", maximize=("psnr_y",), allow_reported=True)
    study = STUDY.model_copy(update={"select": seen})
    table = table_of([NEAR[0], NEAR[1].model_copy(update={"swept": {"x": 1}})], study)
    assert table.groups[0][0] == "set14 x2 (seen by the sampler, 1 trial)"


def test_nothing_is_marked_where_all_print_alike() -> None:
    table = table_of([cell("a", 31 + WAVE), cell("b", 31 + WAVE)])
    assert [(entry.place, entry.mark) for _, (entry,) in table.rows] == [(0, ""), (0, "")]
