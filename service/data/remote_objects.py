"""Files of data sets in an S3 bucket, so that workers of other machines see them, with a bounded copy on each machine.

    <bucket>/<prefix>/ab/<sha256>       the bytes
    <data folder>/cache/ab/<sha256>     those that this machine fetched or put; may be removed at any time

What comes over the network is hashed on its way in and counts only under the name that its bytes have.
"""

import contextlib
import datetime as dt
import functools
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from service.data.objects import ObjectFolder, StoredObject, disk_full_refused, is_object_name
from service.errors import DataCorrupt, ObjectsUnavailable

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import S3Store

CHUNK_BYTES = 8 << 20
# Chunks that are under way at once: more would cost memory and no time.
CHUNKS_AT_ONCE = 4
CONNECT_S = 5
# A store that answers with errors or not at all is asked again for so long; then the caller hears of it.
PATIENCE_S = 20
# One request with its body, over a slow line too.
REQUEST_S = 1800
# What was used so short a time ago may be about to be opened, and stays though the cache is full.
IN_USE_S = 600.0


class RemoteObjects(ObjectFolder):
    """An ObjectFolder whose bytes lie in a bucket; its own folder holds copies, the least recently used leave first.

    Besides what an ObjectFolder raises, every method may raise ObjectsUnavailable.
    """

    def __init__(self, url: str, cache: Path, tmp: Path, cache_bytes: int) -> None:
        """`url` is `s3://bucket/prefix`; keys, region and endpoint are those of the AWS_… variables."""
        super().__init__(cache, tmp)
        self._url = url
        self._cache_bytes = cache_bytes

    @override
    def put(self, path: Path, sha256: str | None = None) -> str:
        name = super().put(path, sha256)
        try:
            self._send(name)
        except BaseException:
            # A copy here would look as if the others had it.
            super().delete(name)
            raise
        self._make_room()
        return name

    @override
    def verify(self, sha256: str) -> None:
        path = self.path(sha256)
        if not path.exists():
            self._receive(sha256)
            self._make_room()
        _mark_used(path)
        try:
            super().verify(sha256)
        except DataCorrupt:
            # The copy of this machine was damaged or taken away; the bucket's may be whole.
            super().delete(sha256)
            self._receive(sha256)
            super().verify(sha256)

    @override
    def delete(self, sha256: str) -> None:
        import obstore

        with _translated(), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, self._key(sha256))
        super().delete(sha256)

    @override
    def stored(self) -> Iterator[StoredObject]:
        import obstore

        with _translated():
            for page in obstore.list(self._store):
                for one in page:
                    folder, _, name = one["path"].rpartition("/")
                    if is_object_name(name) and folder == name[:2]:
                        yield _stored(name, one)

    @override
    def look(self, sha256: str) -> StoredObject | None:
        import obstore

        try:
            with _translated():
                return _stored(sha256, obstore.head(self._store, self._key(sha256)))
        except FileNotFoundError:
            return None

    def check(self) -> None:
        """Write, read, list and delete a small object, as an administrator wants to know that it can be done."""
        path = self.new_tmp(".probe")
        path.write_bytes(b"traind looks whether it can write here\n")
        sha256 = self.put(path)
        super().delete(sha256)
        try:
            self.verify(sha256)
            next(self.stored(), None)
        finally:
            self.delete(sha256)

    @functools.cached_property
    def _store(self) -> "S3Store":
        # Made at the first use: its threads and connections outlive no fork, and most processes never need them.
        from obstore.store import S3Store

        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        return S3Store.from_url(
            self._url,
            client_options={
                # Who names an endpoint without TLS means it: a server of the same machine or the same private network.
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": dt.timedelta(seconds=CONNECT_S),
                "timeout": dt.timedelta(seconds=REQUEST_S),
            },
            retry_config={
                "max_retries": 100,
                "retry_timeout": dt.timedelta(seconds=PATIENCE_S),
                "backoff": {"max_backoff": dt.timedelta(seconds=2)},
            },
        )

    def _key(self, sha256: str) -> str:
        return f"{sha256[:2]}/{self.path(sha256).name}"

    def _send(self, sha256: str) -> None:
        import obstore

        with _translated():
            obstore.put(
                self._store,
                self._key(sha256),
                self.path(sha256),
                chunk_size=CHUNK_BYTES,
                max_concurrency=CHUNKS_AT_ONCE,
            )

    def _receive(self, sha256: str) -> None:
        """Bring the bytes here. Raises DataCorrupt where the bucket has none or others."""
        import obstore

        scratch = self.new_tmp(".fetched")
        digest = hashlib.sha256()
        try:
            with disk_full_refused(), scratch.open("wb") as file, _translated():
                for chunk in obstore.get(self._store, self._key(sha256)).stream(min_chunk_size=CHUNK_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != sha256:
                raise DataCorrupt("stored bytes of a data set do not match their SHA-256; upload its file again")
            self._note_verified(super().put(scratch, sha256))
        except FileNotFoundError as error:
            raise DataCorrupt("stored bytes of a data set cannot be read; upload its file again") from error
        finally:
            scratch.unlink(missing_ok=True)

    def _make_room(self) -> None:
        """Remove the copies that were used longest ago, until the rest fits; whoever has one open keeps it."""
        files = []
        for path in self.root.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):  # another process makes room too
                stat = path.stat()
                files.append((stat.st_atime, stat.st_size, path))
        used = sum(size for _, size, _ in files)
        newest = time.time() - IN_USE_S
        for used_at, size, path in sorted(files):
            if used <= self._cache_bytes or used_at > newest:
                return
            path.unlink(missing_ok=True)
            used -= size


def _stored(sha256: str, one: "ObjectMeta") -> StoredObject:
    return StoredObject(sha256, one["size"], one["last_modified"].timestamp())


def _mark_used(path: Path) -> None:
    """Note the time as that of the last access, which file systems do not do by themselves."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


@contextmanager
def _translated() -> Iterator[None]:
    """Let FileNotFoundError of an object through, and turn all else that the store says into ObjectsUnavailable.

    Neither keys nor addresses get out by it: they stand in its cause, for the log.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" not in str(error):
            raise
        raise _unavailable() from error
    except BaseError as error:
        raise _unavailable() from error


def _unavailable() -> ObjectsUnavailable:
    return ObjectsUnavailable(
        "the object store with the files of data sets did not answer as it should; the call can be sent again",
        retry_after_s=1,
    )
