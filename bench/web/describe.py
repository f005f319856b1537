"""The description of the API for people, made of its OpenAPI description; no script, no style of
others."""

import html
from typing import Any

_HEAD = (
    '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width">'
    '<link rel="stylesheet" href="/page.css"><title>bench web: the API</title>'
)


def describe(schema: dict[str, Any]) -> str:
    """Returns a page of HTML. schema: OpenAPI 3."""
    parts = [
        _HEAD,
        '<main class="api">',
        f"<h1>{_text(schema['info']['title'])} {_text(schema['info']['version'])}</h1>",
        f"<p>{_text(schema['info']['description'])}</p>",
        '<p><a href="/openapi.json">openapi.json</a>, <a href="/">the page</a></p>',
    ]
    for path, verbs in schema["paths"].items():
        for verb, facts in verbs.items():
            parts.append(_operation(path, verb, facts))
    parts += [_shape(name, facts) for name, facts in schema["components"]["schemas"].items()]
    return "\n".join([*parts, "</main></html>"])


def _operation(path: str, verb: str, facts: dict[str, Any]) -> str:
    lines = [f"<h2><code>{verb.upper()} {_text(path)}</code></h2>"]
    lines.append(f"<p>{_text(facts.get('description', facts.get('summary', '')))}</p>")
    for given in facts.get("parameters", []):
        need = "" if given.get("required") else ", optional"
        lines.append(
            f"<p><code>{_text(given['name'])}</code> ({_text(given['in'])}{need}): "
            f"{_text(_kind(given.get('schema', {})))}. {_text(given.get('description', ''))}</p>"
        )
    for media in facts.get("requestBody", {}).get("content", {}).items():
        lines.append(f"<p>Body: {_text(media[0])}, {_text(_kind(media[1].get('schema', {})))}</p>")
    for status, answer in facts["responses"].items():
        if status < "300":
            kinds = [
                f"{kind}, {_kind(media.get('schema', {}))}"
                for kind, media in answer.get("content", {}).items()
            ]
            lines.append(f"<p>{status}: {_text('; '.join(kinds))}</p>")
    return "\n".join(lines)


def _shape(name: str, facts: dict[str, Any]) -> str:
    fields = "".join(
        f"<dt><code>{_text(key)}</code></dt><dd>{_text(_kind(value))}. "
        f"{_text(value.get('description', ''))}</dd>"
        for key, value in facts.get("properties", {}).items()
    )
    about = _text(facts.get("description", ""))
    return f'<h2 id="{_text(name)}">{_text(name)}</h2><p>{about}</p><dl>{fields}</dl>'


def _kind(schema: dict[str, Any]) -> str:
    """ "list of Picture", "string or null"."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    return str(schema.get("type", "anything"))


def _text(value: str) -> str:
    return html.escape(str(value))
