"""Study files: what they mean, and every mistake in them, each with file and line."""

import shutil
from pathlib import Path

import pydantic
import pytest
import torch

from bench.errors import BenchError
from bench.look.check import load_study
from bench.look.plan import plan_text, study_plan
from bench.study.fields import Study
from bench.study.located_yaml import parse_scalar
from bench.study.space import Range, grid, parse_range

STUDIES = sorted((Path(__file__).parents[1] / "studies").glob("*.yaml"))

TEXT = """\
name: small
task: {kind: super-resolution, scale: 2}
train: {dataset: set5, patch: 16, batch: 2, steps: 4, learning_rate: 1e-4}
methods:
  bicubic: {use: methods.classical.Bicubic}
  edsr: {use: methods.nima_sr.EDSR, blocks: 1, channels: 4, gamma: {float: [0.0, 1.0]}}
select: {dataset: set14, maximize: [psnr_y]}
evaluate:
  datasets: [bsd100]
  metrics: [psnr_y, ssim_y]
budget: {trials: 2}
"""

Edit = tuple[str, str]


@pytest.fixture
def folder(tmp_path: Path, small_sets: Path) -> Path:
    """Where the study files of a test lie, on a machine with three small sets."""
    (tmp_path / "studies").mkdir()
    return tmp_path / "studies"


def edited(*edits: Edit) -> str:
    text = TEXT
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def load(
    folder: Path, *edits: Edit, overrides: tuple[str, ...] = (), strict: bool = False
) -> Study:
    file = folder / "small.yaml"
    file.write_text(edited(*edits))
    return load_study(file, overrides, strict)


def mistakes(
    folder: Path, *edits: Edit, overrides: tuple[str, ...] = (), strict: bool = False
) -> list[str]:
    """The lines of the error, their file's folder cut off."""
    with pytest.raises(BenchError) as caught:
        load(folder, *edits, overrides=overrides, strict=strict)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_a_study_says_what_its_file_says(folder: Path) -> None:
    study = load(folder)
    assert (study.name, study.task.scale, study.task.degradation) == ("small", 2, "bicubic")
    assert study.methods["edsr"].fixed == {"blocks": 1, "channels": 4}
    assert study.methods["edsr"].ranges == {"gamma": Range(kind="float", low=0, high=1)}
    assert study.select is not None and study.select.directions == ["maximize"]
    assert study.budget.seeds == (0,) and study.budget.sampler == "tpe"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_of_the_repository_loads(path: Path) -> None:
    try:
        study = load_study(path)
    except BenchError as error:
        if all("on this machine" in line for line in str(error).splitlines()):
            pytest.skip(str(error))
        raise
    assert study.name == path.stem
    assert study.header, "the comment at its top states the question, the cost and the answer"


def test_the_first_study_needs_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("BENCH_DATA", "BENCH_WEIGHTS", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "nothing"))
    assert load_study(STUDIES[0].with_name("gamma.yaml")).name == "gamma"


def test_1e_4_is_a_number(folder: Path) -> None:
    study = load(folder)
    assert study.train is not None and study.train.learning_rate == 0.0001


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1E3", 1000.0), ("-.5", -0.5), ("2.", 2.0), ("7", 7), ("1_000", 1000),
        ("010", 10), ("08", 8), ("true", True), ("False", False), ("null", None), ("no", "no"),
        ("on", "on"), ("Yes", "Yes"), ("1:30", "1:30"), ("2024-01-02", "2024-01-02"),
        ("[0, 1]", [0, 1]), ("x: [", "x: ["),
    ],
)  # fmt: skip
def test_scalars_have_none_of_yaml_1_1s_traps(text: str, value: object) -> None:
    got = parse_scalar(text)
    assert got == value and type(got) is type(value)


def test_a_study_cannot_change(folder: Path) -> None:
    study = load(folder)
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        study.task.scale = 3  # type: ignore[misc]
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        study.name = "other"  # type: ignore[misc]


def test_the_comment_at_the_top_is_the_header(folder: Path) -> None:
    study = load(folder, ("name: small", "# Does it help?\n# About 1 min.\nname: small"))
    assert study.header == "Does it help?\nAbout 1 min."


GAMMA = "{float: [0.0, 1.0]}"
RATE = "learning_rate: 1e-4"


@pytest.mark.parametrize(
    ("edit", "start", "parts"),
    [
        # keys
        (("name: small", "name: small\nnmae: x"), "small.yaml:2: nmae:",
         ["unknown key 'nmae'", "Did you mean 'name'?"]),
        (("patch: 16", "pach: 16"), "small.yaml:3: train.pach:",
         ["unknown key 'pach'", "Did you mean 'patch'?", "batch, betas"]),
        (("name: small\n", "name: small\nname: large\n"), "small.yaml:2: name:",
         ["given twice", "line 1"]),
        (("blocks: 1,", "blocks: 1, blocks: 2,"), "small.yaml:6: methods.edsr.blocks:",
         ["given twice", "line 6"]),
        (("name: small\n", ""), "small.yaml:1:", ["'name' is missing"]),
        (("{kind: super-resolution, scale: 2}", "{kind: super-resolution}"), "small.yaml:2: task:",
         ["'scale' is missing"]),
        (("{use: methods.classical.Bicubic}", "{scale: 2}"), "small.yaml:5: methods.bicubic:",
         ["'use' is missing"]),
        # types and values
        (("name: small", "name: Small Study"), "small.yaml:1: name:", ["'Small Study'"]),
        (("scale: 2", "scale: two"), "small.yaml:2: task.scale:", ["integer", "'two'"]),
        (("scale: 2", "scale: 9"), "small.yaml:2: task.scale:", ["8", "got 9"]),
        (("steps: 4", "steps: 2.5"), "small.yaml:3: train.steps:", ["integer", "2.5"]),
        (("steps: 4", "steps: no"), "small.yaml:3: train.steps:", ["integer", "'no'"]),
        (("learning_rate: 1e-4", "learning_rate: 0"), "small.yaml:3: train.learning_rate:",
         ["greater than 0", "got 0"]),
        (("learning_rate: 1e-4", "precision: bf61"), "small.yaml:3: train.precision:",
         ["unknown value 'bf61'", "Did you mean 'bf16'?", "auto, bf16, fp32"]),
        (("learning_rate: 1e-4", "device: cdua"), "small.yaml:3: train.device:",
         ["unknown device 'cdua'", "Did you mean 'cuda'?"]),
        (("kind: super-resolution", "kind: superresolution"), "small.yaml:2: task.kind:",
         ["Did you mean 'super-resolution'?", "deblurring"]),
        (("maximize: [psnr_y]", "maximize: [psnr_y], allow_reported: no"),
         "small.yaml:7: select.allow_reported:", ["boolean", "'no'"]),
        (("task: {kind: super-resolution, scale: 2}", "task: [2]"), "small.yaml:2: task:",
         ["[2]"]),
        (("task: {kind: super-resolution, scale: 2}", "task:"), "small.yaml:2: task:", ["empty"]),
        (("{trials: 2}", ""), "small.yaml:11: budget:", ["empty"]),
        (("bicubic:", "'bi cubic':"), "small.yaml:5: methods.bi cubic:", ["letters, digits"]),
        # names
        (("methods.classical.Bicubic", "methods.classical.Bicubik"),
         "small.yaml:5: methods.bicubic.use:", ["Did you mean 'methods.classical.Bicubic'?"]),
        (("methods.classical.Bicubic", "methods.clasical.Bicubic"),
         "small.yaml:5: methods.bicubic.use:", ["Did you mean 'methods.classical.Bicubic'?"]),
        (("methods.classical.Bicubic", "Bicubic"), "small.yaml:5: methods.bicubic.use:",
         ["dotted path"]),
        (("blocks: 1", "block: 1"), "small.yaml:6: methods.edsr.block:",
         ["unknown parameter 'block'", "Did you mean 'blocks'?", "channels"]),
        (("blocks: 1", "blocks: many"), "small.yaml:6: methods.edsr.blocks:",
         ["integer", "'many'"]),
        (("dataset: set5", "dataset: set55"), "small.yaml:3: train.dataset:",
         ["unknown dataset 'set55'", "Did you mean 'set5'?", "urban100"]),
        (("datasets: [bsd100]", "datasets: [bsd100, bsd10]"),
         "small.yaml:9: evaluate.datasets.1:", ["unknown dataset 'bsd10'", "'bsd100'"]),
        (("[psnr_y, ssim_y]", "[psnr_y, ssimy]"), "small.yaml:10: evaluate.metrics.1:",
         ["unknown metric 'ssimy'", "'ssim_y'"]),
        (("metrics: [psnr_y, ssim_y]", "metrics: [psnr_y]\n  protocol: sr-y"),
         "small.yaml:11: evaluate.protocol:", ["unknown protocol 'sr-y'", "'sr-y@1'"]),
        (("scale: 2}", "scale: 2, degradation: none}"), "small.yaml:2: task.degradation:",
         ["scale 1, got 2"]),
        (("scale: 2}", "scale: 2, degradation: bicubick}"), "small.yaml:2: task.degradation:",
         ["unknown degradation", "'bicubic'"]),
        (("{use: methods.classical.Bicubic}", "{use: methods.classical.Bicubic, scale: 3}"),
         "small.yaml:5: methods.bicubic.scale:", ["3 where 2 is asked for"]),
        # capitals apart
        (("task: {kind", "Task: {kind"), "small.yaml:2: Task:", ["Did you mean 'task'?"]),
        (("train:", "Train:"), "small.yaml:3: Train:", ["Did you mean 'train'?"]),
        (("select:", "SELECT:"), "small.yaml:7: SELECT:", ["Did you mean 'select'?"]),
        (("steps: 4", "Steps: 4"), "small.yaml:3: train.Steps:", ["Did you mean 'steps'?"]),
        (("channels: 4", "CHANNELS: 4"), "small.yaml:6: methods.edsr.CHANNELS:",
         ["unknown parameter 'CHANNELS'. Did you mean 'channels'?"]),
        (("methods.nima_sr.EDSR", "methods.nima_sr.edsr"), "small.yaml:6: methods.edsr.use:",
         ["Did you mean 'methods.nima_sr.EDSR'?"]),
        (("dataset: set5", "dataset: SET5"), "small.yaml:3: train.dataset:",
         ["Did you mean 'set5'?"]),
        (("[psnr_y, ssim_y]", "[PSNR_Y, ssim_y]"), "small.yaml:10: evaluate.metrics.0:",
         ["unknown metric 'PSNR_Y'. Did you mean 'psnr_y'?"]),
        (("maximize: [psnr_y]", "maximize: [PSNR_Y]"), "small.yaml:7: select.maximize.0:",
         ["not computed", "Did you mean 'psnr_y'?"]),
        (("{trials: 2}", "{sampler: TPE}"), "small.yaml:11: budget.sampler:",
         ["Did you mean 'tpe'?"]),
        # a list, a word or a mapping where something else was meant
        (("blocks: 1", "blocks: [4, 8]"), "small.yaml:6: methods.edsr.blocks:",
         ["got [4, 8]", "{int: [4, 8]}", "{choice: [4, 8]}", "{grid: [4, 8]}", "sampler: grid"]),
        ((GAMMA, "[0.1, 0.2, 0.4]"), "small.yaml:6: methods.edsr.gamma:",
         ["{choice: [0.1, 0.2, 0.4]}", "{grid: [0.1, 0.2, 0.4]}"]),
        ((GAMMA, "{Float: [0, 1]}"), "small.yaml:6: methods.edsr.gamma:",
         ["is no range", "Did you mean 'float'?"]),
        (("steps: 4", "steps: [4, 8]"), "small.yaml:3: train.steps:",
         ["got [4, 8]", "Only the parameters of a method take ranges"]),
        ((RATE, "learning_rate: {grid: [1e-4, 1e-3]}"), "small.yaml:3: train.learning_rate:",
         ["Only the parameters of a method take ranges"]),
        (("metrics: [psnr_y, ssim_y]", "metrics: psnr_y"), "small.yaml:10: evaluate.metrics:",
         ["needs a list", "Write [psnr_y]."]),
        (("{use: methods.classical.Bicubic}", "methods.classical.Bicubic"),
         "small.yaml:5: methods.bicubic:", ["Write {use: methods.classical.Bicubic}."]),
        (("maximize: [psnr_y]", "maximize: [psnr_y], allow_reported: yes"),
         "small.yaml:7: select.allow_reported:", ["got 'yes'. Write true."]),
        (("name: small", "name:"), "small.yaml:1: name:", ["empty"]),
        (("edsr: {use", "edsr: {<<: 3, use"), "small.yaml:6: <<:", ["a mapping, or a list of"]),
        # ranges
        ((GAMMA, "{float: [1.0, 0.5]}"), "small.yaml:6: methods.edsr.gamma:",
         ["low 1 is above high 0.5"]),
        ((GAMMA, "{float: [0, 1], log: true}"), "small.yaml:6: methods.edsr.gamma:",
         ["above 0, got 0"]),
        ((GAMMA, "{float: [0.1, 1], log: no}"), "small.yaml:6: methods.edsr.gamma:",
         ["log must be true or false", "'no'"]),
        ((GAMMA, "{float: [0.1, .inf]}"), "small.yaml:6: methods.edsr.gamma:", ["two float ends"]),
        ((GAMMA, "{flaot: [0.1, 1]}"), "small.yaml:6: methods.edsr.gamma:", ["is no range"]),
        ((GAMMA, "{float: [0.1, 1], step: 2}"), "small.yaml:6: methods.edsr.gamma:",
         ["unknown key 'step'"]),
        (("blocks: 1", "blocks: {int: [1, 4], step: 2}"), "small.yaml:6: methods.edsr.blocks:",
         ["high 4 is not reached from 1 in steps of 2"]),
        (("blocks: 1", "blocks: {int: [1, 2.5]}"), "small.yaml:6: methods.edsr.blocks:",
         ["two int ends"]),
        (("blocks: 1", "blocks: {choice: []}"), "small.yaml:6: methods.edsr.blocks:",
         ["at least one value"]),
        (("blocks: 1", "blocks: {choice: [1, 2, 1]}"), "small.yaml:6: methods.edsr.blocks:",
         ["given twice"]),
        ((GAMMA, "{float: [-1, 1]}"), "small.yaml:6: methods.edsr.gamma:", ["greater than", "-1"]),
        (("blocks: 1", "blocks: {choice: [1, many]}"), "small.yaml:6: methods.edsr.blocks:",
         ["'many'"]),
        (("blocks: 1", "blocks: {int: [0, 3]}"), "small.yaml:6: methods.edsr.blocks:",
         ["greater than or equal to 1, got 0"]),
        # search
        (("maximize: [psnr_y]", "maximize: [psnr]"), "small.yaml:7: select.maximize.0:",
         ["not computed", "Did you mean 'psnr_y'?"]),
        (("maximize: [psnr_y]", "minimize: [psnr_y]"), "small.yaml:7: select.minimize.0:",
         ["better when higher", "under maximize"]),
        (("dataset: set14, maximize: [psnr_y]", "dataset: set14"), "small.yaml:7: select:",
         ["no objective"]),
        (("dataset: set14", "dataset: bsd100"), "small.yaml:7: select.dataset:",
         ["'bsd100' is also reported", "allow_reported: true"]),
        (("select: {dataset: set14, maximize: [psnr_y]}\n", ""), "small.yaml:1:",
         ["'select' is missing", "edsr has ranges"]),
        (("train: {dataset: set5, patch: 16, batch: 2, steps: 4, learning_rate: 1e-4}\n", ""),
         "small.yaml:1:", ["'train' is missing", "edsr"]),
        (("{trials: 2}", "{trials: 2, sampler: grid}"), "small.yaml:6: methods.edsr.gamma:",
         ["sampler grid cannot count float [0, 1]"]),
        ((GAMMA, "{grid: [0.0, 0.5]}"), "small.yaml:6: methods.edsr.gamma:",
         ["needs sampler: grid, got tpe"]),
        (("{trials: 2}", "{trials: 0}"), "small.yaml:11: budget.trials:", ["got 0"]),
        (("{trials: 2}", "{seeds: []}"), "small.yaml:11: budget.seeds:", ["different", "[]"]),
        (("{trials: 2}", "{seeds: [1, 1]}"), "small.yaml:11: budget.seeds:", ["[1, 1]"]),
        # recipes
        ((RATE, "optimizer: adamm"), "small.yaml:3: train.optimizer:",
         ["unknown value 'adamm'", "Did you mean 'adam'?", "adam, adamw, sgd"]),
        ((RATE, "clip: -1"), "small.yaml:3: train.clip:", ["greater than or equal to 0, got -1"]),
        ((RATE, "average: 1.5"), "small.yaml:3: train.average:", ["less than 1, got 1.5"]),
        ((RATE, "average: -0.1"), "small.yaml:3: train.average:", ["equal to 0, got -0.1"]),
        ((RATE, "epochs: 2"), "small.yaml:3: train.epochs:", ["steps and epochs exclude each"]),
        (("steps: 4, ", ""), "small.yaml:3: train:", ["'sr' of edsr: 'steps' is missing, or ep"]),
        ((RATE, "optimizer: sgd, betas: [0.9, 0.99]"), "small.yaml:3: train.betas:",
         ["sgd has no betas (adam, adamw only), got [0.9, 0.99]"]),
        ((RATE, "momentum: 0.9"), "small.yaml:3: train:",
         ["stage 'sr' of edsr", "adam has no momentum (sgd only), got 0.9"]),
        ((RATE, "betas: 0.9"), "small.yaml:3: train.betas:", ["needs a list", "got 0.9"]),
        ((RATE, "learning_rate: fast"), "small.yaml:3: train.learning_rate:",
         ["a number greater than 0, or one for each loss", "'fast'"]),
        ((RATE, "learning_rate: {los: 1e-4}"), "small.yaml:3: train:",
         ["no rate for a loss", "unknown loss 'loss'. Did you mean 'los'?"]),
        ((RATE, "rate: linear"), "small.yaml:3: train.rate:", ["{cosine: 0.01}", "'linear'"]),
        ((RATE, "rate: {cosine: 0.1, halve: 2}"), "small.yaml:3: train.rate:",
         ["halve and cosine exclude each other"]),
        ((RATE, "rate: {cosin: 0.1}"), "small.yaml:3: train.rate.cosin:",
         ["unknown key 'cosin'", "Did you mean 'cosine'?"]),
        ((RATE, "rate: {at: {2: -1}}"), "small.yaml:3: train.rate.at.2:", ["greater than 0"]),
        ((RATE, "rate: {exponential: 0.9, every: 3 weeks}"), "small.yaml:3: train.rate.every:",
         ["10 epochs", "'3 weeks'"]),
        ((RATE, "halve_at: [2], rate: {warmup: 1}"), "small.yaml:3: train.halve_at:",
         ["halve_at and rate exclude each other"]),
        (("blocks: 1", "train: {clap: 1}, blocks: 1"), "small.yaml:6: methods.edsr.train.clap:",
         ["unknown key 'clap'", "Did you mean 'clip'?"]),
        (("blocks: 1", "train: {optimizer: sdg}, blocks: 1"),
         "small.yaml:6: methods.edsr.train.optimizer:", ["Did you mean 'sgd'?"]),
        (("blocks: 1", "train: {dataset: set5}, blocks: 1"),
         "small.yaml:6: methods.edsr.train.dataset:", ["unknown key 'dataset'"]),
        (("blocks: 1", "train: 5, blocks: 1"), "small.yaml:6: methods.edsr.train:",
         ["needs a mapping", "got 5"]),
        (("blocks: 1", "train: {patch: 17}, blocks: 1"), "small.yaml:6: methods.edsr.train.patch:",
         ["stage 'sr' of edsr trains on patches of 17", "multiple of its scale, 2"]),
        (("blocks: 1", "train: {momentum: 0.5}, blocks: 1"), "small.yaml:6: methods.edsr.train:",
         ["stage 'sr' of edsr", "adam has no momentum"]),
        # lists and sizes
        (("datasets: [bsd100]", "datasets: []"), "small.yaml:9: evaluate.datasets:", ["empty"]),
        (("metrics: [psnr_y, ssim_y]", "metrics: [psnr_y, psnr_y]"),
         "small.yaml:10: evaluate.metrics:", ["'psnr_y' is given twice"]),
        (("datasets: [bsd100]", "datasets: [bsd100, bsd100]"), "small.yaml:9: evaluate.datasets:",
         ["'bsd100' is given twice"]),
        (("patch: 16", "patch: 30"), "small.yaml:3: train.patch:",
         ["30 does not fit into bird", "at most 28"]),
        (("patch: 16", "patch: 17"), "small.yaml:3: train.patch:",
         ["not a multiple of the scale 2", "17"]),
    ],
)  # fmt: skip
def test_one_mistake_is_one_line_with_its_place(
    folder: Path, edit: Edit, start: str, parts: list[str]
) -> None:
    (line,) = mistakes(folder, edit)
    assert line.startswith(start)
    for part in parts:
        assert part in line.removeprefix(start)


def test_a_list_where_every_value_is_tried_proposes_a_grid(folder: Path) -> None:
    (line,) = mistakes(folder, (GAMMA, "0.5"), ("blocks: 1", "blocks: [4, 8]"),
                       ("{trials: 2}", "{sampler: grid}"))  # fmt: skip
    assert line.endswith("got [4, 8]. Write {grid: [4, 8]} to try each.")


def test_a_study_says_recipes_for_all_and_for_one_method(folder: Path) -> None:
    study = load(
        folder,
        ("steps: 4, learning_rate: 1e-4", "epochs: 4, rate: {at: {10: 0.1, 20: 0.5}, warmup: 2}"),
        ("blocks: 1", "train: {steps: 5, optimizer: sgd, momentum: 0.9, average: 0.99}, blocks: 1"),
    )
    assert study.train is not None and study.train.rate is not None
    assert study.train.rate.at == {10: 0.1, 20: 0.5} and study.train.rate.warmup == 2
    row = study.methods["edsr"]
    assert row.train is not None and row.train.momentum == 0.9
    assert "train" not in {**row.fixed, **row.ranges}, "no hyper-parameter"
    assert Study.model_validate_json(study.model_dump_json()) == study


def test_check_shows_the_recipe_of_each_stage_and_what_it_replaces(
    folder: Path, bench_home: Path
) -> None:
    study = load(
        folder,
        ("steps: 4, learning_rate: 1e-4", "steps: 4, clip: 0.5, halve_at: [2]"),
        ("blocks: 1", "train: {steps: 5, clip: 1}, blocks: 1"),
        (GAMMA, "0.0"),
        ("{trials: 2}", "{seeds: [0]}"),
    )
    (stage,) = study_plan(study, workers=1)["methods"][1]["stages"]
    assert stage["steps"] == 5
    assert stage["recipe"] == "batch 2, patch 16, rate halve [2], clip 1.0"
    assert stage["instead_of"] == {"study": "steps 4, clip 0.5"}
    text = plan_text(study_plan(study, workers=1))
    assert "batch 2, patch 16, rate halve [2], clip 1.0; not steps 4, clip 0.5 of the study" in text


def test_check_times_a_training_of_two_rows_once(folder: Path, bench_home: Path) -> None:
    same = "{use: methods.nima_sr.EDSR, blocks: 1, channels: 4, gamma: 0.0}"
    study = load(folder, ("{use: methods.classical.Bicubic}", same), (GAMMA, "0.0"))
    plan = study_plan(study, workers=1)
    (first,), (second,) = (row["stages"] for row in plan["methods"])
    assert (first["trained_for"], second["trained_for"]) == ("bicubic", "bicubic")
    assert first["seconds"] > 0 == second["seconds"]
    assert "steps, trained for bicubic" in plan_text(plan)


def test_all_mistakes_come_at_once(folder: Path) -> None:
    lines = mistakes(
        folder,
        ("scale: 2", "scale: 2, scael: 3"),
        ("patch: 16", "patch: 17"),
        ("[0.0, 1.0]", "[1.0, 0.0]"),
        ("methods.classical.Bicubic", "methods.classical.Bicubik"),
        ("datasets: [bsd100]", "datasets: [bsd10]"),
        ("{trials: 2}", "{trials: 2, sampler: tpee}"),
    )
    starts = [
        "small.yaml:11: budget.sampler:", "small.yaml:2: task.scael:",
        "small.yaml:5: methods.bicubic.use:", "small.yaml:6: methods.edsr.gamma:",
        "small.yaml:9: evaluate.datasets.0:",
    ]  # fmt: skip
    assert sorted(" ".join(line.split()[:2]) for line in lines) == starts


def test_a_broken_section_brings_no_second_complaint(folder: Path) -> None:
    grids = (GAMMA, "{grid: [0.0, 0.5]}"), ("{trials: 2}", "{trials: 0, sampler: grid}")
    assert len(mistakes(folder, *grids)) == 1
    (line,) = mistakes(folder, ("metrics: [psnr_y, ssim_y]", "metric: [psnr_y]"), (
        "datasets: [bsd100]", "datasets: [bsd100]\n  metrics: [psnr_y]"))  # fmt: skip
    assert "unknown key 'metric'" in line


def test_a_method_for_another_task_is_refused(folder: Path) -> None:
    lines = mistakes(folder, ("kind: super-resolution", "kind: deblurring"))
    why = "is for super-resolution, the task is deblurring."
    assert lines == [
        f"small.yaml:5: methods.bicubic.use: Bicubic {why}",
        f"small.yaml:6: methods.edsr.use: EDSR {why}",
    ]


def test_an_empty_choice_of_methods_is_refused(folder: Path) -> None:
    (line,) = mistakes(folder, overrides=("methods={}",))
    assert line.startswith("--set: methods: name: {use: dotted.path")
    (line,) = mistakes(folder, overrides=("methods=null",))
    assert line.startswith("--set: methods: empty")


def test_seeds_are_checked_without_a_search_too(folder: Path) -> None:
    fixed = (GAMMA, "0.4"), ("select: {dataset: set14, maximize: [psnr_y]}\n", "")
    (line,) = mistakes(folder, *fixed, ("{trials: 2}", "{seeds: [3, 3]}"))
    assert line.startswith("small.yaml:10: budget.seeds:")


def test_several_objectives_cannot_be_pruned(folder: Path) -> None:
    two = ("maximize: [psnr_y]", "maximize: [psnr_y, ssim_y]")
    assert load(folder, two).budget.pruner == "none"
    (line,) = mistakes(folder, two, ("{trials: 2}", "{trials: 2, pruner: median}"))
    assert line.startswith("small.yaml:11: budget.pruner:")


def test_an_objective_without_its_weights_names_them(folder: Path) -> None:
    measured = ("[psnr_y, ssim_y]", "[psnr_y, lpips_vgg]")
    (line,) = mistakes(folder, ("maximize: [psnr_y]", "minimize: [lpips_vgg]"), measured)
    start = "small.yaml:7: select.minimize.0: objective 'lpips_vgg' cannot be computed"
    assert line.startswith(start)
    assert "vgg16/vgg16-397923af.pth" in line and "https://" in line


def test_a_reported_metric_without_its_weights_is_no_mistake(folder: Path) -> None:
    study = load(folder, ("[psnr_y, ssim_y]", "[psnr_y, lpips_vgg]"))
    assert study.evaluate.metrics[1] == "lpips_vgg"


@pytest.mark.parametrize(
    ("section", "name"), [("train.dataset", "Set5"), ("select.dataset", "Set14")]
)
def test_a_set_to_learn_from_must_be_here(
    folder: Path, small_sets: Path, section: str, name: str
) -> None:
    shutil.rmtree(small_sets / name)
    (line,) = mistakes(folder)
    assert f" {section}: dataset {name.lower()!r} is not on this machine" in line
    assert "Get it from https://" in line and str(small_sets) in line


def test_a_set_that_is_here_must_be_whole(folder: Path, small_sets: Path) -> None:
    (small_sets / "BSD100/HR/broken.png").write_text("no image")
    (small_sets / "Set14/LR_x2").mkdir()
    shutil.copy(small_sets / "Set5/HR/baby.png", small_sets / "Set14/LR_x2/baby.png")
    lines = mistakes(folder)
    assert [line.split(": ")[0:2] for line in lines] == [
        ["small.yaml:7", "select.dataset"],
        ["small.yaml:7", "select.dataset"],
        ["small.yaml:7", "select.dataset"],
        ["small.yaml:9", "evaluate.datasets.0"],
    ]
    assert "comic.png: no LR file" in lines[0] and "baby.png: no HR file" in lines[1]
    assert "broken.png: not a readable image" in lines[3]


def test_a_device_that_is_not_here_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (line,) = mistakes(folder, overrides=("train.device=cuda",))
    assert line.startswith("--set: train.device:") and "no CUDA GPU here" in line


def test_a_set_to_report_may_be_missing_unless_strict(folder: Path, small_sets: Path) -> None:
    shutil.rmtree(small_sets / "BSD100")
    assert load(folder).evaluate.datasets == ("bsd100",)
    (line,) = mistakes(folder, strict=True)
    assert line.startswith("small.yaml:9: evaluate.datasets.0: dataset 'bsd100' is not on this")


def test_selecting_on_a_reported_set_is_allowed_where_it_is_marked(folder: Path) -> None:
    edit = ("dataset: set14", "dataset: bsd100, allow_reported: true")
    study = load(folder, edit)
    assert study.select is not None and study.select.allow_reported


# --- overrides ------------------------------------------------------------------------------------


def test_set_changes_values_lists_and_ranges(folder: Path) -> None:
    study = load(
        folder,
        overrides=(
            "train.learning_rate=2e-3",
            "methods.edsr.blocks=3",
            "methods.edsr.gamma={choice: [0, 0.5]}",
            "budget.seeds=[1, 2]",
        ),
    )
    assert study.train is not None and study.train.learning_rate == 0.002
    assert study.methods["edsr"].fixed["blocks"] == 3
    assert study.methods["edsr"].ranges["gamma"].choices == (0, 0.5)
    assert study.budget.seeds == (1, 2)


def test_set_makes_a_section_that_is_not_there(folder: Path) -> None:
    study = load(folder, ("budget: {trials: 2}\n", ""), overrides=("budget.trials=5",))
    assert study.budget.trials == 5


def test_set_mends_a_value_of_the_file(folder: Path) -> None:
    edit = ("dataset: set5", "dataset: set55")
    study = load(folder, edit, overrides=("train.dataset=set5",))
    assert study.train is not None and study.train.dataset == "set5"


@pytest.mark.parametrize(
    ("override", "start", "part"),
    [
        ("train.stepz=5", "--set: train.stepz:", "Did you mean 'steps'?"),
        ("trian.steps=5", "--set: trian:", "Did you mean 'train'?"),
        ("train.steps=few", "--set: train.steps:", "'few'"),
        ("train.dataset=set6", "--set: train.dataset:", "unknown dataset 'set6'"),
        ("methods.edsr.gamma={float: [2, 1]}", "--set: methods.edsr.gamma:", "low 2 is above"),
        ("methods.new.blocks=1", "--set: methods.new:", "'use' is missing"),
    ],
)
def test_a_mistake_in_set_is_blamed_on_it(
    folder: Path, override: str, start: str, part: str
) -> None:
    (line,) = mistakes(folder, overrides=(override,))
    assert line.startswith(start) and part in line


@pytest.mark.parametrize("override", ["train.steps", "=5", "train..steps=5", ".steps=5"])
def test_set_needs_a_path_and_a_value(folder: Path, override: str) -> None:
    (line,) = mistakes(folder, overrides=(override,))
    assert override in line and "dotted.path=value" in line


def test_set_cannot_go_into_a_value(folder: Path) -> None:
    (line,) = mistakes(folder, overrides=("name.first=x",))
    assert "'name' is a value, not a section" in line


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "line", "part"),
    [
        (b"- a\n- b\n", 1, "needs a mapping (key: value), got a list"),
        (b"name\n", 1, "got a single value"),
        (b"", 1, "got nothing"),
        (b"# only a comment\n", 1, "got nothing"),
        (b"name: small\ntask: {kind: [}\n", 2, "not valid YAML"),
        (b"name: small\n\ttask: x\n", 2, "not valid YAML: a tab"),
        (b"name: small\n---\nname: large\n", 2, "a second document begins here (---)"),
        (b"name: !!python/object:os.system x\n", 1, "not valid YAML"),
    ],
)
def test_what_is_no_study_at_all(tmp_path: Path, content: bytes, line: int, part: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    with pytest.raises(BenchError) as caught:
        load_study(file)
    assert str(caught.value).startswith(f"{file}:{line}: ") and part in str(caught.value)


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes("name: größe\n".encode("latin-1"))
    with pytest.raises(BenchError, match=r"x\.yaml: not UTF-8"):
        load_study(file)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le-sig"])
def test_a_byte_order_mark_is_no_part_of_the_text(folder: Path, encoding: str) -> None:
    file = folder / "small.yaml"
    text = TEXT.replace("name:", "# größer?\nname:", 1)
    file.write_bytes(
        b"\xff\xfe" + text.encode("utf-16-le")
        if encoding == "utf-16-le-sig"
        else text.encode(encoding)
    )
    assert load_study(file).header == "größer?"


MERGED = """\
  edsr: &base {use: methods.nima_sr.EDSR, blocks: 1, channels: 4, gamma: 0}
  wide: {<<: *base, channels: 8}
  deep:
    blocks: 3
    <<: [{blocks: 2, channels: 6}, *base]
  wider: {<<: {<<: *base, blocks: 2}, channels: 16}
"""


def test_merged_mappings_give_what_a_row_does_not_say_itself(folder: Path) -> None:
    edsr = next(line for line in TEXT.splitlines(keepends=True) if "edsr" in line)
    study = load(folder, (edsr, MERGED))
    sizes = {
        n: (s.fixed["blocks"], s.fixed["channels"]) for n, s in study.methods.items() if s.fixed
    }
    assert sizes == {"edsr": (1, 4), "wide": (1, 8), "deep": (3, 6), "wider": (2, 16)}
    assert study.methods["deep"].use == "methods.nima_sr.EDSR"


def test_a_mistake_in_a_merged_mapping_is_told_where_it_stands(folder: Path) -> None:
    edsr = next(line for line in TEXT.splitlines(keepends=True) if "edsr" in line)
    rows = "  edsr: {<<: &base {blocks: 1,\n    chanels: 4}, use: methods.nima_sr.EDSR, gamma: 0}\n"
    (line,) = mistakes(folder, (edsr, rows))
    assert line.startswith("small.yaml:7: methods.edsr.chanels: unknown parameter")


def test_a_missing_file_lists_those_beside_it_and_those_in_studies(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "gamma.yaml").write_text(TEXT)
    with pytest.raises(BenchError) as caught:
        load_study(folder / "gama.yaml")
    assert "gama.yaml: cannot be read" in str(caught.value)
    assert f"Did you mean {str(folder / 'gamma.yaml')!r}? Known in {folder}: gamma" in str(
        caught.value
    )
    monkeypatch.chdir(folder)
    (folder / "studies").mkdir()
    (folder / "studies" / "rts.yaml").write_text(TEXT)
    with pytest.raises(BenchError, match=r"Did you mean 'studies/rts.yaml'\? .* in studies: rts\."):
        load_study(Path("rts"))


# --- ranges ---------------------------------------------------------------------------------------


def parsed(**value: object) -> Range:
    range_ = parse_range(value)
    assert isinstance(range_, Range), range_
    return range_


def test_both_ends_of_a_range_of_whole_numbers_are_included() -> None:
    assert parsed(int=[2, 8], step=3).values() == (2, 5, 8)
    assert parsed(int=[3, 3]).values() == (3,)


def test_a_range_of_floats_cannot_be_counted() -> None:
    assert parsed(float=[0, 1]).values() is None
    assert parsed(float=[0, 1]).extremes() == (0, 1)


def test_choices_keep_their_order_and_types() -> None:
    assert parsed(choice=["b", 1, True, None, 0.5]).values() == ("b", 1, True, None, 0.5)


def test_the_last_parameter_of_a_grid_varies_fastest() -> None:
    rows = grid({"a": parsed(int=[1, 2]), "b": parsed(grid=["x", "y"])})
    assert [tuple(row.values()) for row in rows] == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]
    assert list(rows[0]) == ["a", "b"]
    assert grid({}) == [{}]


def test_a_grid_is_as_long_as_the_product_of_its_ranges_unless_trials_stop_it(folder: Path) -> None:
    edits = (GAMMA, "{grid: [0.0, 0.5, 1.0]}"), ("blocks: 1", "blocks: {int: [1, 2]}")
    assert load(folder, *edits, ("{trials: 2}", "{sampler: grid}")).trials_of("edsr") == 6
    budget = ("{trials: 2}", "{sampler: grid, trials: 4}")
    assert load(folder, *edits, budget).trials_of("edsr") == 4
    budget = ("{trials: 2}", "{sampler: grid, trials: 40}")
    assert load(folder, *edits, budget).trials_of("edsr") == 6


def test_more_trials_are_the_same_search_and_other_settings_are_not(folder: Path) -> None:
    digest = load(folder).search_digest("edsr")
    assert load(folder, ("{trials: 2}", "{trials: 9}")).search_digest("edsr") == digest
    assert load(folder, ("[bsd100]", "[bsd100, set5]")).search_digest("edsr") == digest
    for edit in [
        ("steps: 4", "steps: 5"),
        (GAMMA, "{float: [0.0, 0.5]}"),
        ("dataset: set14", "dataset: set5"),
        ("{trials: 2}", "{trials: 2, seeds: [0, 1]}"),
        ("{trials: 2}", "{trials: 2, sampler: random}"),
    ]:
        assert load(folder, edit).search_digest("edsr") != digest, edit
