"""Whose records a study's are: two files of one name are two questions."""

from bench.errors import BenchError
from bench.study.fields import Study
from bench.study.located_yaml import load_yaml


def another_study(study: Study, recorded: Study) -> str:
    """Returns why a study may not take over the records of its name; "" if it may.

    They belong to the file that was swept last, until that is gone or bears another name. Whoever
    edits, moves or copies it goes on with them.
    """
    differ, mine, first = study.differences(recorded), study.path, recorded.path
    if not differ or mine is None or first is None or mine == first:
        return ""
    try:
        owner = load_yaml(first).data.get("name")
    except BenchError:
        return ""
    if owner != study.name:
        return ""
    return (
        f"{mine}: the records of {study.name} are those of another file, {first}, "
        f"and the two differ in {', '.join(differ)}. Give one of them another name, or let this "
        "one take the records over: --fresh starts over (finished stages that still apply are "
        "reused), --keep keeps them (every table then marks what is stale)."
    )
