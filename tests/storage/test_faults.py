"""What storages do when things go wrong: passing faults are ridden out, others explained, and no secret is told."""

from __future__ import annotations

import os
import pickle
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from services.endpoint import S3Endpoint, free_port
from services.flaky import LOSE_REPLY, Faults, flaky

from farm.errors import (
    AlreadyExistsError,
    NotFoundError,
    OutputError,
    StorageError,
    StorageUnavailableError,
    TransientError,
)
from farm.storage import LocalStorage, Storage, open_storage
from farm.storage.local import TEMPORARY_PREFIX
from farm.storage.retry import Backoff
from farm.storage.s3 import S3Storage

QUICK = Backoff(num_tries=4, first_pause_s=0.01, longest_pause_s=0.05)


@pytest.fixture
def flaky_s3(moto_s3: S3Endpoint) -> Iterator[tuple[S3Storage, Faults]]:
    with flaky(moto_s3) as (endpoint, faults):
        yield S3Storage(moto_s3.new_bucket(), "run", options=endpoint.options, backoff=QUICK), faults


@pytest.mark.parametrize("fault", [500, 503, LOSE_REPLY])
def test_passing_faults_are_ridden_out(flaky_s3: tuple[S3Storage, Faults], fault: int) -> None:
    storage, faults = flaky_s3
    faults.coming = {"PUT": [fault, fault], "GET": [fault], "HEAD": [fault]}
    storage.create("a", b"first")
    assert faults.seen["PUT"] == 3
    assert storage.read("a") == b"first"
    assert storage.exists("a")
    faults.coming = {"GET": [fault], "DELETE": [fault]}
    assert list(storage.names()) == ["a"]
    storage.delete("a")
    assert not storage.exists("a")


def test_lost_answer_to_a_create_is_no_lost_race(flaky_s3: tuple[S3Storage, Faults]) -> None:
    storage, faults = flaky_s3
    faults.coming = {"PUT": [LOSE_REPLY]}
    storage.create("a", b"mine")
    assert faults.seen["PUT"] == 2
    with pytest.raises(AlreadyExistsError):
        storage.create("a", b"another's")


@pytest.mark.parametrize("status", [409, 412])
def test_conflict_with_nothing_there_is_tried_again(flaky_s3: tuple[S3Storage, Faults], status: int) -> None:
    storage, faults = flaky_s3
    faults.coming = {"PUT": [status]}
    storage.create("a", b"mine")
    assert storage.read("a") == b"mine"


def test_retries_end(flaky_s3: tuple[S3Storage, Faults]) -> None:
    storage, faults = flaky_s3
    faults.coming = {"PUT": [503] * 10}
    with pytest.raises(
        StorageUnavailableError, match=r"cannot replace s3://.*/run/a: SlowDown as ordered \[503\]"
    ) as caught:
        storage.replace("a", b"")
    assert faults.seen["PUT"] == 4
    assert isinstance(caught.value, TransientError)
    assert pickle.loads(pickle.dumps(caught.value)).status == 503


def test_refusals_are_not_tried_again(flaky_s3: tuple[S3Storage, Faults]) -> None:
    storage, faults = flaky_s3
    faults.coming = {"PUT": [403]}
    with pytest.raises(StorageError, match="check the credentials") as caught:
        storage.replace("a", b"")
    assert faults.seen["PUT"] == 1
    assert not isinstance(caught.value, TransientError)


def test_large_files_go_in_parts(
    flaky_s3: tuple[S3Storage, Faults], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.storage.s3.SINGLE_PUT_BYTES", 1 << 20)
    monkeypatch.setattr("farm.storage.s3.PART_BYTES", 5 << 20)
    storage, faults = flaky_s3
    local = tmp_path / "spool"
    local.write_bytes(os.urandom((12 << 20) + 7))
    faults.coming = {"PUT": [503, LOSE_REPLY]}
    storage.put_file("clips/v.mp4", local)
    assert faults.seen["PUT"] == 3 + 2
    assert storage.read("clips/v.mp4") == local.read_bytes()


def test_upload_that_fails_half_way_leaves_nothing(
    flaky_s3: tuple[S3Storage, Faults], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.storage.s3.SINGLE_PUT_BYTES", 1 << 20)
    storage, faults = flaky_s3
    local = tmp_path / "spool"
    local.write_bytes(bytes(6 << 20))
    faults.coming = {"PUT": [403]}
    with pytest.raises(StorageError):
        storage.put_file("clips/v.mp4", local)
    assert not storage.exists("clips/v.mp4")
    assert storage.sweep(older_than_s=-5.0) == 0


def test_unfinished_uploads_are_swept(durable_storage: Storage, request: pytest.FixtureRequest) -> None:
    if not isinstance(durable_storage, S3Storage):
        pytest.skip("a folder has temporaries instead")
    where = {"Bucket": durable_storage.bucket, "Key": "some/run/clips/v.mp4"}
    durable_storage._call("create_multipart_upload", **where)
    if "ceph" in request.node.callspec.id:  # moto says of every upload that it was begun in 2010
        assert durable_storage.sweep(older_than_s=3600.0) == 0
    assert durable_storage.sweep(older_than_s=-5.0) == 1
    assert durable_storage.sweep(older_than_s=-5.0) == 0


@pytest.mark.real_s3
def test_no_error_tells_a_secret(moto_s3: S3Endpoint, ceph_s3: S3Endpoint) -> None:
    wrong = {**ceph_s3.options, "secret": "wrong-and-secret"}
    nowhere = {**moto_s3.options, "endpoint_url": f"http://127.0.0.1:{free_port()}", "secret": "wrong-and-secret"}
    for options in (wrong, nowhere):
        storage = S3Storage("bucket", options=options, backoff=QUICK)
        with pytest.raises(StorageError) as caught:
            storage.read("a")
        told = "".join(traceback.format_exception(caught.value)) + repr(storage) + repr(caught.value)
        assert "wrong-and-secret" not in told
        assert "testing-secret" not in told


def test_unreachable_endpoint_is_said_within_seconds() -> None:
    options = {"endpoint_url": f"http://127.0.0.1:{free_port()}", "key": "a", "secret": "b"}
    before = time.monotonic()
    with pytest.raises(OutputError, match="check the network and the endpoint"):
        open_storage("s3://bucket/run", options=options).probe_writable()
    assert time.monotonic() - before < 30.0


def test_missing_bucket_is_no_missing_file(moto_s3: S3Endpoint) -> None:
    storage = S3Storage("there-is-none", options=moto_s3.options, backoff=QUICK)
    with pytest.raises(OutputError, match="NoSuchBucket"):
        storage.probe_writable()
    with pytest.raises(StorageError, match="check the name of the bucket") as caught:
        storage.read("a")
    assert not isinstance(caught.value, NotFoundError)


def test_probe_finds_a_store_that_ignores_the_condition(moto_s3: S3Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = S3Storage(moto_s3.new_bucket(), options=moto_s3.options)
    put = storage._put
    monkeypatch.setattr(storage, "_put", lambda path, data, **condition: put(path, data))
    with pytest.raises(OutputError, match="honours If-None-Match"):
        storage.probe_writable()
    assert list(storage.names()) == []


def test_s3_storage_works_on_after_a_fork(moto_s3: S3Endpoint) -> None:
    storage = S3Storage(moto_s3.new_bucket(), options=moto_s3.options)
    storage.create("parent", b"")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            storage.create("child", b"")
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sorted(storage.names()) == ["child", "parent"]


@pytest.mark.parametrize("uri", ["s3://key:secret@bucket/run", "gs://bucket/run", "s3://"])
def test_unusable_addresses(uri: str) -> None:
    with pytest.raises(OutputError) as caught:
        open_storage(uri)
    assert "secret" not in str(caught.value).replace("AWS_SECRET_ACCESS_KEY", "")


def test_local_addresses(tmp_path: Path) -> None:
    for uri in (str(tmp_path / "a b"), (tmp_path / "a b").as_uri()):
        storage = open_storage(uri)
        assert isinstance(storage, LocalStorage)
        assert storage.root == tmp_path / "a b"


def test_probe_of_an_unusable_folder_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file, not a folder"):
        LocalStorage(tmp_path / "file" / "out").probe_writable()
    with pytest.raises(OutputError, match="cannot be written"):
        LocalStorage("/proc/there/is/none").probe_writable()


def test_failed_probe_removes_the_folders_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(OutputError, match="hard links"):
        LocalStorage(tmp_path / "a" / "b").probe_writable()
    assert list(tmp_path.iterdir()) == []


def test_stale_temporaries_are_hidden_and_swept(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.create("clips/ab/x", b"")
    stale = tmp_path / "clips" / "ab" / f"{TEMPORARY_PREFIX}0123"
    stale.write_text("half")
    assert list(storage.names()) == ["clips/ab/x"]
    assert [entry.path for entry in storage.list()] == ["clips/ab/x"]
    assert storage.sweep(older_than_s=3600.0) == 0
    assert storage.sweep(older_than_s=0.0) == 1
    assert not stale.exists()
    assert storage.exists("clips/ab/x")


def test_full_disk_leaves_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    storage = LocalStorage(tmp_path)
    storage.create("a/b", b"")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"No space left on device \[28\]; free some space"):
        storage.replace("a/c", b"data")
    assert [item.name for item in (tmp_path / "a").iterdir()] == ["b"]


def test_listing_while_files_come_and_go(durable_storage: Storage) -> None:
    def churn(number: int) -> None:
        for turn in range(5):
            path = f"a/{number}-{turn}"
            durable_storage.create(path, b"x")
            durable_storage.delete(path)

    durable_storage.create("a/stays", b"x")
    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(churn, number) for number in range(4)]
        while not all(item.done() for item in work):
            assert "a/stays" in {entry.path for entry in durable_storage.list("a")}
            assert "a/stays" in set(durable_storage.names("a"))
        for item in work:
            item.result()
