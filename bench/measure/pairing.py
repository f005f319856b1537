"""Which restored image is compared with which reference: by file stem, never by order."""

import hashlib
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bench.data.benchmark import open_benchmark
from bench.data.images import image_size, read_image, scan_images
from bench.data.pairs import Pair
from bench.data.pixels import Image
from bench.errors import BenchError
from bench.measure.naming import Names, pair_names, says_original
from bench.measure.scores import ScoreStore
from bench.measure.task import Digests

Size = tuple[int, int]
"""Height, width."""


@dataclass(frozen=True)
class Reference:
    """What a restored image is compared with: an image of a set, or a file."""

    path: Path
    pair: Pair | None = None

    @property
    def derived(self) -> str:
        """How the pixels follow from the file's; empty for the file as it is."""
        return f"packaged, {self.pair.side}" if self.pair and self.pair.packaged else ""

    def size(self) -> Size:
        """Returns the size from the file's header, of a set's image as the scale crops it."""
        return self.pair.hr_size() if self.pair else image_size(self.path)

    def read(self, size: Size) -> Image:
        """Returns the top-left part of that size."""
        image = self.pair.hr() if self.pair else read_image(self.path)
        return np.ascontiguousarray(image[: size[0], : size[1]])


@dataclass(frozen=True)
class Task:
    """A restored image and its reference."""

    stem: str
    sr: Path
    size: Size
    hr: Reference | None = None
    held = 0

    def read(self) -> tuple[Image, Image | None]:
        """Returns (restored image, the part of its reference that is compared).

        Raises BenchError for a file that is broken, and for a single-channel image of an RGB
        reference: its gray would stand for three channels and give a plausible score.
        """
        sr = read_image(self.sr)
        if self.hr is None:
            return sr, None
        hr = self.hr.read(self.size)
        if sr.ndim < hr.ndim:
            raise BenchError(
                f"{self.sr}: has a single channel, its reference {self.hr.path} RGB. Restore in "
                "colour, or compare with a gray reference."
            )
        return sr, hr

    def digests(self, store: ScoreStore) -> Digests | None:
        """Returns the digests of both pictures' pixels, if the store knows these files."""
        sr, hr = self._files
        restored = store.pixels_of(sr)
        original = store.pixels_of(hr) if hr else ""
        return None if restored is None or original is None else (restored, original)

    def remember(self, store: ScoreStore, digests: Digests) -> None:
        """Notes which pixels these files hold."""
        for file, pixels in zip(self._files, digests, strict=True):
            if file:
                store.keep_pixels(file, pixels)

    @cached_property
    def _files(self) -> tuple[str, str]:
        """What tells the files' contents, and which part of them counts."""
        original = ""
        if self.hr is not None:
            original = f"{_digest(self.hr.path)} {self.size} {self.hr.derived}"
        return _digest(self.sr), original


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


@dataclass(frozen=True)
class Paired:
    """All tasks of a folder, and what they leave out."""

    tasks: tuple[Task, ...]
    official: int
    """Images that the reference has."""
    absent: tuple[str, ...] = ()
    """Stems of the reference without a restored image."""
    cropped: int = 0
    """References larger than the restored image, by less than one LR pixel."""
    aside: tuple[str, ...] = ()
    """Stems in the folder that are named as originals or as inputs, and were not scored."""
    how: str = ""
    """How names became pairs, where it was not by the template alone."""


def pair_folder(
    folder: Path,
    scale: int,
    *,
    reference: Path | None = None,
    dataset: str | None = None,
    template: str = "{stem}",
) -> Paired:
    """Returns the tasks, by stem. Raises BenchError with one line for each file that does not fit.

    reference: may be the folder itself, for names such as 0801_x4_SR and 0801_x4_HR (see
    `pair_names`); no image is compared with itself.
    template: the stem of a restored file for a reference's stem, such as "{stem}x{scale}_edsr".
    Sizes are read from the headers. A restored image has its reference's size, or that of the
    part whose sides the scale divides, for a reference that was not cropped to it.
    """
    _check_template(template)
    absent = [p for p in (folder, reference) if p is not None and not p.is_dir()]
    if absent:
        raise BenchError("\n".join(f"{path}: {_no_folder(path)}" for path in absent))
    restored, problems = scan_images(folder)
    references, official, more = _references(reference, dataset, scale)
    same = reference is not None and reference.samefile(folder)
    named = _named(folder, restored, references, scale, template, same)
    if reference is not None:
        official = len(named.originals)
    problems += [*([] if same else more), *_orphans(restored, named.strangers)]
    advice = [_hint(named, template)] if named.strangers or not named.pairs else []
    tasks, cropped, own = [], 0, list[Path]()
    for name, stem in sorted(named.pairs.items(), key=lambda pair: pair[1]):
        path, hr = restored[name], references[named.originals[stem]] if references else None
        if hr and hr.path.samefile(path):
            own.append(path)
            continue
        sr, whole = _size(path, problems), _size(hr, problems) if hr else None
        if sr is None or (hr and whole is None):
            continue
        if hr and whole and sr not in (whole, _cropped(whole, scale)):
            problems.append(
                f"{path}: {sr[1]}x{sr[0]} pixels, its reference {hr.path} {whole[1]}x{whole[0]}."
            )
            advice.append(
                "Images are compared as they are, never resized: each has its reference's size, or "
                f"that of its largest part with sides that --scale {scale} divides."
            )
            continue
        cropped += whole is not None and whole != sr
        tasks.append(Task(stem, path, sr, hr))
    if own:
        several = f" and {len(own) - 1} more" if len(own) > 1 else ""
        problems.append(f"{own[0]}{several}: its own reference. Name the folder of the originals.")
    if problems or not tasks:
        raise BenchError("\n".join([*problems, *dict.fromkeys(advice)]))
    left_out = tuple(sorted(named.originals.keys() - set(named.pairs.values())))
    official = max(official, len(tasks))
    return Paired(tuple(tasks), official, left_out, cropped, named.aside, named.how)


def _named(
    folder: Path,
    restored: Mapping[str, Path],
    references: Mapping[str, Reference],
    scale: int,
    template: str,
    same: bool,
) -> Names:
    if not references:
        return Names({name: name for name in restored}, {})
    named = pair_names(restored, references, scale, template, same=same)
    if same and not named.pairs:
        raise BenchError(
            f"{folder}: is its own --reference, and no two names in it are a pair such as "
            f"NAME_x{scale}_SR and NAME_x{scale}_HR. Name the folder of the originals."
        )
    return named


def pairs_itself(folder: Path, scale: int) -> bool:
    """Whether a folder holds originals beside restored images, told by the ends of their names."""
    names = scan_images(folder)[0]
    named = pair_names(names, names, scale, same=True)
    return named.marked and bool(named.pairs)


def _no_folder(path: Path) -> str:
    return "is a file. Name a folder." if path.exists() else "no such folder."


def _references(
    folder: Path | None, dataset: str | None, scale: int
) -> tuple[dict[str, Reference], int, list[str]]:
    """(stem -> reference, how many images the whole reference has, what is wrong with it)."""
    if folder is not None:
        files, problems = scan_images(folder)
        return {stem: Reference(path) for stem, path in files.items()}, len(files), problems
    if dataset is None:
        return {}, 0, []
    benchmark = open_benchmark(dataset, scale, "bicubic" if scale > 1 else "none")
    found = {p.stem: Reference(p.hr_path, p) for p in benchmark.pairs if p.hr_path is not None}
    if not found:
        raise BenchError(
            f"{dataset}: has no HR files to compare with. Metrics that need none, such as niqe, "
            "are measured without --dataset."
        )
    return found, max(benchmark.official, len(found)), []


def _size(source: Path | Reference, problems: list[str]) -> Size | None:
    try:
        return image_size(source) if isinstance(source, Path) else source.size()
    except BenchError as error:
        problems.append(str(error))
        return None


def _cropped(size: Size, scale: int) -> Size:
    height, width = (side - side % scale for side in size)
    return height, width


def _check_template(template: str) -> None:
    try:
        fields = [field[1:] for field in string.Formatter().parse(template) if field[1] is not None]
    except ValueError:
        fields = []
    # nothing but the bare names: "{stem:.3}" would give several references one stem
    if ("stem", "", None) not in fields or set(fields) - {("stem", "", None), ("scale", "", None)}:
        raise BenchError(
            f"--template {template!r}: write a file's stem with {{stem}}, and {{scale}} if it "
            "occurs, such as '{stem}x{scale}_edsr'."
        )


def _orphans(restored: Mapping[str, Path], strangers: Sequence[str]) -> list[str]:
    shown = [f"{restored[name]}: no reference with its stem." for name in strangers[:10]]
    return shown + ([f"... and {len(strangers) - 10} more."] if len(strangers) > 10 else [])


def _hint(named: Names, template: str) -> str:
    """What to do about images without a reference: a template that would pair them, if any."""
    forms = Counter(
        name.replace(stem, "{stem}", 1)
        for name in named.strangers[:50]
        for stem in named.originals
        if stem in name and stem != name
    )
    left = set(named.strangers)
    pairs = {  # the stem 1 is in "10_x2" too, so see which form does most
        form: sum(form.replace("{stem}", stem) in left for stem in named.originals)
        for form, _ in forms.most_common(5)
        if not says_original(form)
    }
    said = f"Images are paired by file stem ({template})."
    if not pairs:
        rest = [*named.aside, *named.strangers]
        if rest and all(map(says_original, rest)):
            return f"Named as originals or inputs are {', '.join(rest[:3])}, ...: none is restored."
        return f"{said} The reference has {', '.join(list(named.originals)[:3])}, ..."
    form = max(pairs, key=lambda form: (pairs[form], -len(form)))
    return f"{said} --template '{form}' would pair {pairs[form]} of them."
