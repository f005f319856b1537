"""What a report found, in one paragraph of plain words, made from its marks and verdicts."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from bench.report.marks import MARK
from bench.report.provenance import Section
from bench.report.scores import DASH
from bench.report.tables import Entry, Table

MOST_SETS = 6
TOLD = {
    "match": ("matches", "match"),
    "close": ("is close", "are close"),
    "differs": ("differs", "differ"),
    "protocol unknown": ("was scored nobody knows how", "were scored nobody knows how"),
    "not run": ("was scored under another protocol", "were scored under another protocol"),
}
"""A verdict of one number, and of several."""


def paragraph(tables: Sequence[Table], sections: Iterable[Section]) -> str:
    """Returns "Found. set14 x2: edsr is best in PSNR-Y and told from all others; ..."; "" where
    nothing stands beside anything."""
    told = [text for table in tables for text in _sets(table)]
    more = [f"{len(told) - MOST_SETS} more sets are below"] if len(told) > MOST_SETS else []
    sections = list(sections)
    told_of = [
        word for s in sections for row in s.rows if row[1:2] == ("verdict",) for word in row[2:]
    ]
    numbers = Counter(word for word in told_of if word)
    if numbers:
        counted = ", ".join(
            f"{numbers[word]} {TOLD[word][numbers[word] > 1]}" for word in TOLD if numbers[word]
        )
        more.append(f"Of {numbers.total()} numbers of papers on their own images: {counted}")
    claims = [row[-1] for s in sections if s.heading == "Claims" for row in s.rows]
    verdicts = Counter(verdict for verdict in claims if verdict != DASH)
    if verdicts:
        counted = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.items())
        more.append(f"Of {len(claims)} claims of papers that were run: {counted}")
    return " ".join(f"{text}." for text in [*told[:MOST_SETS], *more])


def _sets(table: Table) -> Iterator[str]:
    """A sentence for each set of a table."""
    first = 0
    for place, names in table.groups:
        clear: dict[str, list[str]] = {}
        unsure: dict[str, list[str]] = {}
        for k, name in enumerate(names, first):
            column = [(label, entries[k]) for label, entries in table.rows]
            best = list(dict.fromkeys(label for label, entry in column if entry.place == 1))
            if best:
                side = unsure if any(entry.mark == MARK for _, entry in column) else clear
                side.setdefault(_who(best, column), []).append(name.split(" ")[0])
        first += len(names)
        parts = [
            f"{who} best in {_and(titles)}, told from all others" for who, titles in clear.items()
        ]
        parts += [f"{who} first in {_and(titles)}" for who, titles in unsure.items()]
        if parts:
            yield f"{place}: {'; '.join(parts)}"


def _who(best: Sequence[str], column: Sequence[tuple[str, Entry]]) -> str:
    """ "edsr is", or "edsr, not told from 2 of 3 others, is"."""
    unsure = sum(entry.mark == MARK for _, entry in column)
    others = sum(entry.value != DASH for _, entry in column) - 1
    names = _and(best)
    if not unsure:
        return f"{names} {'is' if len(best) == 1 else 'are'}"
    every = "any other" if unsure >= others else f"{unsure} of {others} others"
    return f"{names}, which cannot be told from {every}, {'is' if len(best) == 1 else 'are'}"


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
