"""The state of an unfinished training on disk: written whole or not at all, and forced there."""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

State = dict[str, Any]
FIELDS = {"weights", "optimizers", "average", "curves", "step", "seconds"}


def write_checkpoint(path: Path, state: State) -> None:
    """Puts a new checkpoint in the place of the last one, which stands until it is on the disk."""
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:  # given a path, torch does not say when the disk is full
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # or the new name may be lost in a power cut
    finally:
        os.close(folder)


def read_checkpoint(path: Path) -> tuple[State | None, str]:
    """Returns the state, None if there is none, and a note if it could not be read.

    A file that cannot be read is set aside under another name. Tensors are on the CPU.
    """
    if not path.is_file():
        return None, ""
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is damaged")
        state: State = torch.load(path, map_location="cpu", weights_only=True)
        if set(state) - {"updates"} != FIELDS:  # of captured ones, whether they were
            raise ValueError(f"holds {', '.join(map(str, state))}")
        return state, ""
    except Exception as error:  # a damaged file makes torch raise almost anything
        number = 1
        while (aside := path.with_name(f"{path.stem}.broken-{number}{path.suffix}")).exists():
            number += 1
        path.replace(aside)
        why = str(error).partition("\n")[0] or type(error).__name__
        return None, f"{path.name} cannot be read ({why}): set aside as {aside}"
