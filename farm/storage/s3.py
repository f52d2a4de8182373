"""Storage in an S3 bucket, through s3fs.

Create-only is one PUT with `If-None-Match: *`, which AWS, Ceph and others decide atomically. What differs between
servers is kept out: no conditional multipart (Ceph ignores the condition), no If-Match, no use of multipart ETags.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.fs
import s3fs

from farm.errors import AlreadyExistsError, NotFoundError
from farm.storage.base import Entry, Storage, checked_path
from farm.storage.retry import Backoff, call_with_retries
from farm.storage.s3_errors import CLIENT_ERRORS, explained, is_conflict, is_transient

Result = TypeVar("Result")

SINGLE_PUT_BYTES = 64 << 20
PART_BYTES = 32 << 20

# What browsers need to play and show files straight from a bucket; the rest may stay application/octet-stream.
_CONTENT_TYPES = {
    ".mp4": "video/mp4",
    ".webp": "image/webp",
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
}

# One policy of retries, ours: the client's own would multiply with it.
_CLIENT_CONFIG = {
    "signature_version": "s3v4",
    "connect_timeout": 10,
    "read_timeout": 60,
    "max_pool_connections": 64,
    "retries": {"mode": "standard", "total_max_attempts": 1},
}


class S3Storage(Storage):
    """Objects below one prefix of a bucket.

    Endpoint, region and credentials come from the standard AWS environment, files and roles, or from `options`
    (those of `s3fs.S3FileSystem`: `endpoint_url`, `key`, `secret`, `client_kwargs` ...), which are never shown.
    """

    def __init__(
        self, bucket: str, prefix: str = "", *, options: Mapping[str, Any] | None = None, backoff: Backoff | None = None
    ) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.uri = f"s3://{bucket}/{self.prefix}".rstrip("/")
        self._options = dict(options or {})
        self._backoff = backoff or Backoff()
        self._lock = threading.Lock()
        self._client: s3fs.S3FileSystem | None = None
        self._client_pid = 0

    def __repr__(self) -> str:
        return f"S3Storage({self.uri!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"bucket": self.bucket, "prefix": self.prefix, "options": self._options, "backoff": self._backoff}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["bucket"], state["prefix"], options=state["options"], backoff=state["backoff"])  # type: ignore[misc]

    def create(self, path: str, data: bytes) -> None:
        self._attempt("create", path, lambda: self._create_or_compare(path, data))

    def _create_or_compare(self, path: str, data: bytes) -> None:
        try:
            self._put(path, data, IfNoneMatch="*")
        except Exception as error:
            if not is_conflict(error):
                raise
            held = self._read_or_none(path)
            if held is None:  # a rival's PUT is under way (409), or was refused as ours was: not decided yet
                raise
            if held != data:
                raise AlreadyExistsError("create", path, "the file is already there with other content") from None

    def replace(self, path: str, data: bytes) -> None:
        self._attempt("replace", path, lambda: self._put(path, data))

    def put_file(self, path: str, local: Path) -> None:
        if local.stat().st_size <= SINGLE_PUT_BYTES:
            self.replace(path, local.read_bytes())
        else:
            self._put_parts(path, local)

    def _put_parts(self, path: str, local: Path) -> None:
        where = self._where(path)
        upload_id = self._attempt("put", path, lambda: self._call("create_multipart_upload", **where, **_typed(path)))[
            "UploadId"
        ]
        where["UploadId"] = upload_id
        try:
            parts = [self._put_part(path, where, number, data) for number, data in _parts_of(local)]
            complete = {"MultipartUpload": {"Parts": parts}}
            self._attempt("put", path, lambda: self._call("complete_multipart_upload", **where, **complete))
        except BaseException:
            with suppress(Exception):
                self._call("abort_multipart_upload", **where)
            raise

    def _put_part(self, path: str, where: Mapping[str, str], number: int, data: bytes) -> dict[str, Any]:
        reply = self._attempt("put", path, lambda: self._call("upload_part", **where, PartNumber=number, Body=data))
        return {"PartNumber": number, "ETag": reply["ETag"]}

    def read(self, path: str) -> bytes:
        def get() -> bytes:
            return bytes(self._connected().cat_file(f"{self.bucket}/{self._key(path)}"))

        return self._attempt("read", path, get)

    def read_range(self, path: str, *, start: int, size: int) -> bytes:
        def get() -> bytes:
            return bytes(self._connected().cat_file(f"{self.bucket}/{self._key(path)}", start=start, end=start + size))

        return self._attempt("read", path, get)

    def stat(self, path: str) -> Entry | None:
        try:
            reply = self._attempt("look at", path, lambda: self._call("head_object", **self._where(path)))
        except NotFoundError:
            return None
        return Entry(path=path, size_bytes=reply["ContentLength"], mtime_s=reply["LastModified"].timestamp())

    def list(self, folder: str = "") -> Iterator[Entry]:
        skip = len(self.prefix) + 1 if self.prefix else 0
        for page in self._pages(folder):
            for item in page.get("Contents", ()):
                yield Entry(path=item["Key"][skip:], size_bytes=item["Size"], mtime_s=item["LastModified"].timestamp())

    def names(self, folder: str = "") -> Iterator[str]:
        return (entry.path for entry in self.list(folder))

    def folders(self, folder: str = "") -> Sequence[str]:
        pages = self._pages(folder, Delimiter="/")
        prefixes = (item["Prefix"] for page in pages for item in page.get("CommonPrefixes", ()))
        return sorted(prefix.rstrip("/").rsplit("/", 1)[-1] for prefix in prefixes)

    def _pages(self, folder: str, **arguments: str) -> Iterator[Mapping[str, Any]]:
        prefix = self._key(folder) + "/" if folder else f"{self.prefix}/" if self.prefix else ""
        request: dict[str, Any] = {"Bucket": self.bucket, "Prefix": prefix, **arguments}
        while True:
            page = self._attempt("list", folder, lambda: self._call("list_objects_v2", **request))
            yield page
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def delete(self, path: str) -> None:
        with suppress(NotFoundError):
            self._attempt("delete", path, lambda: self._call("delete_object", **self._where(path)))

    def now(self) -> float:
        reply = self._attempt("ask the time of", "", lambda: self._call("head_bucket", Bucket=self.bucket))
        return parsedate_to_datetime(reply["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()

    def uri_of(self, path: str) -> str:
        return f"{self.uri}/{path}"

    def arrow_filesystem(self) -> pyarrow.fs.FileSystem:
        # A client of its own with s3fs' own retries: pyarrow's reads don't come through this class.
        files = s3fs.S3FileSystem(**self._options, use_listings_cache=False)
        return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(files))

    def arrow_path(self, path: str) -> str:
        return f"{self.bucket}/{self._key(path)}"

    def prune(self, folder: str) -> None:
        """A folder is there as long as an object is in it."""

    def sweep(self, *, older_than_s: float) -> int:
        """Abort multipart uploads below the prefix that were begun so long ago."""
        prefix = f"{self.prefix}/" if self.prefix else ""
        page = self._attempt(
            "sweep", "", lambda: self._call("list_multipart_uploads", Bucket=self.bucket, Prefix=prefix)
        )
        oldest = self.now() - older_than_s
        stale = [upload for upload in page.get("Uploads", ()) if upload["Initiated"].timestamp() <= oldest]
        for upload in stale:
            where = {"Bucket": self.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
            with suppress(FileNotFoundError):
                self._call("abort_multipart_upload", **where)
        return len(stale)

    def _key(self, path: str) -> str:
        return f"{self.prefix}/{checked_path(path)}" if self.prefix else checked_path(path)

    def _where(self, path: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self._key(path)}

    def _put(self, path: str, data: bytes, **condition: str) -> None:
        self._call("put_object", **self._where(path), Body=data, **_typed(path), **condition)

    def _read_or_none(self, path: str) -> bytes | None:
        try:
            return self.read(path)
        except NotFoundError:
            return None

    def _call(self, operation: str, **arguments: Any) -> Any:
        return self._connected().call_s3(operation, **arguments)

    def _attempt(self, action: str, path: str, call: Callable[[], Result]) -> Result:
        try:
            return call_with_retries(call, is_transient=is_transient, backoff=self._backoff)
        except CLIENT_ERRORS as error:
            where = self.uri_of(path) if path else self.uri
            raise explained(error, action=action, where=where, secrets=_secrets(self._options)) from error

    def _connected(self) -> s3fs.S3FileSystem:
        """The client of this process: one that was open before a fork is of no use after it."""
        with self._lock:
            if self._client is None or self._client_pid != os.getpid():
                self._client = _open_client(self._options)
                self._client_pid = os.getpid()
            return self._client


def _open_client(options: Mapping[str, Any]) -> s3fs.S3FileSystem:
    settings = {**options, "config_kwargs": {**_CLIENT_CONFIG, **options.get("config_kwargs", {})}}
    client = s3fs.S3FileSystem(**settings, use_listings_cache=False, skip_instance_cache=True)
    client.retries = 1
    return client


def _typed(path: str) -> dict[str, str]:
    content_type = _CONTENT_TYPES.get(Path(path).suffix)
    return {"ContentType": content_type} if content_type else {}


def _parts_of(local: Path) -> Iterator[tuple[int, bytes]]:
    with local.open("rb") as source:
        number = 1
        while data := source.read(PART_BYTES):
            yield number, data
            number += 1


def _secrets(options: Mapping[str, Any]) -> list[str]:
    """The values among the options that no message may show."""
    client = options.get("client_kwargs", {})
    named = [options.get(name) for name in ("secret", "password", "token", "key", "username")]
    named += [client.get(f"aws_{name}") for name in ("secret_access_key", "session_token", "access_key_id")]
    # One or two characters hide nothing, and would be found all over a message.
    return [value for value in named if isinstance(value, str) and len(value) > 4]
