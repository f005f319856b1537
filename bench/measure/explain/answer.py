"""An explanation for people, at most 100 columns wide."""

import math
import textwrap
from pathlib import Path

from bench.measure.explain import Explanation, rounds_to
from bench.measure.explain.conventions import SWING, USUAL, Convention, signed, step
from bench.measure.explain.pair import REACH
from bench.measure.metrics import METRICS

_LISTED = 8
_OTHERWISE = "Then picture, LR or weights differ, or the number is the mean of a set."


def text(explanation: Explanation) -> str:
    """Returns the answer for a terminal, at most 100 columns wide."""
    parts = (_head, _table, _printed_by, _grids, _aligned, _verdict)
    return "\n\n".join("\n".join(lines) for part in parts if (lines := part(explanation)))


def _head(explanation: Explanation) -> list[str]:
    metric, (height, width) = explanation.metric, explanation.size
    lines = [
        f"{metric.upper()} ({USUAL[metric]}), scale {explanation.scale}, {width}x{height} pixels",
        f"IMAGE      {_short(explanation.image, 89)}",
    ]
    if explanation.reference is None:
        return [*lines, "REFERENCE  not looked at: NIQE is of IMAGE alone. Lower is better."]
    remarks = ""
    if explanation.reference_size != explanation.size:
        full_height, full_width = explanation.reference_size
        remarks += f", cropped from {full_width}x{full_height} at the right and bottom"
    if explanation.gray_file:
        remarks += ", a single-channel file"
    return [*lines, f"REFERENCE  {_short(explanation.reference, 89 - len(remarks))}{remarks}"]


def _short(path: Path, wide: int) -> str:
    """A path, or as much of its end as there is room for."""
    return str(path) if len(str(path)) <= wide else f"...{str(path)[3 - wide :]}"


def _table(explanation: Explanation) -> list[str]:
    """Channels and variants down, borders across; then why cells are empty."""
    rows: dict[str, list[str]] = {}
    for c in _unmoved(explanation):
        label = f"{c.variant}: {_brief(c.channel)}" if c.variant else c.channel
        rows.setdefault(label, []).append(_number(explanation.metric, c.value))
    borders = dict.fromkeys(c.border for c in explanation.conventions)
    wide = max(28, *map(len, rows))
    column = max(8, *(len(cell) for row in rows.values() for cell in row)) + 2
    lines = [
        "Pixels left out on each side".ljust(wide) + "".join(f"{b:>{column}}" for b in borders)
    ]
    lines += [
        label.ljust(wide) + "".join(cell.rjust(column) for cell in row)
        for label, row in rows.items()
    ]
    missing = dict.fromkeys(c.why for c in explanation.conventions if math.isnan(c.value))
    return lines + [line for why in missing for line in _wrapped(f"-  {why}", 3)]


def _unmoved(explanation: Explanation) -> list[Convention]:
    return [c for c in explanation.conventions if c.shift == (0, 0)]


def _brief(channel: str) -> str:
    return channel.partition(" (")[0]


def _number(metric: str, value: float, more: int = 0) -> str:
    if math.isnan(value):
        return "-"
    return "inf (equal)" if math.isinf(value) else f"{value:.{METRICS[metric].digits + more}f}"


def _printed_by(explanation: Explanation) -> list[str]:
    used = [c for c in explanation.conventions if c.used_by]
    numbers = [_number(explanation.metric, c.value) for c in used]
    wide = max(map(len, numbers))
    lines = ["Who prints which"]
    for c, number in zip(used, numbers, strict=True):
        lines += _wrapped(f"  {number:>{wide}}  {c.name}: {'; '.join(c.used_by)}", wide + 4)
    if explanation.metric == "psnr":
        lines.append(
            f"Y in studio swing always lies {SWING:.2f} dB above Y in full range: "
            "20 log10(255/219)."
        )
    if explanation.metric == "niqe":
        lines.append("MATLAB's built-in niqe() has other parameters; it is not computed here.")
    return lines


def _grids(explanation: Explanation) -> list[str]:
    """PSNR of all shifts, of Y and of RGB side by side."""
    if explanation.metric != "psnr" or not explanation.alignments:
        return []
    border, steps = explanation.alignments[0].border, range(-REACH, REACH + 1)
    found = {
        (c.channel, c.shift): f"{c.value:.2f}"
        for c in explanation.conventions
        if c.border == border and not c.variant
    }
    channels = [a.channel for a in explanation.alignments]
    head = "".join(f"{step(dx):>8}" for dx in steps)
    lines = [
        f"IMAGE moved by (dx, dy) pixels, border {border}",
        "   dy dx" + (" " * 4).join(f"{_brief(channel):^42}" for channel in channels).rstrip(),
        " " * 6 + (" " * 6).join(head for _ in channels),
    ]
    for dy in steps:
        values = ("".join(f"{found[c, (dx, dy)]:>8}" for dx in steps) for c in channels)
        lines.append(f"{step(dy):>5} " + (" " * 6).join(values))
    return lines


def _aligned(explanation: Explanation) -> list[str]:
    """Whether moving IMAGE would make it fit better."""
    if not explanation.alignments:
        return [] if explanation.metric == "niqe" else ["Too small to look for shifts."]
    y = explanation.alignments[0]
    found = next((a for a in explanation.alignments if not a.aligned), y)
    fractions = "({:+.2f}, {:+.2f})".format(*(round(x, 2) + 0.0 for x in found.between))  # no -0
    if found.aligned:
        return [f"Aligned: of all shifts (0, 0) fits best; with fractions of a pixel {fractions}."]
    doubt = "the two are not aligned (half-pixel convention? unknown track?)."
    if found.shift == (0, 0):
        doubt = f"Of whole pixels (0, 0) fits best, {fractions} would fit better still: {doubt}"
    else:
        gain = f"{found.gain:+.2f} dB" if math.isfinite(found.gain) else "there they are equal"
        there = next(
            _number(explanation.metric, c.value)
            for c in explanation.conventions
            if c.channel == found.channel and c.shift == found.shift
        )
        doubt = (
            f"IMAGE fits REFERENCE best when moved by {signed(found.shift)}: {gain}: {doubt} "
            f"{explanation.metric.upper()} of {_brief(found.channel)} is then {there}; with "
            f"fractions of a pixel {fractions}."
        )
    if half := (explanation.scale - 1) / 2:
        doubt += f" Resizing that aligns corners instead of centres moves by {half:g} pixels."
    return _wrapped(doubt, 2)


def _verdict(explanation: Explanation) -> list[str]:
    """What matches the paper's number."""
    if (paper := explanation.paper) is None:
        return []
    tried = sum(not math.isnan(c.value) for c in explanation.conventions)
    if not (matches := explanation.matches()):
        lines = [
            f"{paper} matches none of {tried} conventions. The nearest, and how far they are off"
        ]
        for c in explanation.nearest():
            lines += _found(explanation, c, f"{c.value - float(paper):+.4f}  ")
        return lines + _swung(explanation) + [_OTHERWISE]
    lines = [f"{paper} matches {len(matches)} of {tried} conventions"]
    for c in matches[:_LISTED]:
        lines += _found(explanation, c)
    if len(matches) > _LISTED:
        lines.append(f"  and {len(matches) - _LISTED} more")
    several = (
        "This image cannot tell them apart: " if len(matches) > 1 else "One may match by chance: "
    )
    return [*lines, several + "try another image of the set."]


def _found(explanation: Explanation, c: Convention, remark: str = "") -> list[str]:
    number = f"  {_number(explanation.metric, c.value, more=2)}  {remark}"
    used = f": {'; '.join(c.used_by)}" if c.used_by else ""
    return _wrapped(f"{number}{c.name}{used}", len(number))


def _swung(explanation: Explanation) -> list[str]:
    """A difference of just 1.32 dB, which is no accident."""
    if explanation.metric != "psnr" or (paper := explanation.paper) is None:
        return []
    for c in sorted(_unmoved(explanation), key=lambda c: not c.used_by):
        for sign, side in ((1, "above"), (-1, "below")):
            if rounds_to(c.value + sign * SWING, paper):
                return _wrapped(
                    f"{paper} lies {SWING:.2f} dB {side} {c.name}: studio swing taken for full "
                    "range, or the reverse?", 2
                )  # fmt: skip
    return []


def _wrapped(line: str, indent: int) -> list[str]:
    return textwrap.wrap(line, 100, subsequent_indent=" " * indent, break_on_hyphens=False)
