"""The run against a plain index of the same files, made in this process without the broker."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from examples.stdlib_index.extract import FileIndex, index_source
from examples.stdlib_index.library import Library
from examples.stdlib_index.pipeline import Collected

NAMES_SHOWN = 5


class Verdict(NamedTuple):
    """One thing that must hold."""

    claim: str
    holds: bool
    detail: str


def plain_index(library: Library) -> Iterator[FileIndex]:
    """Index every file here and now, straight from the disk, one after the other."""
    for name in library.names:
        yield index_source(name, (library.root / name).read_bytes())


def compare(plain: Mapping[str, FileIndex], collected: Collected) -> list[Verdict]:
    """Return the verdicts on what came through the broker: nothing lost, invented or altered."""
    lost = sorted(plain.keys() - collected.records.keys())
    invented = sorted(collected.records.keys() - plain.keys())
    common = plain.keys() & collected.records.keys()
    altered = sorted(
        {name for name in common if plain[name] != collected.records[name]} | set(collected.contradictions)
    )
    done = f"{len(common):,} of {len(plain):,} files"
    return [
        Verdict("every file was processed, nothing lost", not lost and bool(plain), _detail(done, lost)),
        Verdict("nothing was invented", not invented, _detail(f"{len(invented)} unknown files", invented)),
        Verdict(
            "nothing was altered", not altered, _detail(f"{len(altered)} records differ from the plain index", altered)
        ),
    ]


def handed_over(held: list[str], dead_worker: str, collected: Collected) -> Verdict:
    """Return the verdict on the jobs a killed worker held: others must have done every one of them."""
    missing = [name for name in held if not collected.workers.get(name, set()) - {dead_worker}]
    claim = f"the jobs {dead_worker} held when it was killed were done by others"
    return Verdict(
        claim, bool(held) and not missing, _detail(f"{len(held) - len(missing)} of {len(held)} jobs", missing)
    )


def _detail(figure: str, names: list[str]) -> str:
    if not names:
        return figure
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{figure}: {', '.join(names[:NAMES_SHOWN])}{more}"
