"""A project's jobs in the order of their creation, without reading all jobs there ever were.

OUT/listing/<project>/<YYYY-MM-DD-HH>/<job_id> is put when a job ends, under the hour of its creation, so each job has
one place however often its end is tried. The open ones are told from OUT/open by their names. A page costs the listing
of open/, the listing of the project's hours (names only), and of as many hours as it takes to fill it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from farm.layout import LISTING, hour_of
from farm.queue import ids
from farm.queue.job import JobView
from farm.storage.base import Storage

Order = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some jobs of a listing.

    Args:
        next_after: what to give as `after` for the page behind this one; None where there is none. A page may be
            short and yet have one behind it, where only some statuses were asked for.
    """

    jobs: tuple[JobView, ...]
    next_after: str | None

    @property
    def has_more(self) -> bool:
        return self.next_after is not None


def listed_ids(
    storage: Storage,
    project: str | None,
    open_ids: Iterable[str],
    *,
    after: str | None,
    order: Order,
    has_ended: bool = True,
) -> Iterator[str]:
    """Ids of the jobs that may be the project's (of all projects for None), each once, from beyond `after` on.

    `has_ended` False leaves out those that are not among `open_ids`.
    """
    projects = [] if not has_ended else storage.folders(LISTING) if project is None else [project]
    tag = None if project is None else ids.project_tag(project)
    mine = (job_id for job_id in open_ids if tag is None or ids.has_tag(job_id, tag))
    streams: list[Iterator[str]] = [iter(_sorted(mine, after=after, order=order))]
    streams += [_ended(storage, one, after=after, order=order) for one in projects]
    merged = heapq.merge(*streams, reverse=order == "desc")
    return (job_id for job_id, _ in groupby(merged))


def _ended(storage: Storage, project: str, *, after: str | None, order: Order) -> Iterator[str]:
    hours = storage.folders(f"{LISTING}/{project}")
    if after is not None:
        limit = hour_of(ids.created_at(after))
        hours = [hour for hour in hours if (hour <= limit if order == "desc" else hour >= limit)]
    for hour in sorted(hours, reverse=order == "desc"):
        names = (path.rsplit("/", 1)[-1] for path in storage.names(f"{LISTING}/{project}/{hour}"))
        yield from _sorted(names, after=after, order=order)


def _sorted(job_ids: Iterable[str], *, after: str | None, order: Order) -> list[str]:
    beyond = (job_id for job_id in job_ids if after is None or (job_id < after if order == "desc" else job_id > after))
    return sorted(beyond, reverse=order == "desc")
