"""Draws the figures of a report. The only place that imports matplotlib and seaborn."""

from collections.abc import Sequence
from pathlib import Path

from bench.records.cell import Cell, label_of, load_losses
from bench.report.curves import Curves, make_curves
from bench.report.figures.bars import draw_features, draw_importances
from bench.report.figures.crops import draw_strip
from bench.report.figures.curves import OUTSIDE, draw_curves
from bench.report.figures.images import draw_agreements, draw_differences
from bench.report.figures.planes import draw_planes
from bench.report.figures.progress import draw_progress
from bench.report.figures.response import draw_response
from bench.report.figures.style import also_as
from bench.report.figures.trade_off import draw_trade_off
from bench.report.images import Agreement, Differences, agreements, differences
from bench.report.importance import importances
from bench.report.markup import Figure
from bench.report.means import means_of
from bench.report.planes import cost_planes, perception_planes
from bench.report.progress import Progress, make_progress
from bench.report.provenance import caution
from bench.report.rows import Row, objective_names
from bench.report.scores import Column
from bench.report.series import Response, make_responses, make_trials
from bench.report.strip import Strip, score_columns
from bench.study.fields import Study

__all__ = ["also_as", "draw_figures"]


def draw_figures(
    study: Study,
    cells: Sequence[Cell],
    rows: Sequence[Row],
    columns: Sequence[Column],
    strips: Sequence[tuple[Strip, Column]],
    folder: Path,
) -> tuple[list[Figure], list[str]]:
    """Draws into `folder` what the records allow; returns the figures, and why others are not
    there. strips: with the column that chose each one's image."""
    done: list[Figure] = []
    trials = make_trials(study, cells)
    of_sets = caution(cells, rows, study.benchmark_keys())
    of_training = caution(cells, rows, ())
    for response in make_responses(study, trials, columns):
        path = folder / f"response-{response.parameter}.png"
        draw_response(study, response, path, of_sets)
        done.append(Figure(path, _response_caption(study, response)))
    names = objective_names(study)
    swept = [t for t in trials if t.number is not None and set(names) <= set(t.values)]
    if len(names) > 1 and swept:
        path = folder / "trade-off.png"
        draw_trade_off(study, trials, path, of_training)
        done.append(Figure(path, _trade_off_caption(study)))
    found = importances(study, cells)
    if found:
        path = folder / "importance.png"
        draw_importances(study, found, path, of_training)
        done.append(Figure(path, IMPORTANCE))
    done += _of_images(study, cells, rows, columns, folder)
    for strip, column in strips:
        path = folder / f"strip-{label_of(strip.benchmark)}.png"
        draw_strip(strip, path, caution(cells, rows, [strip.benchmark]))
        done.append(Figure(path, _strip_caption(strip, column.place)))
    if progress := make_progress(study, rows, load_losses):
        path = folder / "on-the-way.png"
        draw_progress(study, progress, path, of_training)
        done.append(Figure(path, _progress_caption(study, progress)))
    trainings, why = make_curves(rows, load_losses)
    for curves in trainings:
        path = folder / f"curves-{curves.method}.png"
        draw_curves(study, curves, path, of_training)
        done.append(Figure(path, _curves_caption(curves)))
    return done, why


def _of_images(
    study: Study,
    cells: Sequence[Cell],
    rows: Sequence[Row],
    columns: Sequence[Column],
    folder: Path,
) -> list[Figure]:
    """Draws paired differences, agreement of metrics and VIQET's features, each where there is
    enough to see."""
    done = []
    of_sets = caution(cells, rows, study.benchmark_keys())
    first, means = [told[0] for told in score_columns(study, columns)], means_of(rows, columns)
    if beside := differences(rows, first, means_of(rows, first)):
        draw_differences(study, beside, folder / "differences.png", of_sets)
        done.append(Figure(folder / "differences.png", _differences_caption(beside)))
    if alike := agreements(columns, means):
        draw_agreements(study, alike, folder / "agreement.png", of_sets)
        done.append(Figure(folder / "agreement.png", _agreement_caption(alike)))
    if planes := perception_planes(rows, columns, means):
        path = folder / "perception.png"
        draw_planes(study, planes, f"perception and distortion{of_sets}", path)
        done.append(Figure(path, PERCEPTION))
    if planes := cost_planes(study, rows, columns, means):
        path = folder / "efficiency.png"
        draw_planes(study, planes, f"cost and quality{of_sets}", path)
        machines = sorted({s.hardware for row in rows for c in row.cells for s in c.efficiency})
        done.append(Figure(path, f"{COST} Latency on {' and '.join(machines)}."))
    place = next((c.place for c in columns if c.metric.startswith("viqet.")), None)
    if place is not None:
        mine = [c for c in columns if c.place == place and c.metric.startswith("viqet.")]
        draw_features(study, rows, mine, means_of(rows, mine), folder / "viqet.png", of_sets)
        done.append(Figure(folder / "viqet.png", f"VIQET's features on {place}, mean over images."))
    return done


PERCEPTION = (
    "Perception against distortion, means over the set: outlined and joined are the methods that "
    "no other beats in both."
)
COST = "Quality against cost: outlined and joined are the methods that no other beats in both."
IMPORTANCE = (
    "Importance of the swept parameters: the share of an objective's variance over the search "
    "space that each explains by itself (Optuna's fANOVA, a forest of 64 trees on the finished "
    "trials). Few trials tell little."
)


def _differences_caption(found: Sequence[Differences]) -> str:
    more = [
        f"{one.left_out} further methods on {one.column.place}" for one in found if one.left_out
    ]
    return (
        "Each method less the best one of the set on the same images: a line for each image, the "
        f"dot their mean, the bar its 95 % paired bootstrap interval.{_without(more)}"
    )


def _agreement_caption(found: Sequence[Agreement]) -> str:
    apart = [
        f"{one.dataset}: {one.apart[0].title} and {one.apart[1].title} agree least, most of all on "
        + ", ".join(f"{image} ({value:+.2f})" for image, value in one.worst)
        for one in found
    ]
    return (
        "Spearman's rank correlation of two metrics over the methods, on each image, and the mean "
        f"over images; 1: the same order, -1: the opposite. {'. '.join(apart)}."
    )


def _response_caption(study: Study, response: Response) -> str:
    seeds = "Pale dots are seeds, full dots their means. " if len(study.budget.seeds) > 1 else ""
    along = "" if response.alone else "Other parameters vary along, so this is a scatter. "
    more = f"{response.left_out} further quantities are in scores.csv." if response.left_out else ""
    return (
        f"Response to {response.parameter}: every trial. {seeds}Horizontal lines are the methods "
        f"without ranges. {along}{more}"
    ).strip()


def _trade_off_caption(study: Study) -> str:
    place = study.select.dataset if study.select else ""
    return (
        f"Trade-off between the objectives on the selection set {place}: every trial, mean over "
        "seeds, with a cross from the smallest to the largest seed. Outlined: each method's "
        "Pareto-optimal trials."
    )


def _strip_caption(strip: Strip, place: str) -> str:
    where = f"Image {strip.image} of {place}, left {strip.left}, top {strip.top}."
    names = ", then ".join(name or "the methods without ranges" for name, _ in strip.lines)
    lines = f" Line by line: {names}; each in the order of its parameter."
    return (
        f"{where}{lines if strip.by_parameter else ''} {strip.rule} "
        f"The scores are this image's.{_without(strip.absent)}"
    )


def _progress_caption(study: Study, progress: Progress) -> str:
    place = study.select.dataset if study.select else ""
    seeds = ", mean over seeds and their range" if len(study.budget.seeds) > 1 else ""
    return (
        f"Trainings side by side: the losses they minimise, as moving averages, and the objectives "
        f"on the selection set {place} at each snapshot{seeds}. Losses of rows that minimise "
        f"different ones are not comparable.{_without(progress.left_out)}"
    )


def _curves_caption(curves: Curves) -> str:
    lengths = " or ".join(map(str, curves.windows))
    ends = " A dotted line is the end of a stage." if any(p.ends[1:] for p in curves.panels) else ""
    fewer = any(len({c.line for c in p.curves}) < len(curves.lines) for p in curves.panels)
    shared = " A stage that several trainings share has the colour of the first." if fewer else ""
    return (
        f"Training of {curves.method}: pale the losses of every update, full their mean over the "
        f"last {lengths} updates. {OUTSIDE}{ends}{shared}{_without(curves.left_out)}"
    )


def _without(absent: Sequence[str]) -> str:
    return f" Left out: {'; '.join(absent)}." if absent else ""
