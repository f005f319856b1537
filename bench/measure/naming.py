"""Which name belongs to which: by stem, and by what other programs write after it."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from bench.errors import BenchError

PLAIN = "{stem}"
RESTORED = ("_x{scale}_SR", "_SR", "_out", "_rlt")
"""After the stem of a restored image: EDSR's programs, Real-ESRGAN's, ESRGAN's."""
ORIGINAL = ("_x{scale}_HR", "_SRF_{scale}_HR", "_HR", "_GT")
"""After that of an original which lies among restored images."""
INPUT = ("_x{scale}_LR", "_SRF_{scale}_LR", "_LR", "_LQ")


class Names(NamedTuple):
    """Names of restored images and of their originals."""

    pairs: Mapping[str, str]
    """Restored image -> stem."""
    originals: Mapping[str, str]
    """Stem -> original."""
    aside: tuple[str, ...] = ()
    """Those that say of themselves that they are an original or an input."""
    strangers: tuple[str, ...] = ()
    """The others without an original."""
    how: str = ""
    """Such as "NAME_x4_SR with NAME_x4_HR"; "" where the template fits the names as they are."""

    @property
    def marked(self) -> bool:
        """Whether originals are told by the ends of their names."""
        return any(stem != name for stem, name in self.originals.items())


def pair_names(
    restored: Collection[str],
    originals: Collection[str],
    scale: int,
    template: str = PLAIN,
    *,
    same: bool = False,
) -> Names:
    """Returns the pairs under the template; where there are none, those under the endings that pair
    most: of originals, and if the template is the plain one of restored images.

    same: both lie in one folder, so that no name is its own original. Raises BenchError for names
    that state another scale.
    """
    ways = list(_ways(restored, originals, scale, template, same))
    found = max(ways, key=lambda way: (bool(way.pairs) and not way.how, len(way.pairs)))
    if found.marked:
        _check_scale(found.originals.values(), found.originals, scale)
    known, ends = found.originals, _endings(ORIGINAL + INPUT, scale)
    rest = [n for n in restored if n not in found.pairs and not (same and n in known.values())]
    aside = tuple(n for n in rest if any(_stem(n, end) in known for end in ends))
    return found._replace(aside=aside, strangers=tuple(n for n in rest if n not in aside))


def says_original(name: str) -> bool:
    """Whether a name ends as that of an original or an input does, of whatever scale."""
    ends = "|".join(re.escape(form).replace(r"\{scale\}", r"\d+") for form in ORIGINAL + INPUT)
    return re.search(rf"({ends})$", name, re.IGNORECASE) is not None


def _ways(
    restored: Collection[str], originals: Collection[str], scale: int, template: str, same: bool
) -> Iterator[Names]:
    """The names as they are first."""
    for last in ("", *_endings(ORIGINAL, scale)):
        known = {stem: name for name in originals if (stem := _stem(name, last))}
        stems = {template.format(stem=stem, scale=scale): stem for stem in known}
        forms = {template.format(stem="NAME", scale=scale): stems}
        if template == PLAIN:
            if same and not last:
                forms = {}
            for end in _endings(RESTORED, scale):
                forms[f"NAME{end}"] = {n: s for n in restored if (s := _stem(n, end)) in known}
        for form, stems in forms.items():
            pairs = {name: stems[name] for name in restored if name in stems}
            free = {s: n for s, n in known.items() if not same or n not in pairs}
            plain = not last and form == template.format(stem="NAME", scale=scale)
            yield Names(pairs, free, how="" if plain else f"{form} with NAME{last}")


def _endings(forms: Iterable[str], scale: int) -> list[str]:
    return [form.format(scale=scale) for form in forms]


def _stem(name: str, ending: str) -> str:
    """What comes before an ending, in capitals or not; "" if it ends otherwise."""
    stem = name[: len(name) - len(ending)]
    return stem if name.casefold() == f"{stem}{ending}".casefold() else ""


def _check_scale(names: Collection[str], stems: Iterable[str], scale: int) -> None:
    for stem, name in zip(stems, names, strict=True):
        stated = re.search(r"_x(\d+)$", stem)
        if stated and int(stated[1]) != scale:
            raise BenchError(
                f"{name}: is named as of scale {stated[1]}, --scale is {scale}. Give --scale "
                f"{stated[1]}, or rename the files."
            )
