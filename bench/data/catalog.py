"""What the benchmark sets are: size, source, licence, layouts on disk, traps. Nothing is read here.

Counts are those of the sets' authors; 0 where they state none. A new set is one entry.
"""

from dataclasses import dataclass
from typing import Literal

Task = Literal["super-resolution", "enhancement", "low-light", "deblurring", "assessment"]
"""What is restored from what; or that a photograph's marks are predicted."""


@dataclass(frozen=True)
class Layout:
    """Where HR and LR files lie below a set's folder, and what their names look like.

    In folders and names {scale} stands for the scale, and {stem} for the image's name.
    """

    hr: str | None
    """None: a set of LR files alone, for metrics without a reference. ".": the folder itself."""
    lr: str | None = None
    lr_stem: str = "{stem}"
    hr_stem: str = "{stem}"
    track: str = "bicubic"
    """How the LR files were made. What was photographed and not made goes under "bicubic" too:
    it is what a study uses that names no other degradation."""
    scale: int | None = None
    """The only scale that the LR files are of; None: the one in the folder's name."""

    @property
    def main(self) -> str:
        """The folder that has to be there."""
        return self.hr or self.lr or ""

    @property
    def mixed(self) -> bool:
        """Whether HR, LR and others' results lie in one folder, told apart by their names."""
        return self.hr == self.lr

    def __str__(self) -> str:
        """K stands for the scale, NAME for the image's.

        >>> str(Layout("HR", "LR_bicubic/X{scale}", "{stem}x{scale}"))
        'HR/NAME.* + LR_bicubic/XK/NAMExK.*'
        """
        hr = None if self.hr is None else f"{self.hr}/{self.hr_stem}.*".removeprefix("./")
        lr = None if self.lr is None else f"{self.lr}/{self.lr_stem}.*"
        return " + ".join(filter(None, (hr, lr))).format(stem="NAME", scale="K")


SELFEXSR = Layout(
    "image_SRF_{scale}", "image_SRF_{scale}", "{stem}_SRF_{scale}_LR", "{stem}_SRF_{scale}_HR"
)  # fmt: skip
COMMON = (
    Layout("HR", "LR_x{scale}"),
    Layout("HR", "LR_bicubic/X{scale}", "{stem}x{scale}"),  # KAIR, SwinIR, EDSR-PyTorch
    Layout("GTmod12", "LRbicx{scale}"),  # BasicSR, MMagic
    SELFEXSR,
)
FLAT = Layout(".", "LR_x{scale}")


@dataclass(frozen=True)
class Dataset:
    """A set of HR images, with or without published LR files; or of LR images alone.

    HR for a scale is the top-left part that the scale divides, so one HR file serves all scales.
    Without LR files of a scale, LR is made from HR by the study's degradation.
    """

    name: str
    title: str
    official: int
    """Images in the whole set; 0 where that is not stated, or not fixed."""
    home: str
    """Where to get it; empty for a folder of the user's own."""
    licence: str
    folders: tuple[str, ...] = ()
    """Below $BENCH_DATA; the first in which a layout is found counts."""
    layouts: tuple[Layout, ...] = COMMON
    """The first whose folder is there counts."""
    scale: int | None = None
    """The only scale of the set; None: any."""
    traps: tuple[str, ...] = ()
    """What is known to spoil numbers on it, a line each."""
    protocol: str = ""
    """Name of the protocol that its papers score under; empty: that of the task."""
    files: tuple[str, ...] = ()
    """Instead of folders: files inside installed packages, "package/path". Gray ones become RGB by
    repeating the channel: these are photographs to train and to try on, not published files."""
    side: int | None = None
    """Of `files`: keep the central side x side pixels of what is larger."""
    camera: str = ""
    """Instead of layouts: the camera of raw files, a key of bench.data.raw.CAMERAS."""
    listing: str = ""
    """Of a camera: the list of pairs, short and long exposure, one pair a line."""
    exclude: tuple[str, ...] = ()
    """Of a camera: scenes that are left out."""
    votes: str = ""
    """In the set's folder: a file of votes in AVA's layout, which says what belongs to the set."""
    part: Literal["", "train", "val"] = ""
    """Of a set with votes: four fifths to train on, or the fifth to validate on, by image ID."""


_SELFEXSR_HOME = "https://github.com/jbhuang0604/SelfExSR"
_DIV2K = "https://data.vision.ee.ethz.ch/cvl/DIV2K/"
_BASICSR = "https://github.com/XPixelGroup/BasicSR/blob/master/docs/DatasetPreparation.md"
_PIRM = "https://pirm.github.io"
_DPED = "http://people.ee.ethz.ch/~ihnatova/"
_SID = "https://github.com/cchen156/Learning-to-See-in-the-Dark"
_LOL = "https://daooshee.github.io/BMVC2018website/"
_PACKAGES = "pip install scikit-image scikit-learn"
_RESEARCH = "for research; see its authors' terms"
_ACADEMIC = "academic research only"
_FREE = (
    "scikit-image: CC0, public domain or no known restriction (motorcycle: Middlebury 2014, not "
    "stated); scikit-learn: CC BY 2.0 (china: danielbuechele, flower: vultilion)"
)

_HALF_SIZE = (
    "SelfExSR's image_SRF_2 files are half as large as its image_SRF_4 files (bicubic x2 gives "
    "26.57 instead of 26.88 dB): HR comes from image_SRF_4 at every scale."
)
_BRIDGE = (
    "bridge (img_003) is a single-channel file: bicubic x2 of the set is 30.24 dB where its gray "
    "counts as Y, 30.33 dB where it is turned into RGB first. The protocol decides."
)
_NO_HR = "its HR files are not public: only metrics without a reference can be computed."
_WHITE = "some patches are white in both images: the PSNR of a perfect result is infinite there."
_PATCHES = "PSNR and SSIM on the aligned patches alone: the full-size photographs do not align."
_PIRM_PATCHES = (
    "the 400 pairs used for PIRM 2018 are a part of DPED's test patches; of these, 103, 177, 221 "
    "and 308 are white."
)
_MISALIGNED = (
    "the long exposures of scenes 10034, 10045 and 10172 are misaligned (its authors, August 2018)"
)
_BRIGHTNESS = "tables that align the result's brightness with HR's print several dB more."

_AVA_HOME = "https://github.com/imfing/ava_downloader"
_AVA_FOLDERS = ("AVA", "AVA_dataset")
_AVA = (Layout("images"), Layout("image"), FLAT)
_AVA_GONE = (
    "some of the listed photographs can no longer be had: the usual archive has about 255,500."
)


def _div2k(part: str) -> tuple[Layout, ...]:
    """Published by NTIRE 2017, and x8 by NTIRE 2018."""
    hr, lr = f"DIV2K_{part}_HR", f"DIV2K_{part}_LR"
    return (
        Layout(hr, f"{lr}_bicubic/X{{scale}}", "{stem}x{scale}"),
        Layout(hr, f"{lr}_x8", "{stem}x8", scale=8),
        Layout(hr, f"{lr}_unknown/X{{scale}}", "{stem}x{scale}", track="unknown"),
    )


def _pirm(released: str, challenge: str) -> tuple[Layout, ...]:
    """The tree that was released after the challenge, and the challenge's own."""
    final = [f"{folder}{released}" for folder in ("PIRM_dataset/", "")]
    ours = f"PIRM_{challenge}_set"
    return (
        *(Layout(f"{f}/Original", f"{f}/4x_downsampled", scale=4) for f in final),
        Layout(f"{ours}/HR", f"{ours}/LR", scale=4),
        Layout(None, f"{ours}/LR", scale=4),
    )


def _dped(phone: str, title: str) -> tuple[Dataset, ...]:
    """Test patches, training patches, samples, and full-size test photographs of one phone.

    The paper rounds its counts of patches; of full-size photographs its code names 29.
    """
    folders = ("DPED", "dped", ".")

    def patches(folder: str) -> tuple[Layout, ...]:
        return (Layout(f"{phone}/{folder}/canon", f"{phone}/{folder}/{phone}", scale=1),)

    traps = (_WHITE, _PATCHES, *([_PIRM_PATCHES] if phone == "iphone" else []))
    full = (Layout(None, f"{phone}/test_data/full_size_test_images", scale=1),)
    return (
        Dataset(f"dped_{phone}", f"DPED, {title}, test patches", 0, _DPED, _RESEARCH, folders,
                patches("test_data/patches"), 1, traps, "dped-patch@1"),
        Dataset(f"dped_{phone}_train", f"DPED, {title}, training patches", 0, _DPED, _RESEARCH,
                folders, patches("training_data"), 1, traps[:2], "dped-patch@1"),
        Dataset(f"dped_{phone}_samples", f"DPED, {title}, a few sample patches", 0, _DPED,
                _RESEARCH, folders, patches("sample_patches_png"), 1, traps[:2], "dped-patch@1"),
        Dataset(f"dped_{phone}_full", f"DPED, {title}, full-size test photographs", 29, _DPED,
                _RESEARCH, folders, full, 1, traps[1:2]),
    )  # fmt: skip


def _sid(
    name: str, camera: str, split: str, official: int, *traps: str, exclude: tuple[str, ...] = ()
) -> Dataset:
    """official: pairs in the published list, without those of the excluded scenes."""
    return Dataset(
        name, f"SID, {camera.title()}, {split}", official, _SID, "MIT, with its code",
        ("SID", "SID/dataset", "."), (), {"sony": 2, "fuji": 3}[camera], (*traps, _BRIGHTNESS),
        "sid-srgb@1", camera=camera, listing=f"{camera.title()}_{split}_list.txt", exclude=exclude,
    )  # fmt: skip


DATASETS: dict[str, Dataset] = {
    d.name: d
    for d in (
        Dataset("set5", "Set5", 5, _SELFEXSR_HOME, _RESEARCH, ("Set5",)),
        Dataset("set14", "Set14", 14, _SELFEXSR_HOME, _RESEARCH, ("Set14",), traps=(_BRIDGE,)),
        Dataset("bsd100", "BSD100", 100, _SELFEXSR_HOME, _RESEARCH, ("BSD100", "B100", "BSDS100")),
        Dataset(
            "urban100", "Urban100", 100, _SELFEXSR_HOME, _RESEARCH, ("Urban100", "urban100"),
            (*COMMON[:3], Layout("image_SRF_4", "image_SRF_4", "{stem}_SRF_4_LR",
                                 "{stem}_SRF_4_HR", scale=4)),
            traps=(_HALF_SIZE,),
        ),
        Dataset("div2k_train", "DIV2K, train", 800, _DIV2K, _ACADEMIC, ("DIV2K", "."),
                _div2k("train")),
        Dataset("div2k_val", "DIV2K, validation", 100, _DIV2K, _ACADEMIC, ("DIV2K", "."),
                _div2k("valid")),
        Dataset(
            "div2k_test", "DIV2K, test", 100, _DIV2K, _ACADEMIC, ("DIV2K", "."),
            (Layout(None, "DIV2K_test_LR_bicubic/X{scale}", "{stem}x{scale}"),
             Layout(None, "DIV2K_test_LR_unknown/X{scale}", "{stem}x{scale}", track="unknown")),
            traps=(_NO_HR,),
        ),
        Dataset(
            "div2k_crops", "DIV2K, 30 crops of 15 training images", 30, _DIV2K, _ACADEMIC,
            ("DIV2K",), (Layout("HR_crops480"),),
        ),
        Dataset(
            "div2k_samples", "DIV2K, a few LR files of the validation set", 0, _DIV2K, _ACADEMIC,
            ("DIV2K",), (Layout(None, "valid_LR_X4_samples", scale=4),),
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
        Dataset("pirm_val", "PIRM, validation", 100, _PIRM, _RESEARCH, ("PIRM", "."),
                _pirm("Validation", "Val")),
        Dataset("pirm_test", "PIRM, test", 100, _PIRM, _RESEARCH, ("PIRM", "."),
                _pirm("Test", "Test")),
        Dataset(  # numbered 1 to 100, before the validation set's 101 to 200
            "pirm_selfval", "PIRM, self-validation", 100, _PIRM, _RESEARCH, ("PIRM", "."),
            (Layout("PIRM_Self-Val_set/HR", "PIRM_Self-Val_set/LR", scale=4),
             Layout(None, "PIRM_Self-Val_set/LR", scale=4),
             Layout(None, "selfval_LR_x4", scale=4)),
        ),
        Dataset(
            "ost300", "OutdoorSceneTest300", 300, "https://github.com/xinntao/SFTGAN", _RESEARCH,
            ("OST300", "OutdoorSceneTest300/OST300_img", "OutdoorSceneTest300", "OST300_img"),
            (*COMMON, FLAT),
        ),
        *_dped("iphone", "iPhone 3GS"),
        *_dped("blackberry", "BlackBerry Passport"),
        *_dped("sony", "Sony Xperia Z"),
        _sid("sid_sony", "sony", "test", 562,  # the list has 598, 36 of them of these scenes
             f"{_MISALIGNED}, and left out: sid_sony_all keeps them.",
             exclude=("10034", "10045", "10172")),
        _sid("sid_sony_all", "sony", "test", 598,
             f"{_MISALIGNED}, and counted here: sid_sony leaves them out."),
        _sid("sid_sony_train", "sony", "train", 1865),
        _sid("sid_fuji", "fuji", "test", 524),
        _sid("sid_fuji_train", "fuji", "train", 1655),
        Dataset(
            "lol", "LOL, eval15", 15, _LOL, _RESEARCH, ("LOL", "LOLdataset"),
            (Layout("eval15/high", "eval15/low", scale=1),), 1, (_BRIGHTNESS,),
        ),
        Dataset(
            "lol_train", "LOL, our485", 485, _LOL, _RESEARCH, ("LOL", "LOLdataset"),
            (Layout("our485/high", "our485/low", scale=1),), 1,
        ),
        Dataset("t91", "T91", 91, _BASICSR, _RESEARCH, ("T91",), (*COMMON, FLAT)),
        Dataset(
            "ava", "AVA", 255530, _AVA_HOME, _RESEARCH, _AVA_FOLDERS, _AVA,
            traps=(_AVA_GONE, "the votes are those of ava_train and ava_val."),
        ),
        Dataset("ava_train", "AVA with its votes, four fifths", 0, _AVA_HOME, _RESEARCH,
                _AVA_FOLDERS, _AVA, traps=(_AVA_GONE,), votes="AVA.txt", part="train"),
        Dataset("ava_val", "AVA with its votes, one fifth", 0, _AVA_HOME, _RESEARCH,
                _AVA_FOLDERS, _AVA, traps=(_AVA_GONE,), votes="AVA.txt", part="val"),
    )
}  # fmt: skip
