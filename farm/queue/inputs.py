"""Pictures that came with requests: OUT/inputs/<sha256>.<format>, kept by content for as long as a job names them.

A job holds its picture as a clip is held, by refs/<sha256>/<project>--<job_id>, from before its submission until its
removal. Requests: 1 put and 1 look for a submission with a picture, none for others.
"""

from __future__ import annotations

import posixpath
from contextlib import suppress

from farm.errors import NotFoundError, TransientError
from farm.layout import INPUTS
from farm.ledger.refs import drop_ref, holders_of, put_ref
from farm.queue.job import Job
from farm.queue.removal import holder_of
from farm.storage.base import Storage


def hold_input(storage: Storage, job: Job) -> None:
    """Keep the job's picture, if it has one that lies here. TransientError where it is gone."""
    path = _own_input(storage, job)
    if path is None:
        return
    put_ref(storage, _digest_of(path), holder_of(job))
    if not storage.exists(path):
        drop_ref(storage, _digest_of(path), holder_of(job))
        raise TransientError(f"the picture {path} of this request is gone: send it again")


def release_input(storage: Storage, job: Job) -> None:
    """Let the job's picture go, and delete it unless other jobs have it."""
    path = _own_input(storage, job)
    if path is not None:
        drop_ref(storage, _digest_of(path), holder_of(job))
        delete_input_if_unheld(storage, path)


def delete_input_if_unheld(storage: Storage, path: str) -> bool:
    """Whether it was deleted. Who puts a ref in that moment and then finds the picture there keeps it."""
    digest = _digest_of(path)
    if holders_of(storage, digest):
        return False
    with suppress(NotFoundError):
        data = storage.read(path)
        storage.delete(path)
        if holders_of(storage, digest):
            storage.create(path, data)
            return False
    return True


def _own_input(storage: Storage, job: Job) -> str | None:
    image = job.spec.image
    if image is None:
        return None
    path = f"{INPUTS}/{posixpath.basename(image.uri)}"
    is_own = image.uri == storage.uri_of(path) and _digest_of(path) == image.sha256
    return path if is_own else None


def _digest_of(path: str) -> str:
    return posixpath.basename(path).split(".", 1)[0]
