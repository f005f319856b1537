"""Stages: what a key depends on, what is trained once and shared, what a stage learns from."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from bench.data.images import read_image, write_image
from bench.data.mapped import read_mapped
from bench.data.pairs import load_pairs
from bench.errors import BenchError
from bench.method import Method, Rate, Recipe, Stage
from bench.records.cell import TrainedStage
from bench.records.store import Store, content_key
from bench.study.fields import Study, TaskSection, TrainSection
from bench.study.recipe import RecipeSection
from bench.sweep.identity import Deciding
from bench.sweep.job import Done, Job
from bench.sweep.trial import run_trial
from bench.train.plan import Plan
from bench.train.planning import plan_stages
from bench.train.stages import stage_history, train_stages

MakeModule = Callable[..., ModuleType]

pytestmark = pytest.mark.usefixtures("small_sets")

SOURCE = '''
"""A method of the test's own."""

import torch
from torch import nn

from bench.method import Method, Stage


class Own(Method):
    """One convolution, trained in as many stages as are asked for."""

    paper = "none"
    WEIGHT = 2.0

    def __init__(self, *, scale: int = 2, stages: int = 1, width: int = 3, note: str = ""):
        super().__init__()
        self.scale, self.count = scale, stages
        self.layer = nn.Conv2d(3, 3, width, padding=width // 2)

    def forward(self, lr):
        return self.layer(nn.functional.interpolate(lr, scale_factor=self.scale))

    def stages(self):
        depends = {"width": self.hyperparameters["width"]}
        return [Stage(f"stage{i}", depends=depends) for i in range(self.count)]

    def training_step(self, batch, stage):
        # the constant that the test changes
        return {"loss": self.WEIGHT * (self(batch.lr) - batch.target).abs().mean()}
'''

TASK = TaskSection(kind="super-resolution", scale=2)
TRAIN = TrainSection(dataset="set5", patch=8, batch=2, steps=3, learning_rate=1e-2)


def plans(
    method: Method,
    task: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> list[Plan]:
    return plan_stages(method, TASK.model_copy(update=task), TRAIN.model_copy(update=train), seed)


def keys(method: Method, **changes: Any) -> list[str]:
    return [plan.key for plan in plans(method, **changes)]


def train(
    method: Method, store: Store, seed: int = 0, task: TaskSection = TASK
) -> list[TrainedStage]:
    trained: list[TrainedStage] = []
    for _ in train_stages(method.eval(), task, TRAIN, seed, store, trained):
        pass
    return trained


def weights(method: Method) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in method.state_dict().values()])


@pytest.fixture
def store(bench_home: Path) -> Store:
    return Store(bench_home / "store")


# --- keys -----------------------------------------------------------------------------------------


def test_a_key_is_the_same_for_the_same_stage(make_module: MakeModule) -> None:
    cls = make_module(SOURCE).Own
    assert keys(cls()) == keys(cls()) and len(keys(cls())[0]) == 20


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"train": {"steps": 4}},
        {"train": {"learning_rate": 2e-2}},
        {"train": {"batch": 3}},
        {"train": {"patch": 16}},
        {"train": {"halve_at": (1,)}},
        {"train": {"dataset": "bsd100"}},
        {"train": {"precision": "fp32"}},
        {"task": {"degradation": "bicubic_blur"}},
    ],
    ids=str,
)
def test_a_key_changes_with_what_the_training_depends_on(
    make_module: MakeModule, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bench.train.planning.choose_precision",
        lambda name, device: {"auto": "bf16"}.get(name, name),
    )
    method = make_module(SOURCE).Own()
    assert keys(method, **change) != keys(method)


def test_a_key_changes_with_the_parameters_it_depends_on_alone(make_module: MakeModule) -> None:
    cls = make_module(SOURCE).Own
    assert keys(cls(width=5)) != keys(cls())
    assert keys(cls(note="another")) == keys(cls()), "stages() leaves `note` out of depends"
    assert keys(cls(scale=3), task={"scale": 3}) != keys(cls())


def test_a_stage_that_names_no_parameters_depends_on_all(make_module: MakeModule) -> None:
    cls = make_module(SOURCE.replace(", depends=depends", "")).Own
    assert keys(cls(note="another")) != keys(cls())


def test_a_key_changes_with_the_pixels_it_learns_from(
    make_module: MakeModule, small_sets: Path
) -> None:
    method = make_module(SOURCE).Own()
    before = keys(method)
    file = small_sets / "Set5/HR/bird.png"
    pixels = read_image(file)
    pixels[0, 0] ^= 1
    write_image(file, pixels)
    assert keys(method) != before


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("WEIGHT = 2.0", "WEIGHT = 3.0", False),
        ("abs().mean()", "abs().sum()", False),
        ("# the constant that the test changes", "# another comment", True),
        ('"""A method of the test\'s own."""', '"""Another docstring."""', True),
        ('    """One convolution, trained in as many stages as are asked for."""\n', "", True),
        ("scale, self.count = scale, stages", "scale, self.count = (scale, stages)", True),
    ],
)  # fmt: skip
def test_a_key_follows_the_code_and_not_its_comments(
    make_module: MakeModule, old: str, new: str, same: bool
) -> None:
    before = keys(make_module(SOURCE).Own())
    assert SOURCE.count(old) == 1
    assert (keys(make_module(SOURCE.replace(old, new)).Own()) == before) is same


def test_a_key_follows_the_modules_that_the_method_imports(make_module: MakeModule) -> None:
    make_module("WEIGHT = 2.0\n", "own_loss")
    source = SOURCE.replace("WEIGHT = 2.0", "WEIGHT = own_loss.WEIGHT")
    source = source.replace("import torch\n", "import own_loss\nimport torch\n")
    before = keys(make_module(source).Own())
    make_module("WEIGHT = 2.0  # a comment\n", "own_loss")
    assert keys(make_module(source).Own()) == before
    make_module("WEIGHT = 4.0\n", "own_loss")
    assert keys(make_module(source).Own()) != before


def test_a_key_changes_with_having_a_target(make_module: MakeModule) -> None:
    cls = make_module(SOURCE).Own
    plain, negative = cls(), cls()
    plain.__dict__["stages"] = lambda: [Stage("only")]
    negative.__dict__["stages"] = lambda: [Stage("only", target=lambda hr: 1 - hr)]
    assert keys(plain) != keys(negative)


def test_what_json_cannot_hold_is_refused_by_name(make_module: MakeModule) -> None:
    source = SOURCE.replace('{"width": self.hyperparameters["width"]}', '{"width": {3}}')
    with pytest.raises(BenchError, match=r"Own, stage 'stage0': depends must hold plain"):
        keys(make_module(source).Own())


def test_every_stage_depends_on_those_before_it(make_module: MakeModule) -> None:
    cls = make_module(SOURCE).Own
    one, two, three = keys(cls(stages=1)), keys(cls(stages=2)), keys(cls(stages=3))
    assert three[:2] == two and two[:1] == one and len(set(three)) == 3
    method, other = cls(), cls()
    method.__dict__["stages"] = lambda: [Stage("first", Recipe(steps=7)), Stage("second")]
    other.__dict__["stages"] = lambda: [Stage("first", Recipe(steps=8)), Stage("second")]
    assert keys(method)[1] != keys(other)[1], "its own fields are equal, what came before is not"


def test_what_a_stage_says_itself_outranks_the_study(make_module: MakeModule) -> None:
    source = SOURCE.replace(
        'f"stage{i}", depends',
        'f"stage{i}", Recipe(steps=7, batch=5), dataset="bsd100", depends',
    ).replace("import Method, Stage", "import Method, Recipe, Stage")
    (plan,) = plans(make_module(source).Own(), train={"halve_at": (2,)}, seed=9)
    assert (plan.steps, plan.batch, plan.seed, plan.dataset) == (7, 5, 9, "bsd100")
    assert (plan.patch, plan.recipe.learning_rate) == (8, 1e-2)
    assert plan.recipe.rate == Rate(halve=(2,))


def own_with(make_module: MakeModule, arguments: str) -> Method:
    """A method whose one stage has these arguments."""
    source = SOURCE.replace('f"stage{i}", depends', f'f"stage{{i}}", {arguments}, depends')
    method: Method = make_module(
        source.replace("import Method, Stage", "import Method, Rate, Recipe, Stage")
    ).Own()
    return method


def test_a_stage_with_a_learning_rate_of_its_own_keeps_the_study_s_schedule(
    make_module: MakeModule,
) -> None:
    method = own_with(make_module, "Recipe(learning_rate=0.5)")
    (plan,) = plans(method, train={"halve_at": (2,), "clip": 1.0})
    assert (plan.recipe.learning_rate, plan.recipe.rate) == (0.5, Rate(halve=(2,)))
    assert plan.recipe.clip == 1.0


def test_what_a_study_says_for_one_method_outranks_its_stages(make_module: MakeModule) -> None:
    method = own_with(make_module, "Recipe(steps=7, batch=5, optimizer='sgd', momentum=0.5)")
    study = TRAIN.model_copy(update={"weight_decay": 0.25})
    row = RecipeSection(epochs=3, optimizer="adam")
    (plan,) = plan_stages(method, TASK, study, 0, row)
    # three images of set5 in batches of five make an epoch of one update
    assert (plan.steps, plan.batch, plan.recipe.weight_decay) == (3, 5, 0.25)
    assert (plan.recipe.optimizer, plan.recipe.momentum) == ("adam", None)
    assert plan.recipe.betas == (0.9, 0.999)


def test_an_epoch_is_as_many_updates_as_show_every_image_once(make_module: MakeModule) -> None:
    method = make_module(SOURCE).Own()
    images = len(load_pairs("set5", 2))
    rate = Rate(exponential=0.5, every="2 epochs")
    for batch, epoch in ((1, images), (2, -(-images // 2)), (images, 1), (99, 1)):
        study = TrainSection(dataset="set5", patch=8, batch=batch, epochs=4, rate=rate)
        (plan,) = plan_stages(method, TASK, study, 0)
        assert plan.steps == 4 * epoch and plan.recipe.epochs is None
        assert plan.recipe.rate == Rate(exponential=0.5, every=2 * epoch)


def test_a_stage_that_every_study_shares_takes_little_of_theirs(make_module: MakeModule) -> None:
    method = own_with(make_module, "Recipe(learning_rate=0.5), seed=3")
    alone = keys(method)
    assert keys(method, train={"halve_at": (2,), "clip": 1.0, "average": 0.9}) == alone
    assert keys(method, train={"learning_rate": 0.1}) == alone
    assert keys(method, seed=9) == alone
    assert keys(method, train={"steps": 4}) != alone, "which it leaves open"
    row = RecipeSection(learning_rate=0.1, optimizer="sgd")
    assert [plan.key for plan in plan_stages(method, TASK, TRAIN, 0, row)] == alone


def test_a_stage_without_a_rate_for_one_of_its_losses_is_refused(make_module: MakeModule) -> None:
    method = own_with(make_module, "Recipe(learning_rate={'los': 1e-3})")
    with pytest.raises(BenchError, match=r"Own, stage 'stage0': .*unknown loss 'loss'.*'los'"):
        plans(method)


def test_a_stage_of_which_nobody_says_how_long_it_lasts_is_refused(make_module: MakeModule) -> None:
    with pytest.raises(BenchError, match="nothing says on what or how long"):
        plans(make_module(SOURCE).Own(), train={"steps": None})


def test_a_missing_training_set_is_refused(make_module: MakeModule, small_sets: Path) -> None:
    with pytest.raises(BenchError, match="training set 'urban100' is not on this machine"):
        keys(make_module(SOURCE).Own(), train={"dataset": "urban100"})


# --- sharing --------------------------------------------------------------------------------------


def stored(store: Store) -> set[str]:
    return {path.name for path in (store.root / "stages").iterdir()}


def test_n_plus_1_stages_share_the_first_n(make_module: MakeModule, store: Store) -> None:
    cls = make_module(SOURCE).Own
    assert [stage.reused for stage in train(cls(stages=2), store)] == [False, False]
    assert len(stored(store)) == 2
    assert [stage.reused for stage in train(cls(stages=3), store)] == [True, True, False]
    assert len(stored(store)) == 3
    assert [stage.reused for stage in train(cls(stages=1), store)] == [True]
    assert len(stored(store)) == 3


def test_a_second_run_takes_bit_equal_weights_from_the_store(
    make_module: MakeModule, store: Store
) -> None:
    cls = make_module(SOURCE).Own
    first, again, elsewhere = cls(stages=2), cls(stages=2), cls(stages=2)
    fresh = train(first, store)
    reused = train(again, store)
    assert [stage.reused for stage in reused] == [True, True]
    assert [stage.model_copy(update={"reused": False}) for stage in reused] == fresh
    assert torch.equal(weights(first), weights(again))
    assert not first.training and not again.training
    train(elsewhere, Store(store.root.parent / "other"))
    assert torch.equal(weights(first), weights(elsewhere)), "a training is a function of its key"


def test_measuring_something_else_trains_nothing_again(
    make_module: MakeModule, store: Store
) -> None:
    make_module(SOURCE)
    cells, fingerprints = [], set()
    for evaluate in (
        {"datasets": ["bsd100"], "metrics": ["psnr_y"]},
        {"datasets": ["set14", "bsd100"], "metrics": ["ssim", "psnr"], "protocol": "full@1"},
    ):
        study = Study.model_validate(
            {
                "name": "own",
                "task": TASK,
                "train": TRAIN,
                "methods": {"own": {"use": "own_method.Own"}},
                "evaluate": evaluate,
            }
        )
        job = Job(study=study, method="own", trial=None, seed=0, store=store.root)
        done = list(run_trial(job))[-1]
        assert isinstance(done, Done) and done.cell.state == "complete"
        cells.append(done.cell)
        fingerprints.add(content_key(Deciding(study).parts("own", {}, 0)))
    (first,), (second,) = (cell.stages for cell in cells)
    assert first.key == second.key and (first.reused, second.reused) == (False, True)
    assert len(fingerprints) == 2


def test_initial_weights_are_those_of_the_seed_whatever_was_drawn_before(
    make_module: MakeModule, store: Store
) -> None:
    cls = make_module(SOURCE.replace("WEIGHT = 2.0", "WEIGHT = 0.0")).Own
    torch.manual_seed(123)
    torch.rand(5)
    one, other = cls(), cls()
    train(one, store, seed=4)
    torch.manual_seed(4)
    assert torch.equal(weights(one), weights(cls())), "a loss without slope leaves them as drawn"
    train(other, store, seed=5)
    assert not torch.equal(weights(one), weights(other))


def test_a_stage_starts_where_the_one_before_it_ended(
    make_module: MakeModule, store: Store
) -> None:
    source = SOURCE.replace(
        "        # the constant that the test changes\n",
        "        if stage.name == 'stage1':\n"
        "            return {'loss': 0 * self(batch.lr).sum()}\n",
    )
    cls = make_module(source).Own
    one, two, untrained = cls(stages=1), cls(stages=2), cls()
    train(one, store)
    train(two, store)
    torch.manual_seed(0)
    untrained = cls()
    assert torch.equal(weights(one), weights(two)), "stage1 has no slope, so it changes nothing"
    assert not torch.equal(weights(one), weights(untrained))


def test_the_record_says_what_was_done(make_module: MakeModule, store: Store) -> None:
    (record,) = train(make_module(SOURCE).Own(), store)
    assert (record.name, record.steps, record.device) == ("stage0", 3, "cpu")
    assert record.parameters == 3 * 3 * 3 * 3 + 3
    history = stage_history(store, record.key)
    assert [step for step, _ in history] == [1, 2, 3]
    assert all(set(losses) == {"loss"} and losses["loss"] > 0 for _, losses in history)
    with np.load(store.entry("stages", record.key) / "losses.npz") as curves:
        each = [losses["loss"] for _, losses in history]
        assert curves["loss"].tolist() == pytest.approx(each)
    assert record.losses == pytest.approx({"loss": sum(each) / 3})


def test_an_examination_may_find_that_a_number_does_not_exist(
    make_module: MakeModule, store: Store
) -> None:
    source = SOURCE.replace(
        'Stage(f"stage{i}", depends=depends)',
        'Stage(f"stage{i}", depends=depends, examine=lambda: {"k": float("nan"), "rule": "none"})',
    )
    cls = make_module(source).Own
    for reused in (False, True):
        (record,) = train(cls(), store)
        assert record.reused is reused and record.examined["rule"] == "none"
        assert np.isnan(record.examined["k"])  # type: ignore[arg-type]


def test_the_final_loss_is_the_mean_of_the_last_250_updates(
    make_module: MakeModule, store: Store
) -> None:
    """The loss is the number of the update; what no optimizer minimises is left out."""
    source = SOURCE.replace(
        "    def training_step(self, batch, stage):",
        """    def training_step(self, batch, stage):
        number = sum(p.sum() for p in self.parameters()) * 0 + batch.step
        return {"loss": number, "watched": number.detach()}

    def unused(self, batch, stage):""",
    )
    stages: list[TrainedStage] = []
    longer = TRAIN.model_copy(update={"steps": 300})
    for _ in train_stages(make_module(source).Own(), TASK, longer, 0, store, stages):
        pass
    (record,) = stages
    assert record.losses == {"loss": pytest.approx((50 + 299) / 2)}


PARTS = '''
from torch import nn

from bench.method import Method, Recipe, Stage


class Judge(Method):
    """A part: batch norm behaves in another way while it is trained."""

    paper = "none"

    def __init__(self, *, width: int = 2) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

    def forward(self, image):
        return self.layers(image)

    def stages(self):
        return [Stage("judge", Recipe(steps=4), trains=self, seed=0, degradation="none")]


class _Judged(Method):
    paper = "none"

    def __init__(self, *, scale: int = 2) -> None:
        super().__init__()
        self.extra = nn.ModuleList(nn.Linear(2, 2) for _ in range(self.EXTRA))
        self.layer = nn.Conv2d(3, 12, 3, padding=1)
        self.judge = Judge()

    def forward(self, lr):
        return nn.functional.pixel_shuffle(self.layer(lr), 2)

    def optimizers(self, stage):
        return {"loss": list(self.layer.parameters())}

    def stages(self):
        return [*self.judge.stages(), Stage("sr")]


class One(_Judged):
    EXTRA = 0


class Other(_Judged):
    EXTRA = 3


class Taught(Method):
    """Its second part learns what the first one, just trained or taken, makes of an image."""

    paper = "none"

    def __init__(self) -> None:
        super().__init__()
        self.judge, self.pupil = Judge(), Judge(width=3)

    def forward(self, lr):
        return self.pupil(lr)

    def stages(self):
        target = lambda hr: self.judge(hr).sigmoid()
        pupil = Stage("pupil", Recipe(steps=4), target, trains=self.pupil, degradation="none")
        return [*self.judge.stages(), pupil]
'''


@pytest.mark.parametrize(("first", "second"), [("One", "Other"), ("Other", "One")])
def test_a_part_is_the_same_whichever_method_trains_it_first(
    make_module: MakeModule, store: Store, first: str, second: str
) -> None:
    module = make_module(PARTS)
    alone = module.Judge()
    one, other = getattr(module, first)(), getattr(module, second)()
    assert keys(one)[0] == keys(other)[0] == keys(alone)[0]
    assert keys(one)[1] != keys(other)[1]
    trained = train(one, store, seed=1)
    again = train(other, Store(store.root.parent / "other"), seed=2)
    assert trained[0].key == again[0].key and not again[0].reused
    assert torch.equal(weights(one.judge), weights(other.judge))
    assert [stage.reused for stage in train(getattr(module, second)(), store)] == [True, False]


def test_a_part_without_scale_serves_every_scale(make_module: MakeModule) -> None:
    module = make_module(PARTS)
    assert keys(module.Judge()) == keys(module.Judge(), task={"scale": 4})
    (plan,) = plans(module.Judge())
    assert (plan.scale, plan.degradation) == (1, "none")


def test_training_the_method_leaves_a_part_that_no_optimizer_names_alone(
    make_module: MakeModule, store: Store
) -> None:
    module = make_module(PARTS)
    one, alone = module.One(), module.Judge()
    train(one, store)
    train(alone, store)
    for name, value in alone.named_parameters():
        assert torch.equal(value, dict(one.judge.named_parameters())[name])


def test_a_part_just_trained_and_one_from_the_store_teach_alike(
    make_module: MakeModule, store: Store
) -> None:
    module = make_module(PARTS)
    just, taken = module.Taught(), module.Taught()
    train(just, store)
    elsewhere = Store(store.root.parent / "other")
    train(module.Judge(), elsewhere)
    assert [stage.reused for stage in train(taken, elsewhere)] == [True, False]
    assert torch.equal(weights(just), weights(taken))


# --- targets --------------------------------------------------------------------------------------

NEGATIVE = SOURCE.replace(
    "    def stages(self):",
    """    def negative(self, hr):
        assert not torch.is_grad_enabled() and not self.training
        self.seen.append((tuple(hr.shape), float(hr.min()), float(hr.max())))
        return 1 - hr

    def stages(self):
        self.seen = vars(self).setdefault("seen", [])
        return [Stage("negative", target=self.negative)]

    def unused(self):""",
).replace("# the constant", "self.batches.append(batch)  # the constant")


def test_a_target_is_made_once_for_each_image_and_learned(
    make_module: MakeModule, store: Store, small_sets: Path
) -> None:
    cls = make_module(NEGATIVE).Own
    method = cls()
    method.__dict__["batches"] = []
    (record,) = train(method, store)
    assert [shape for shape, _, _ in method.seen] == [(1, 3, 32, 40), (1, 3, 36, 28)]
    assert all(0 <= low < high <= 1 for _, low, high in method.seen)

    stored = read_mapped(store.entry("targets", record.target)).pixels
    hr = [read_image(small_sets / f"Set5/HR/{stem}.png") for stem in ("baby", "bird")]
    pixels = np.concatenate([image.reshape(-1, 3) for image in hr]).astype(np.int64)
    assert np.array_equal(stored, 257 * (255 - pixels))  # 65535 = 257 * 255

    assert len(method.batches) == 3
    for batch in method.batches:
        assert torch.allclose(batch.target, 1 - batch.hr, atol=1e-6)
        assert not torch.equal(batch.target, batch.hr)

    again = cls()
    train(again, store)
    assert again.seen == [], "a stage from the store needs no targets"


NAMED = """

class Named(Own):
    def stages(self):
        return [Stage("negative", target=lambda hr: 1 - hr, target_depends={"strength": 1})]
"""


def test_a_target_is_shared_by_all_that_differ_in_other_things(make_module: MakeModule) -> None:
    module = make_module(NEGATIVE + NAMED)

    def target(cls: type[Method], note: str = "", **changes: Any) -> str:
        (plan,) = plans(cls(note=note), **changes)
        return plan.target

    for cls in (module.Own, module.Named):
        for same in ({"train": {"learning_rate": 1.0, "patch": 16, "steps": 9}}, {"seed": 3},
                     {"task": {"degradation": "blur_noise"}}):  # fmt: skip
            assert keys(cls(), **same) != keys(cls()) and target(cls, **same) == target(cls) != ""
        assert target(cls, train={"dataset": "bsd100"}) != target(cls)
    assert target(module.Named, note="another") == target(module.Named)
    assert target(module.Own, note="another") != target(module.Own), "it may follow all parameters"
    before = target(module.Named)
    again = make_module((NEGATIVE + NAMED).replace('"strength": 1', '"strength": 2'))
    assert target(again.Named) != before
    assert plans(make_module(SOURCE).Own())[0].target == ""


def test_without_a_target_the_original_is_learned(make_module: MakeModule, store: Store) -> None:
    source = SOURCE.replace("# the constant", "self.batches.append(batch)  # the constant")
    method = make_module(source).Own()
    method.__dict__["batches"] = []
    train(method, store)
    assert [batch.step for batch in method.batches] == [0, 1, 2]
    for batch in method.batches:
        assert torch.equal(batch.target, batch.hr)
        assert batch.lr.shape == (2, 3, 4, 4) and batch.hr.shape == (2, 3, 8, 8)


def test_a_target_of_another_size_is_refused(make_module: MakeModule, store: Store) -> None:
    source = NEGATIVE.replace("return 1 - hr", "return hr[..., 1:]")
    with pytest.raises(ValueError, match="stage negative: target of"):
        train(make_module(source).Own(), store)
    assert not (store.root / "stages").exists()
