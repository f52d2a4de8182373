"""How long a submission takes under load: 500 jobs of different seeds, 100 a second, over 20 connections.

    python benchmarks/submit_load.py                     all three settings, each on a server of its own
    python benchmarks/submit_load.py --setting s3        one of: paused, working, s3
    python benchmarks/submit_load.py --url URL --key K   against a server that runs; leaves its jobs there

Times are those of whole requests as the client sees them, on a connection that is kept. The client needs a fifth of a
core at that rate, and is on the same machine as the server here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from serving import serving

SMALL = {"size": "64x64", "num_frames": 5, "num_inference_steps": 4}
MARK = f"load {time.time():.0f}"


class Connection:
    """HTTP/1.1 on one kept connection, as little of it as this takes."""

    def __init__(self, url: str, key: str | None) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._head = f"Host: {parts.netloc}\r\nContent-Type: application/json\r\n"
        self._head += f"Authorization: Bearer {key}\r\n" if key else ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        """The status, and the JSON that came with it."""
        reader, writer = self._streams or await asyncio.open_connection(*self._address)
        self._streams = (reader, writer)
        data = b"" if body is None else json.dumps(body).encode()
        writer.write(f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        status = int((await reader.readline()).split()[1])
        length, is_chunked = 0, False
        while (line := await reader.readline()).strip():
            name, _, value = line.decode().partition(":")
            length = int(value) if name.lower() == "content-length" else length
            is_chunked |= name.lower() == "transfer-encoding" and "chunked" in value
        content = await (_chunked(reader) if is_chunked else reader.readexactly(length))
        return status, json.loads(content) if content else None


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    content = b""
    while size := int(await reader.readline(), 16):
        content += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return content


async def submit_all(url: str, key: str | None, *, jobs: int, rate: float, connections: int) -> list[tuple[float, str]]:
    """Seconds and job id of each submission. Whoever is free takes the next that is due."""
    numbers, begun_s = iter(range(jobs)), time.monotonic() + 0.2
    done = list[tuple[float, str]]()

    async def send() -> None:
        connection = Connection(url, key)
        await connection.ask("GET", "/healthz")
        for number in numbers:
            await asyncio.sleep(max(0.0, begun_s + number / rate - time.monotonic()))
            sent_s = time.monotonic()
            asked = {"prompt": f"a red circle, {MARK}", "seed": number, **SMALL}
            status, answer = await connection.ask("POST", "/v1/videos", asked)
            took_s = time.monotonic() - sent_s
            if status not in (200, 201):
                raise SystemExit(f"job {number}: {status} {answer}")
            done.append((took_s, answer["id"]))

    await asyncio.gather(*(send() for _ in range(connections)))
    print(f"  {jobs} submitted in {time.monotonic() - begun_s:.2f} s")
    return done


async def statuses(url: str, key: str | None, wanted: set[str]) -> Counter[str]:
    """Of these jobs, by the list of all; one that is missing is "lost", one that is there twice "doubled"."""
    connection, seen, after = Connection(url, key), Counter[str](), ""
    found = Counter[str]()
    while True:
        _, page = await connection.ask("GET", f"/v1/videos?limit=100{after}")
        for video in page["data"]:
            if video["id"] in wanted:
                seen[video["id"]] += 1
                found[video["status"]] += 1
        if not page["has_more"] or not page["data"]:
            break
        after = f"&after={page['data'][-1]['id']}"
    found["lost"] = len(wanted - seen.keys())
    found["doubled"] = sum(count > 1 for count in seen.values())
    return found


def report(times: list[float]) -> None:
    ordered = sorted(times)
    at = {p: ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))] * 1000 for p in (50, 90, 99)}
    print(f"  submit p50 {at[50]:.1f} ms, p90 {at[90]:.1f} ms, p99 {at[99]:.1f} ms, most {ordered[-1] * 1000:.1f} ms")


async def measure(url: str, key: str | None, asked: argparse.Namespace, *, is_paused: bool) -> None:
    control = Connection(url, key)
    await control.ask("POST", f"/v1/queue/{'pause' if is_paused else 'resume'}")
    for number in range(5):  # whatever is made at the first request
        await control.ask("POST", "/v1/videos", {"prompt": f"warm up {number}", "seed": number, **SMALL})
    await asyncio.sleep(1.5)
    done = await submit_all(url, key, jobs=asked.jobs, rate=asked.rate, connections=asked.connections)
    report([seconds for seconds, _ in done])
    found = await statuses(url, key, {job_id for _, job_id in done})
    print(f"  {dict(found)}, {len({job_id for _, job_id in done})} ids")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=["paused", "working", "s3"])
    parser.add_argument("--url")
    parser.add_argument("--key")
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--connections", type=int, default=20)
    asked = parser.parse_args()
    if asked.url:
        asyncio.run(measure(asked.url, asked.key, asked, is_paused=False))
        return
    for setting in [asked.setting] if asked.setting else ["paused", "working", "s3"]:
        place = "S3" if setting == "s3" else "local folder"
        print(f"renderers {'paused' if setting == 'paused' else 'at work'}, {place}:")
        with tempfile.TemporaryDirectory() as folder, storage_of(setting, Path(folder)) as (out, environment):
            with serving("--out", out, environment=environment) as url:
                asyncio.run(measure(url, None, asked, is_paused=setting == "paused"))


@contextmanager
def storage_of(setting: str, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Where the output is, and what reaches it. S3 is moto in a process of its own, which is no fast server."""
    if setting != "s3":
        yield str(folder / "out"), {}
        return
    import boto3

    port = 5555
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as moto:
        endpoint = f"http://127.0.0.1:{port}"
        environment = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL": endpoint}
        try:
            client = boto3.client(
                "s3",
                endpoint_url=endpoint,
                aws_access_key_id="k",
                aws_secret_access_key="s",
                region_name="us-east-1",
            )
            client.create_bucket(Bucket="load")
            yield "s3://load/out", environment
        finally:
            moto.terminate()


if __name__ == "__main__":
    main()
