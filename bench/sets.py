"""Benchmark sets: what they are, where they lie on disk, and how HR and LR files become pairs."""

import hashlib
import importlib.util
import os
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bench.degrade import DEGRADATIONS
from bench.errors import BenchError, unknown
from bench.images import image_files, image_size
from bench.images import read_image as read_image
from bench.images import write_image as write_image
from bench.protocol import Image, as_rgb


@dataclass(frozen=True)
class Layout:
    """Where HR and LR files lie below a set's folder, and an LR file's stem for an HR stem."""

    hr: str
    lr: str | None = None
    lr_stem: str = "{stem}"


_COMMON = (
    Layout("HR", "LR_x{scale}"),
    Layout("HR", "LR_bicubic/X{scale}", "{stem}x{scale}"),  # KAIR, SwinIR
    Layout("GTmod12", "LRbicx{scale}"),  # BasicSR, MMagic
)


@dataclass(frozen=True)
class Dataset:
    """A set of HR images, with or without published LR files.

    HR for a scale is the top-left part that the scale divides, so one HR file serves all scales.
    Without LR files of a scale, LR is made from HR by the study's degradation.
    """

    name: str
    title: str
    official: int
    """Images in the whole set; 0 where that is not fixed."""
    home: str
    """Where to get it."""
    licence: str
    folders: tuple[str, ...] = ()
    """Below $BENCH_DATA; the first that is there counts."""
    layouts: tuple[Layout, ...] = _COMMON
    files: tuple[str, ...] = ()
    """Instead of folders: files inside installed packages, "package/path". Gray ones become RGB by
    repeating the channel: these are photographs to train and to try on, not published files."""
    side: int | None = None
    """Of `files`: keep the central side x side pixels of what is larger."""


_SELFEXSR = "https://github.com/jbhuang0604/SelfExSR"
_DIV2K = "https://data.vision.ee.ethz.ch/cvl/DIV2K/"
_RESEARCH = "for research; see its authors' terms"
_PACKAGES = "pip install scikit-image scikit-learn"
_FREE = (
    "scikit-image: CC0, public domain or no known restriction (motorcycle: Middlebury 2014, not "
    "stated); scikit-learn: CC BY 2.0 (china: danielbuechele, flower: vultilion)"
)
_DPED = "http://people.ee.ethz.ch/~ihnatova/"
_SID = "https://github.com/cchen156/Learning-to-See-in-the-Dark"
_PIRM = "https://www.pirm2018.org"

DATASETS: dict[str, Dataset] = {
    d.name: d
    for d in (
        Dataset("set5", "Set5", 5, _SELFEXSR, _RESEARCH, ("Set5",)),
        Dataset("set14", "Set14", 14, _SELFEXSR, _RESEARCH, ("Set14",)),
        Dataset("bsd100", "BSD100", 100, _SELFEXSR, _RESEARCH, ("BSD100", "B100")),
        Dataset("urban100", "Urban100", 100, _SELFEXSR, _RESEARCH, ("Urban100",)),
        Dataset(
            "div2k_train", "DIV2K, train", 800, _DIV2K, _RESEARCH, ("DIV2K",),
            (Layout("DIV2K_train_HR", "DIV2K_train_LR_bicubic/X{scale}", "{stem}x{scale}"),),
        ),
        Dataset(
            "div2k_val", "DIV2K, validation", 100, _DIV2K, _RESEARCH, ("DIV2K",),
            (Layout("DIV2K_valid_HR", "DIV2K_valid_LR_bicubic/X{scale}", "{stem}x{scale}"),),
        ),
        Dataset(
            "div2k_crops", "DIV2K, 30 crops of 15 training images", 30, _DIV2K, _RESEARCH,
            ("DIV2K",), (Layout("HR_crops480"),),
        ),
        Dataset(
            "photos_train", "Packaged photographs, train", 11, _PACKAGES, _FREE,
            files=(
                "skimage/data/brick.png", "skimage/data/camera.png", "skimage/data/coins.png",
                "skimage/data/grass.png", "skimage/data/gravel.png", "skimage/data/moon.png",
                "skimage/data/hubble_deep_field.jpg", "skimage/data/ihc.png",
                "skimage/data/motorcycle_left.png", "skimage/data/motorcycle_right.png",
                "skimage/data/retina.jpg",
            ),
        ),
        Dataset(
            "photos_val", "Packaged photographs, validation", 2, _PACKAGES, _FREE, side=512,
            files=("skimage/data/coffee.png", "skimage/data/rocket.jpg"),
        ),
        Dataset(
            "photos_test", "Packaged photographs, test", 4, _PACKAGES, _FREE, side=512,
            files=(
                "skimage/data/astronaut.png", "skimage/data/chelsea.png",
                "sklearn/datasets/images/china.jpg", "sklearn/datasets/images/flower.jpg",
            ),
        ),
        Dataset("div2k_test", "DIV2K, test", 100, _DIV2K, _RESEARCH),
        Dataset("pirm_val", "PIRM, validation", 100, _PIRM, _RESEARCH),
        Dataset("pirm_test", "PIRM, test", 100, _PIRM, _RESEARCH),
        Dataset("ost300", "OutdoorSceneTest300", 300, "https://github.com/xinntao/SFTGAN",
                _RESEARCH),
        Dataset("dped_iphone", "DPED, iPhone", 400, _DPED, _RESEARCH),
        Dataset("dped_blackberry", "DPED, BlackBerry", 0, _DPED, _RESEARCH),
        Dataset("dped_sony", "DPED, Sony", 0, _DPED, _RESEARCH),
        Dataset("sid_sony", "SID, Sony", 0, _SID, _RESEARCH),
        Dataset("sid_fuji", "SID, Fuji", 0, _SID, _RESEARCH),
        Dataset("lol", "LOL, eval15", 15, "https://daooshee.github.io/BMVC2018website/",
                _RESEARCH),
        Dataset("t91", "T91", 91, _SELFEXSR, _RESEARCH),
        Dataset("ava", "AVA", 255530, "https://github.com/imfing/ava_downloader", _RESEARCH),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """One image of a set at one scale. Pixels are read when asked for, and not kept."""

    stem: str
    scale: int
    hr_path: Path
    lr_path: Path | None
    """None: LR is made from HR."""
    degradation: str
    packaged: bool
    side: int | None

    def hr(self) -> Image:
        """Returns HR uint8, exactly scale times as large as LR: (H, W, 3) RGB or (H, W)."""
        image = read_image(self.hr_path)
        if self.packaged:
            image = as_rgb(_central(image, self.side))
        height, width = (s * self.scale for s in self._lr_size(image))
        return np.ascontiguousarray(image[:height, :width])

    def lr(self) -> Image:
        """Returns LR uint8, of as many channels as HR."""
        if self.lr_path is not None:
            return read_image(self.lr_path)
        seed = zlib.crc32(self.stem.encode())  # each image its own noise, the same in every run
        return DEGRADATIONS[self.degradation](self.hr(), self.scale, seed)

    def _lr_size(self, hr: Image) -> tuple[int, int]:
        if self.lr_path is not None:
            return image_size(self.lr_path)
        return hr.shape[0] // self.scale, hr.shape[1] // self.scale


def dataset(name: str) -> Dataset:
    """Returns the set of that name. Raises BenchError with the nearest known one."""
    if name not in DATASETS:
        raise BenchError(unknown("dataset", name, DATASETS))
    return DATASETS[name]


def data_root() -> Path:
    """Returns $BENCH_DATA, or `data` in the current folder."""
    return Path(os.environ.get("BENCH_DATA") or "data")


def missing(name: str) -> str | None:
    """Returns why the set cannot be read on this machine and what to do; None if it can."""
    entry = dataset(name)
    if not entry.folders and not entry.files:
        return f"{name}: not readable by this version of bench ({entry.home})."
    absent = [file for file in entry.files if not _packaged_file(file).is_file()]
    if absent:
        return f"{name}: {', '.join(absent)} not found. Install the packages: {entry.home}."
    if entry.folders and _hr_folder(entry) is None:
        folders = " or ".join(f"{f}/{entry.layouts[0].hr}" for f in entry.folders)
        return (
            f"{name}: no folder {folders} below {data_root()} ($BENCH_DATA). "
            f"Get it from {entry.home} ({entry.licence})."
        )
    return None


def load_pairs(
    name: str, scale: int, degradation: str = "bicubic", limit: int | None = None
) -> list[Pair]:
    """Returns the set's pairs, sorted by stem; the first `limit` of them.

    Published LR files are used where the degradation is "bicubic", which is how they were made.
    Raises BenchError with one line for every orphan, file of wrong size or unreadable header.
    """
    if degradation not in DEGRADATIONS:
        raise BenchError(unknown("degradation", degradation, DEGRADATIONS))
    pairs = _paired(name, scale, degradation)[:limit]
    problems = [text for pair in pairs if (text := _problem(pair))]
    if problems:
        raise BenchError("\n".join(problems))
    return pairs


def describe(name: str, scale: int, degradation: str = "bicubic") -> tuple[int, int, str]:
    """Returns (images here, images in the whole set, where LR comes from).

    The last is such as "published LR_x2", or the name of a degradation.
    """
    pairs = _paired(name, scale, degradation)
    published = pairs[0].lr_path
    source = degradation if published is None else f"published {published.parent.name}"
    return len(pairs), dataset(name).official, source


def fingerprint(name: str, scale: int, degradation: str = "bicubic") -> str:
    """Returns a hash of the stems, the bytes of all files and how LR is made."""
    digest = hashlib.blake2b(digest_size=8)
    for pair in _paired(name, scale, degradation):
        lr = degradation if pair.lr_path is None else _file_digest(pair.lr_path)
        line = f"{pair.stem} {_file_digest(pair.hr_path)} {lr} {scale} {pair.side}\n"
        digest.update(line.encode())
    return digest.hexdigest()


def _paired(name: str, scale: int, degradation: str) -> list[Pair]:
    """All pairs by file names alone. Raises BenchError for a missing set and for orphans."""
    if reason := missing(name):
        raise BenchError(reason)
    entry = dataset(name)
    if entry.files:
        found = {Path(file).stem: _packaged_file(file) for file in entry.files}
        return [
            Pair(stem, scale, found[stem], None, degradation, True, entry.side)
            for stem in sorted(found)
        ]
    hr_folder, lr_folder, lr_stem = _folders(entry, scale)
    hr_files = image_files(hr_folder)
    if lr_folder is None or degradation != "bicubic":
        return [Pair(s, scale, p, None, degradation, False, None) for s, p in hr_files.items()]
    lr_files = image_files(lr_folder)
    wanted = {lr_stem.format(stem=stem, scale=scale): stem for stem in hr_files}
    orphans = [
        f"{hr_files[wanted[s]]}: no LR file {s}.* in {lr_folder}."
        for s in wanted
        if s not in lr_files
    ]
    orphans += [
        f"{lr_files[s]}: no HR file for it in {hr_folder}." for s in lr_files if s not in wanted
    ]
    if orphans:
        raise BenchError("\n".join([*orphans, "Pairs are made by file stem: add or remove files."]))
    return [
        Pair(stem, scale, hr_files[stem], lr_files[s], degradation, False, None)
        for s, stem in wanted.items()
    ]


def _hr_folder(entry: Dataset) -> Path | None:
    for folder in entry.folders:
        for layout in entry.layouts:
            if (data_root() / folder / layout.hr).is_dir():
                return data_root() / folder
    return None


def _folders(entry: Dataset, scale: int) -> tuple[Path, Path | None, str]:
    """(HR folder, LR folder if there is one for the scale, form of an LR stem)."""
    folder = _hr_folder(entry)
    assert folder is not None
    present = [layout for layout in entry.layouts if (folder / layout.hr).is_dir()]
    for layout in present:
        if layout.lr is not None and (lr := folder / layout.lr.format(scale=scale)).is_dir():
            return folder / layout.hr, lr, layout.lr_stem
    return folder / present[0].hr, None, "{stem}"


def _problem(pair: Pair) -> str | None:
    """What a pair's headers show to be wrong."""
    try:
        size = image_size(pair.hr_path)
        if pair.lr_path is None:
            small = min(size) < pair.scale
            return f"{pair.hr_path}: smaller than one LR pixel." if small else None
        lr = image_size(pair.lr_path)
    except BenchError as error:
        return str(error)
    # LR is made from the part of HR that the scale divides, so less than one LR pixel may be over
    if all(0 <= h - pair.scale * low < pair.scale for h, low in zip(size, lr, strict=True)):
        return None
    return (
        f"{pair.lr_path}: {lr[1]}x{lr[0]} is not a x{pair.scale} LR of "
        f"{pair.hr_path.name}, {size[1]}x{size[0]}."
    )


def _central(image: Image, side: int | None) -> Image:
    """The central part of at most side x side pixels; the odd pixel is lost at the far end."""
    top, left = (max(0, n - (side or n)) // 2 for n in image.shape[:2])
    return image[top : top + (side or image.shape[0]), left : left + (side or image.shape[1])]


def _packaged_file(file: str) -> Path:
    """Path of "package/path" without importing the package; a path that is not there if absent."""
    package, _, rest = file.partition("/")
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) / rest if places else Path(file)


def _file_digest(path: Path) -> str:
    status = path.stat()
    return _digest_of_bytes(path, status.st_size, status.st_mtime_ns)


@cache
def _digest_of_bytes(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]
