"""Whose records a study's are: two files of one name are two questions."""

from pathlib import Path

from bench.errors import BenchError
from bench.study.fields import Study
from bench.study.located_yaml import load_yaml


def another_study(study: Study, recorded: Study) -> str:
    """Returns why a study may not take over the records of its name; "" if it may.

    They belong to the file that was swept last, until that is gone or bears another name. Whoever
    edits, moves or copies it goes on with them.
    """
    differ = study.differences(recorded)
    if not (differ and study.file and recorded.file) or study.file == recorded.file:
        return ""
    try:
        owner = load_yaml(Path(recorded.file)).data.get("name")
    except BenchError:
        return ""
    if owner != study.name:
        return ""
    return (
        f"{study.file}: the records of {study.name} are those of another file, {recorded.file}, "
        f"and the two differ in {', '.join(differ)}. Give one of them another name, or let this "
        "one take the records over: --fresh starts over (finished stages that still apply are "
        "reused), --keep keeps them (every table then marks what is stale)."
    )
