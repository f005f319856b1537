"""The geometric self-ensemble: known answers, its cost in the table, what it makes stale."""

from pathlib import Path

import numpy as np
import pytest
import torch
from kit import write_study
from torch import Tensor
from torch.nn import functional as F

from bench.api import measure_method
from bench.errors import BenchError
from bench.look.check import load_study
from bench.method import Method
from bench.method.ensemble import SelfEnsemble
from bench.method.restoring import picture_of
from bench.records.cell import Cell
from bench.report.rows import Row
from bench.report.scores import columns_of
from bench.report.tables import make_tables
from bench.sweep.identity import RESTORING, Deciding, retrains
from bench.sweep.job import Done, Job
from bench.sweep.trial import run_trial
from methods.classical import Bicubic
from methods.nima_sr import EDSR


class Rising(Method):
    """Enlarges, and adds to each pixel a tenth of the number of its column: not equivariant."""

    paper = "none"

    def __init__(self, *, scale: int = 1) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, lr: Tensor) -> Tensor:
        sr = F.interpolate(lr, scale_factor=float(self.scale))
        return sr + 0.1 * torch.arange(sr.shape[-1])


def test_the_mean_of_eight_orientations_by_hand() -> None:
    # 2 rows, 3 columns. As it is and upside down, columns get 0, 1, 2 tenths; mirrored 2, 1, 0:
    # 1 on the average. Transposed, rows get 0, 1 or 1, 0: a half. Together (1 + 0.5) / 2 tenths.
    lr = torch.tensor([[0.0, 0.1, 0.2], [0.3, 0.4, 0.5]]).expand(1, 3, 2, 3)
    assert torch.allclose(SelfEnsemble(Rising())(lr), lr + 0.075)


def test_a_method_that_turns_with_its_picture_is_its_own_ensemble() -> None:
    lr = torch.rand(1, 3, 9, 14, generator=torch.Generator().manual_seed(0))
    once = Bicubic(scale=3)(lr)
    assert torch.allclose(SelfEnsemble(Bicubic(scale=3))(lr), once, atol=1e-6)


def test_a_network_is_averaged_as_numpy_turns_pictures() -> None:
    torch.manual_seed(0)
    method = EDSR(blocks=1, channels=4, gamma=0).eval()
    lr = torch.rand(1, 3, 10, 7)
    with torch.no_grad():
        total = np.zeros((3, 20, 14))
        for mirrored in (False, True):
            for quarter in range(4):
                turned = lr[0].numpy()[:, :, ::-1] if mirrored else lr[0].numpy()
                turned = np.rot90(turned, quarter, (1, 2)).copy()
                made = np.rot90(method(torch.from_numpy(turned)[None])[0], -quarter, (1, 2))
                total += made[:, :, ::-1] if mirrored else made
        assert np.allclose(SelfEnsemble(method)(lr)[0], total / 8, atol=1e-6)


def test_tiles_of_an_ensemble_are_the_whole_picture() -> None:
    torch.manual_seed(0)
    ensemble = SelfEnsemble(EDSR(blocks=1, channels=4, gamma=0).eval())
    lr = np.random.default_rng(0).integers(0, 256, (40, 53, 3), dtype=np.uint8)
    whole = picture_of(ensemble, lr)
    tiles = picture_of(ensemble, lr, tile=16, whole=16)
    assert np.abs(whole.astype(int) - tiles).max() <= 1


# --- in a study -----------------------------------------------------------------------------------

ROWS = """
once: {use: methods.srcnn.SRCNN, width: 4}
eight: {use: methods.srcnn.SRCNN, width: 4, ensemble: true}
"""


def ran(study_file: Path, home: Path, *rows: str) -> list[Cell]:
    study = load_study(study_file)
    cells = []
    for row in rows:
        *_, done = run_trial(Job(study=study, method=row, trial=None, seed=0, store=home / "store"))
        assert isinstance(done, Done) and done.cell.state == "complete", done
        cells.append(done.cell)
    return cells


def test_a_row_by_the_ensemble_shows_its_cost_and_shares_weights_and_objectives(
    small_sets: Path, tmp_path: Path, bench_home: Path
) -> None:
    file = write_study(tmp_path, ROWS, budget="")
    once, eight = ran(file, bench_home, "once", "eight")
    assert (once.ensemble, eight.stages[0].key) == (0, once.stages[0].key)
    assert eight.ensemble > 1
    assert eight.objectives == once.objectives
    assert [s.value for s in eight.scores] != [s.value for s in once.scores]
    study = load_study(file)
    rows = [Row(cell.method, cell.method, (cell,)) for cell in (once, eight)]
    (table,) = make_tables(study, [once, eight], rows, columns_of(study, [once, eight]))
    labels = [label for label, _ in table.rows]
    assert labels[0] == "once [tiny run]"
    assert (
        labels[1] == f"eight [tiny run] [x8: 8 passes, {eight.ensemble:.1f} times the time of one]"
    )


def test_switching_it_on_measures_again_and_trains_nothing(
    small_sets: Path, tmp_path: Path
) -> None:
    file = write_study(tmp_path, "net: {use: methods.srcnn.SRCNN, width: 4}", budget="")
    before, after = load_study(file), load_study(file, ["evaluate.ensemble=true"])
    assert before.search_digest("net") == after.search_digest("net")
    recorded, now = (Deciding(study).parts("net", {}, 0) for study in (before, after))
    differing = [name for name in now if now[name] != recorded[name]]
    assert differing == [RESTORING] and not retrains(RESTORING)
    row = load_study(file, ["methods.net.ensemble=true"])
    assert Deciding(row).parts("net", {}, 0) == now


def test_pictures_made_by_anything_have_no_ensemble(small_sets: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    file = write_study(tmp_path, f"made: {{folder: {tmp_path / 'made'}, ensemble: true}}")
    with pytest.raises(BenchError, match="ensemble: makes no sense for a row of pictures"):
        load_study(file)


def test_measuring_without_a_study_says_the_cost(small_sets: Path) -> None:
    bicubic = ("methods.classical.Bicubic", ["bsd100"], 2, ["psnr_y"])
    once, eight = measure_method(*bicubic), measure_method(*bicubic, ensemble=True)
    assert not once.remarks
    (remark,) = eight.remarks
    assert remark.startswith("Self-ensemble, x8: 8 passes, ")
    values = [[s.value for s in found.scores()] for found in (once, eight)]
    assert values[1] == pytest.approx(values[0], abs=1e-3)
