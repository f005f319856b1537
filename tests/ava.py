"""A folder in AVA's layout: photographs graded by known distortions, with votes to match."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.data.pairs import load_pairs
from bench.data.votes import part_of
from methods.data.distortions import distort
from methods.nima import taught_marks

FIRST = 1000
"""The first image ID."""


def make_ava(root: Path, count: int = 60, side: int = 64) -> Path:
    """Writes AVA/AVA.txt and AVA/images below a folder of data sets; returns AVA's folder.

    Photograph i is a part of a packaged one, distorted by a severity from 0 to 1 that all kinds of
    distortion go through; its 200 votes are those that nima@photos is taught for the severity.
    """
    folder = root / "AVA"
    (folder / "images").mkdir(parents=True)
    originals = [pair.hr() for pair in load_pairs("photos_train", 1, "none")[:5]]
    rng = np.random.default_rng(0)
    lines = []
    for i in range(count):
        severity = torch.tensor([i // 5 % 6 / 5])
        whole = originals[i % len(originals)]
        top, left = (int(rng.integers(n - 2 * side)) for n in whole.shape[:2])
        part = torch.from_numpy(whole[top : top + 2 * side, left : left + side].copy())
        image = part.permute(2, 0, 1)[None].float() / 255
        bad = distort(image, severity, torch.Generator().manual_seed(i), first=-i)
        pixels = (255 * bad[0]).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / "images" / f"{FIRST + i}.jpg", quality=95)
        votes = (200 * taught_marks(severity)[0]).round().int().tolist()
        lines.append(line_of(i, votes))
    (folder / "AVA.txt").write_text("\n".join(lines) + "\n")
    return folder


def line_of(index: int, votes: list[int]) -> str:
    """A line of AVA.txt: index, ID, ten counts, two tags, challenge."""
    return " ".join(map(str, [index + 1, FIRST + index, *votes, 1, 22, 1396]))


def ids(part: str, count: int = 60) -> list[int]:
    """The IDs of a part of the set."""
    return [FIRST + i for i in range(count) if part_of(str(FIRST + i)) == part]
