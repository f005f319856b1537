"""How MLflow's page shows a study: its columns, order and charts, and the text above them.

The page shows neither a parameter nor a metric of its own accord. What it shows it reads from a tag
of the experiment under a key of the address, and it lists the tag among its saved views.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from bench.records.cell import Cell
from bench.study.fields import Study
from bench.sweep.logged import score_names

KEY = "bench"
LIMIT = 20_000
"""Letters that the tag of an experiment may have."""


def page(experiment: str) -> str:
    """Returns the part of a study's address that comes after the server's."""
    return f"/#/experiments/{experiment}/runs?viewStateShareKey={KEY}&workflowType=machine_learning"


def experiment_tags(
    study: Study, cells: Iterable[Cell], pictures: Sequence[str], now: int
) -> dict[str, str]:
    """Returns the tags of a study's experiment.

    pictures: the keys of the sample pictures that its runs have. now: ms since 1970.
    """
    state = _state(study, score_names(study, list(cells)), pictures)
    view = {"name": "Scores", "createdAt": now, "state": json.dumps(state)}
    tags = {
        "bench.study": study.name,
        "mlflow.experimentKind": "custom_model_development",  # "Model training" on the page
        "mlflow.note.content": study.header,
        f"mlflow.sharedViewState.{KEY}": json.dumps(view),
    }
    return {name: value for name, value in tags.items() if len(value) < LIMIT}


def _state(study: Study, scores: Sequence[str], pictures: Sequence[str]) -> dict[str, Any]:
    swept = list(dict.fromkeys(p for section in study.methods.values() for p in section.ranges))
    seeds = ["seed"] if len(study.budget.seeds) > 1 else []
    columns = [
        "tags.`bench.method`",
        *(f"params.`{name}`" for name in swept + seeds),
        *(f"metrics.`{name}`" for name in scores),
    ]
    return {
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {name: 40 + 7 * len(name.split("`")[1]) for name in columns},
        "searchFilter": "tags.`bench.kind` = 'trial'",
        "orderByKey": f"metrics.`{scores[0]}`",
        "orderByAsc": False,
        "lifecycleFilter": "Active",
        "startTime": "ALL",
        "compareRunCharts": [*_curves_over(swept, scores), *map(_picture, pictures)],
        "compareRunSections": [
            _section("scores", "Scores by parameter"),
            _section("pictures", "Sample pictures"),
        ],
    }


def _curves_over(swept: Sequence[str], scores: Sequence[str]) -> list[dict[str, Any]]:
    """Each of the table's scores over each swept parameter; the page adds those of all metrics."""
    return [
        _chart("SCATTER", f"{parameter} {score}", "scores")
        | {"xaxis": {"key": parameter, "type": "PARAM"}, "yaxis": {"key": score, "type": "METRIC"}}
        for parameter in swept
        for score in scores
    ]


def _picture(key: str) -> dict[str, Any]:
    """A picture of every run, without the list of all parameters above each."""
    more = {"imageKeys": [key], "step": 0, "showRunParams": False}
    return _chart("IMAGE", key, "pictures") | more


def _chart(kind: str, uuid: str, section: str) -> dict[str, Any]:
    facts = {"runsCountToCompare": 1000, "deleted": False, "isGenerated": False}
    return {"type": kind, "uuid": uuid, "metricSectionId": section, **facts}


def _section(uuid: str, name: str) -> dict[str, Any]:
    facts = {"display": True, "isReordered": False, "deleted": False, "isGenerated": False}
    return {"uuid": uuid, "name": name, **facts}
