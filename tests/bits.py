"""What every training and network gives, as hashes: of two versions of the code, one diff apart.

    python tests/bits.py > before     # in a checkout of the version before
    python tests/bits.py > after
    diff before after

Where a line "bits" differs, what the one has recorded is not the other's. Lines "digest" say which
entries bench/records/equal.py needs where all bits are the same.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import test_train
import torch
from kit import mapped
from test_contract import batch_of, build, known, picture, plan_of, run, scales
from torch import Tensor

from bench.method import find_method, known_methods
from bench.records import digest
from bench.train.batches import Patches
from bench.train.optimizers import make_optimizers
from bench.train.pixels import TrainingPixels
from bench.train.planning import loop_digest, method_digest
from bench.train.updates import update

SIZES = [(24, 36), (30, 18)]


def main() -> None:
    torch.set_num_threads(1)
    digest.EQUAL.clear()
    print("digest of the training loop", loop_digest())
    for path in known_methods():
        print(f"digest of {path}", method_digest(find_method(path)))
    for assessing in (False, True):
        for cls in known(assessing=assessing):
            updates(cls, scales(cls)[0])
    patches()
    trainings()


def updates(cls: type, scale: int) -> None:
    """Of each stage three, in both precisions; then a restored picture."""
    method = build(cls, scale)
    for stage in method.stages():
        owner = stage.trains or method
        owner.train().requires_grad_(True)
        for precision in ("fp32", "bf16"):
            plan = plan_of(owner, stage, scale)
            recipe = plan.recipe.model_copy(update={"precision": precision})
            plan = replace(plan, recipe=recipe)
            optimizers, batch = make_optimizers(plan), batch_of(plan)
            torch.manual_seed(0)
            losses = [update(owner, stage, batch, optimizers, plan) for _ in range(3)]
            told = {f"{k} {name}": v for k, each in enumerate(losses) for name, v in each.items()}
            what = f"{cls.__module__}.{cls.__qualname__} {stage.name} {precision}"
            print("bits of", what, hashed(owner.state_dict()), hashed(told))
    if cls.task != "assessment":
        sr = run(method.eval(), picture(17, 23, channels=cls.channels))
        print(f"bits of a picture by {cls.__module__}.{cls.__qualname__}", hashed({"sr": sr}))


def images(*scales: int, wide: bool = False) -> TrainingPixels:
    rng = np.random.default_rng(0)

    def drawn(scale: int, most: int, dtype: type) -> list[np.ndarray]:
        return [rng.integers(0, most, (h // scale, w // scale, 3)).astype(dtype) for h, w in SIZES]

    kind = (65536, np.uint16) if wide else (256, np.uint8)
    lr = {scale: mapped(drawn(scale, *kind)) for scale in scales}
    return TrainingPixels(lr, mapped(drawn(1, 256, np.uint8)), "key")


def patches() -> None:
    """Of one scale, of two, of 16 bits, in all orientations, with something to learn besides HR."""
    for scales_, wide in (((2,), False), ((2, 3), False), ((1,), True)):
        for augment in ("turns", "flips", "none"):
            for targets in (None, images(1).hr):
                made = Patches(
                    images(*scales_, wide=wide), batch=3, patch=12, seed=5, augment=augment,
                    device=torch.device("cpu"), targets=targets,
                )  # fmt: skip
                parts = {}
                for step in range(5):
                    batch = made.batch(step)
                    for name in ("lr", "hr", "target"):
                        parts[f"{step} {name}"] = getattr(batch, name)
                what = f"x{scales_} {'16' if wide else '8'} bits, {augment}, {targets is not None}"
                print("bits of patches", what, made.fingerprint, hashed(parts))


def trainings() -> None:
    """Of every recipe that a resume is tested under."""
    for said in [*test_train.RECIPES, {"average": 0.9}, {"clip": 0.1}]:
        for precision in ("fp32", "bf16"):
            owner = test_train.make_net()
            plan = test_train.plan_of(owner, 13, **{"precision": precision, **said})
            with tempfile.TemporaryDirectory() as folder:
                test_train.results(test_train.start(plan, images(2), Path(folder)))
            print("bits of a training,", precision, said, hashed(owner.state_dict()))


def hashed(tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(name.encode())
        found.update(tensor.detach().contiguous().double().numpy().tobytes())
    return found.hexdigest()[:16]


if __name__ == "__main__":
    main()
