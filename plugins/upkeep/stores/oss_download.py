"""One object on its way back from OSS: taken up again where the connection broke, proven by CRC64 at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastcrc import crc64

from upkeep.errors import ObjectDamaged
from upkeep.stores.backoff import Tries
from upkeep.stores.oss_client import OssClient
from upkeep.stores.oss_errors import READ, reason

CHUNK = 2**20


def download(client: OssClient, key: str) -> Iterator[bytes]:
    """The object's bytes in order, in chunks of at most 1 MiB.

    The retries are counted anew after every chunk: a long download over a poor line may break as often as it likes,
    as long as it gets on.

    Errors: ``ObjectDamaged`` when the bytes received don't have the CRC64 that the store recorded; those of
    ``OssClient.call``.
    """
    from requests import RequestException

    first = answer = _ask(client, key, 0, "")
    crc = offset = 0
    tries = Tries(client.backoff)
    while True:
        try:
            while chunk := answer.read(CHUNK):
                crc = crc64.xz(chunk, crc)
                offset += len(chunk)
                yield chunk
                tries = Tries(client.backoff)
            break
        except RequestException as error:
            why = reason(error)
        finally:
            answer.resp.response.close()
        if not tries.again():
            raise client.unreachable(READ, key, why, tries.failed)
        answer = _ask(client, key, offset, first.etag)
    if first.server_crc is not None and crc != first.server_crc:
        raise ObjectDamaged(
            f"{client.address(key)} is damaged: its bytes have CRC64 {crc}, the store recorded {first.server_crc}",
            hint="read it again; if that fails too this copy is lost: use another backup",
        )


def _ask(client: OssClient, key: str, offset: int, etag: str) -> Any:
    name = client.root + key
    if not offset:
        return client.call(READ, key, lambda bucket: bucket.get_object(name))
    # If-Match: the rest must be the rest of the same object, not of one that has replaced it meanwhile.
    match = {"If-Match": f'"{etag}"'}
    return client.call(READ, key, lambda bucket: bucket.get_object(name, byte_range=(offset, None), headers=match))
