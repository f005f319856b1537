"""A digest changes with the code that decides something, and with nothing else."""

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from bench.measure.metrics import METRICS, metric
from bench.records import digest
from bench.records.digest import NOT_FOLLOWED, code_digest, forget_code, reached_from
from bench.records.equal import EQUAL

SOURCE = '''
"""A module."""

import math

from own_helpers import scaled, unused

FACTOR = 2.0
TABLE = {"a": 1}


def root(x: float) -> float:
    """Returns something."""
    scale = 3  # hides nothing outside
    return inner(x) * FACTOR * scaled(x)


def inner(x):
    if x < 0:
        raise ValueError(f"{x} is negative: {explained(x)}")
    return math.sqrt(x)


def explained(x):
    return "why"


def scale(x):
    return x


class Box:
    """A class."""

    size = 3

    def area(self):
        return self.size ** 2

    def name(self):
        return "box"


def aside(x):
    return x + 1
'''
HELPERS = "def scaled(x):\n    return x / 2\n\n\ndef unused(x):\n    return x\n"


@pytest.fixture
def digest_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes the module with changes and returns the digest of what is asked for."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(name: str, text: str) -> ModuleType:
        sys.modules.pop(name, None)
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    def digest_(pick: str = "root", old: str = "", new: str = "", helpers: str = HELPERS) -> str:
        assert not old or SOURCE.count(old) == 1
        load("own_helpers", helpers)
        module = load("own_module", SOURCE.replace(old, new) if old else SOURCE)
        forget_code()
        root = module
        for part in pick.split("."):
            root = getattr(root, part)
        return code_digest(root)  # type: ignore[arg-type]

    return digest_


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Returns something."""', '"""Returns something else."""'),
        ("# hides nothing outside", "# a comment"),
        ("def inner(x):", "def inner(x: float) -> float:"),
        ("is negative", "is below zero"),
        ('return "why"', 'return "because"'),
        ("return x + 1", "return x + 2"),
        ("self.size ** 2", "self.size ** 3"),
        ('{"a": 1}', '{"a": 2}'),
        ("def scale(x):\n    return x", "def scale(x):\n    return -x"),
        ("import math", "import math\nimport json"),
    ],
)
def test_what_decides_nothing_changes_nothing(digest_of, old: str, new: str) -> None:
    assert digest_of("root", old, new) == digest_of("root")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("FACTOR = 2.0", "FACTOR = 2.5"),
        ("math.sqrt(x)", "math.exp(x)"),
        ("if x < 0:", "if x <= 0:"),
        ("raise ValueError", "raise TypeError"),
        ("inner(x) * FACTOR", "inner(x) + FACTOR"),
    ],
)
def test_what_decides_changes_it(digest_of, old: str, new: str) -> None:
    assert digest_of("root", old, new) != digest_of("root")


def test_other_modules_are_followed_as_far_as_they_are_used(digest_of) -> None:
    before = digest_of()
    assert digest_of(helpers=HELPERS.replace("return x\n", "return -x\n")) == before
    assert digest_of(helpers=HELPERS.replace("x / 2", "x / 3")) != before


def test_a_method_of_a_class_may_stand_alone(digest_of) -> None:
    changed = ('return "box"', 'return "crate"')
    assert digest_of("Box.area", *changed) == digest_of("Box.area")
    assert digest_of("Box", *changed) != digest_of("Box")
    assert digest_of("Box.area", "self.size ** 2", "self.size") != digest_of("Box.area")


def test_a_call_that_only_lets_something_through_counts_for_nothing(
    digest_of, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest_of()
    call = ("scale = 3  # hides", "scale = 3; aside(x)  # hides")
    assert digest_of("root", *call) != before
    monkeypatch.setattr(digest, "DECIDE_NOTHING", frozenset({"aside"}))
    assert digest_of("root", *call) == before
    used = ("scale = 3  # hides", "scale = aside(x)  # hides")
    assert digest_of("root", *used) != before


def test_what_a_module_does_when_it_is_imported_counts(digest_of) -> None:
    loose = ("FACTOR = 2.0", "FACTOR = 2.0\nprint(FACTOR)")
    assert digest_of("root", *loose) != digest_of("root")


def test_a_partial_counts_with_its_arguments(digest_of) -> None:
    digest_of()
    module = sys.modules["own_module"]
    assert code_digest(partial(module.root, 1)) != code_digest(partial(module.root, 2))
    assert code_digest(partial(module.root, module.aside)) != code_digest(partial(module.root))
    by_path = code_digest(partial(module.root, "own_module.aside"))
    assert "own_module.aside" in reached_from(partial(module.root, "own_module.aside"))
    assert by_path != code_digest(partial(module.root, "own_module.scale"))
    with pytest.raises(ValueError, match="needs a name"):
        code_digest(lambda: 1)


def test_every_metric_has_a_digest_of_its_own_code() -> None:
    for name, facts in METRICS.items():
        reached = reached_from(facts.load)
        assert not any(place.split(".")[-1] in NOT_FOLLOWED for place in reached), name
    fidelity = set(reached_from(metric("psnr").load))
    assert "bench.data.pixels.as_rgb" in fidelity
    assert not any(".niqe." in place or ".viqet" in place for place in fidelity)
    assert "bench.data.degrade.imresize_float" in reached_from(metric("niqe").load)


def test_the_loop_and_the_pixels_cover_what_they_rest_on() -> None:
    from bench.data.degrade import find_degradation
    from bench.data.pairs import Pair
    from bench.train import loop, planning

    assert "bench.train.planning.initialise" in reached_from(planning.initialise)
    pixels = reached_from(Pair, find_degradation("jpeg_lanczos:90"))  # type: ignore[arg-type]
    assert {"bench.data.pixels.as_rgb", "bench.data.degrade.jpeg"} <= set(pixels)
    assert "bench.data.degrade.noise" not in pixels
    assert "bench.train.updates.update" in reached_from(loop.run_steps)


def test_code_that_takes_the_place_of_other_code_has_not_changed_since() -> None:
    """An entry that nothing has the digest of is dead: it goes, and nothing comes in its place
    unless all bits were compared again (tests/bits.py)."""
    from bench.method import find_method, known_methods
    from bench.train.planning import loop_digest, method_digest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digest, "EQUAL", {})
        loop_digest.cache_clear()
        current = {loop_digest(), *(method_digest(find_method(m)) for m in known_methods())}
    loop_digest.cache_clear()
    assert set(EQUAL) <= current
    assert not set(EQUAL) & set(EQUAL.values())
