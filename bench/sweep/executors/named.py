"""The executor that a user names."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec

from bench.errors import BenchError, unknown
from bench.study.fields import Study
from bench.sweep.executors import Executor
from bench.sweep.executors.auto import local_executor

NEEDS = {"local": "bench", "ray": "ray", "slurm": "submitit"}
"""Name -> the package that it needs."""


def make_executor(
    word: str,
    workers: int | None,
    study: Study,
    note: Callable[[str], None],
    slurm: Sequence[str] = (),
) -> Executor:
    """Returns the executor of a word: local, ray, ray:ADDRESS or slurm.

    workers: jobs at a time, at most; None: as many as each of them finds best. slurm: "key=value"
    of sbatch. Raises BenchError for an unknown word, and for a package that is not installed.
    """
    name, colon, address = word.partition(":")
    if name not in NEEDS:
        raise BenchError(f"--executor: {unknown('executor', name, NEEDS)}")
    if colon and (name != "ray" or not address):
        raise BenchError(f"--executor {word}: write {name}{' or ray:ADDRESS' * (name == 'ray')}.")
    if find_spec(NEEDS[name]) is None:
        raise BenchError(
            f"--executor {name}: {NEEDS[name]} is not installed. pip install 'bench[{name}]'"
        )
    if slurm and name != "slurm":
        raise BenchError(f"--slurm {slurm[0]}: is told to SLURM alone. Add --executor slurm.")
    if name == "ray":
        from bench.sweep.executors.ray import RayExecutor

        return RayExecutor(address, workers)
    if name == "slurm":
        from bench.sweep.executors.slurm import slurm_executor

        return slurm_executor(study, workers, slurm, note)
    return local_executor(workers, note)
