"""Makes the weights of nima@photos again: python -m methods.data.make_nima_photos FOLDER

Trains on one thread of a CPU in fp32 (five minutes), writes the weights and, beside them,
notes: the recipe, the examination on photographs that were not trained on, and the digest. Another
processor or version of torch adds up in another order and makes other numbers, so weights that
differ get another version, and the old ones stay what recorded scores were measured with.
"""

import hashlib
import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import torch

from bench.records.cell import TrainedStage
from bench.records.store import Store
from bench.study.fields import TaskSection, TrainSection
from bench.train.loop import Progress
from bench.train.stages import train_stages
from methods.metrics.nima import PHOTOS
from methods.nima import NIMA

TASK = TaskSection(kind="enhancement", scale=1, degradation="none")
RECIPE = TrainSection(
    dataset="photos_train", patch=96, batch=16, steps=3000, learning_rate=1e-3,
    halve_at=(2000, 2500, 2800), precision="fp32", device="cpu",
)  # fmt: skip
SEED = 0


def make(folder: Path, recipe: TrainSection = RECIPE) -> Path:
    """Trains NIMA and writes weights and notes into a folder; returns the weights' path."""
    method, trained = NIMA(), list[TrainedStage]()
    with tempfile.TemporaryDirectory() as store:
        for event in train_stages(method, TASK, recipe, SEED, Store(Path(store)), trained):
            if isinstance(event, Progress):
                print(f"{event.step}/{event.steps} loss {event.losses['loss']:.4f}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / PHOTOS.name
    torch.save(method.state_dict(), file)
    notes = {
        "name": "nima@photos",
        "method": "methods.nima.NIMA",
        "recipe": recipe.model_dump(mode="json", exclude_unset=True) | {"seed": SEED},
        "examination": trained[0].examined,
        "made": {"torch": torch.__version__, "date": f"{datetime.now(UTC):%Y-%m-%d}"},
        "photographs": "those of scikit-image and scikit-learn: CC0, public domain or CC BY 2.0",
        "licence": "Apache-2.0",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    file.with_suffix(".json").write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")
    return file


if __name__ == "__main__":
    torch.set_num_threads(1)  # several would add up in another order
    print(make(Path(sys.argv[1])))
