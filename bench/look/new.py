"""Studies that ship as examples: what they ask, and a copy to begin from."""

import re
import shutil
from pathlib import Path
from typing import Any

from bench.errors import BenchError, unknown
from bench.study.located_yaml import load_yaml

EXAMPLES = Path(__file__).parent / "examples"
"""studies/ of the repository, by a link; a folder of the package once it is installed."""

_COST = re.compile(
    r"(about )?(\d[\d to]* (s|min|h)|days) on (\d+ cores|one GPU)|for a GPU", re.IGNORECASE
)


def examples() -> list[dict[str, Any]]:
    """Returns name, question, cost and all that the header says of each example."""
    return [_facts(file) for file in sorted(EXAMPLES.glob("*.yaml"))]


def _facts(file: Path) -> dict[str, Any]:
    question, _, remarks = load_yaml(file).header.partition("\n")
    said = " ".join(remarks.split())
    cost = _COST.search(said)
    return {
        "name": file.stem,
        "question": question,
        "cost": cost.group().lower().replace("gpu", "GPU") if cost else "",
        "remarks": said,
    }


def examples_text(rows: list[dict[str, Any]]) -> str:
    """Returns the examples for people."""
    wide = max(len(row["name"]) for row in rows)
    lines = [
        line
        for row in rows
        for line in (f"{row['name']:<{wide}}  {row['question']}", f"{'':<{wide}}  {row['cost']}")
    ]
    return "\n".join([*lines, "`bench new NAME` copies one into studies/, to run and to change."])


def copy_example(name: str, to: Path | None = None) -> Path:
    """Copies an example; returns the path, studies/NAME.yaml if none is given.

    Raises BenchError for an unknown name with the nearest, and for a file that is there.
    """
    known = [row["name"] for row in examples()]
    if name not in known:
        raise BenchError(unknown("example", name, known))
    file = to or Path("studies") / f"{name}.yaml"
    if file.suffix not in (".yaml", ".yml"):
        raise BenchError(f"--to {file}: name a file that ends in .yaml.")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("xb") as copy, (EXAMPLES / f"{name}.yaml").open("rb") as example:
            shutil.copyfileobj(example, copy)
    except FileExistsError:
        raise BenchError(
            f"{file}: is there already, and stays as it is. Copy to another file: --to FILE."
        ) from None
    return file
