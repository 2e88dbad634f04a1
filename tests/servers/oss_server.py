"""A small Alibaba OSS: real HTTP, real V4 signatures, real files, and faults on order.

It speaks what oss2 2.19 speaks, as documented at https://help.aliyun.com/zh/oss/developer-reference/. Missing on
purpose: versioning, ACLs, lifecycle, callbacks, append.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import shutil
import socket
import struct
import threading
import time
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, quote, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.servers.oss_bucket import BLOCK, Blob, Bucket, Refused
from tests.servers.oss_faults import Faults
from tests.servers.oss_signing import Signatures
from upkeep.domain.endpoint import Endpoint

ROLE_PATH = "/latest/meta-data/ram/security-credentials/upkeep"


class OssServer:
    """One bucket on a port of its own, for as long as the ``with`` block lasts.

    ``stop`` refuses and cuts connections, ``start`` takes them again on the same port; what is stored stays.
    """

    def __init__(self, folder: Path, *, bucket: str = "kindergarten-backup", region: str = "cn-hangzhou") -> None:
        self.bucket = bucket
        self.region = region
        self.store = Bucket(folder)
        self.faults = Faults()
        self.signatures = Signatures(region)
        self.key = self.signatures.issue()
        self.log: list[tuple[str, str]] = []
        """Every request that was let in: operation and key, in order."""
        self.refusals: list[str] = []
        """The code of every answer that wasn't 2xx, in order."""
        self.page_limit = 1000
        """Most entries on one page of a listing."""
        self.most_at_once = 0
        """Most requests that were being answered at the same time."""
        self.at_work = 0
        self._folder = folder
        self._server: _HttpServer | None = None
        self._port = 0

    @property
    def access_key_id(self) -> str:
        return self.key.key_id

    @property
    def access_key_secret(self) -> str:
        return self.key.secret

    @property
    def port(self) -> int:
        return self._port

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def role_url(self) -> str:
        """Where this server plays the ECS metadata service; every read lends a new key for an hour."""
        return self.endpoint_url + ROLE_PATH

    @property
    def keys(self) -> list[str]:
        return sorted(self.store.objects)

    @property
    def uploads(self) -> list[str]:
        """The keys that unfinished uploads are for."""
        return sorted(upload.key for upload in self.store.uploads.values())

    def operations(self) -> list[str]:
        return [operation for operation, _ in self.log]

    def endpoint(self, **extra: Any) -> Endpoint:
        """What an Airflow connection to this server holds."""
        return Endpoint(
            conn_id="kindergarten_oss",
            host=self.endpoint_url,
            user=self.access_key_id,
            secret=self.access_key_secret,
            extra={"region": self.region, **extra},
        )

    def hold(self, prefix: str) -> None:
        """Lock what is stored below the prefix (WORM)."""
        self.store.held = (*self.store.held, prefix)

    def start(self) -> None:
        self._server = _HttpServer(("127.0.0.1", self._port), partial(_Handler, self))
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server.hang_up()
            self._server = None

    def __enter__(self) -> OssServer:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for connection in tuple(self._open):
            _reset(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Broken connections are this server's daily work."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer waits 40 ms for an acknowledgement
    wbufsize = -1  # head and body in one segment

    def __init__(self, oss: OssServer, *args: Any) -> None:
        self._oss = oss
        super().__init__(*args)

    def log_message(self, *_: Any) -> None:
        """``OssServer.log`` has what tests need."""

    def _serve(self) -> None:
        oss = self._oss
        with oss.store.lock:
            oss.at_work += 1
            oss.most_at_once = max(oss.most_at_once, oss.at_work)
        self._left = int(self.headers.get("content-length", 0))
        self._operation = ""
        try:
            if self.path == ROLE_PATH:
                self._lend_role()
                return
            self._read_request()
            time.sleep(oss.faults.slow_s)
            oss.signatures.verify(
                self.command,
                f"/{oss.bucket}/{self._key}",
                self._query,
                {name.lower(): value for name, value in self.headers.items()},
            )
            self._dispatch()
        except Refused as refusal:
            while self._left:  # or the client would see a broken pipe instead of the answer
                self._take(min(self._left, BLOCK))
            self._refuse(refusal)
        finally:
            with oss.store.lock:
                oss.at_work -= 1

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def _read_request(self) -> None:
        path, _, query = self.path.partition("?")
        self._query = dict(parse_qsl(query, keep_blank_values=True))
        host = self.headers.get("host", "").rpartition(":")[0]
        name = unquote(path)[1:]
        if host.startswith(self._oss.bucket + "."):
            bucket, self._key = self._oss.bucket, name
        elif re.fullmatch(r"[\d.]+|localhost", host):
            bucket, _, self._key = name.partition("/")
        else:  # the bucket's own domain (CNAME)
            bucket, self._key = self._oss.bucket, name
        if bucket != self._oss.bucket:
            raise Refused(404, "NoSuchBucket", "The specified bucket does not exist.", BucketName=bucket)

    def _dispatch(self) -> None:
        query, kind = self._query, (self.command, bool(self._key))
        part = int(query.get("partNumber", 0))
        operation = {
            ("GET", False): "ListMultipartUploads" if "uploads" in query else "ListObjects",
            ("POST", False): "DeleteMultipleObjects",
            ("GET", True): "ListParts" if "uploadId" in query else "GetObject",
            ("HEAD", True): "HeadObject",
            ("PUT", True): "UploadPart" if part else "PutObject",
            ("DELETE", True): "AbortMultipartUpload" if "uploadId" in query else "DeleteObject",
            ("POST", True): "InitiateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload",
        }.get(kind)
        if operation is None:
            raise Refused(400, "NotImplemented", "A header you provided implies functionality that is not implemented.")
        self._operation = operation
        self._oss.log.append((operation, self._key))
        faults = self._oss.faults
        if order := faults.take("answer", operation, part):
            raise Refused(order.status, order.code, order.message)
        if order := faults.take("cut_upload", operation, part):
            self._take(min(order.after_bytes, self._left))
            self._hang_up()
            return
        getattr(self, f"_do_{operation}")(corrupt=faults.take("corrupt", operation, part) is not None)

    def _do_PutObject(self, corrupt: bool) -> None:
        blob = self._oss.store.receive(self._take, self._left, corrupt=corrupt)
        self._oss.store.put(self._key, Blob(blob.path, blob.size, blob.crc, blob.etag, headers=self._wanted()))
        self._answer(200, **_about(blob))

    def _do_GetObject(self, corrupt: bool) -> None:
        blob = self._oss.store.get(self._key)
        if (match := self.headers.get("if-match")) and match.strip('"') != blob.etag:
            raise Refused(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")
        first, last = 0, blob.size - 1
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if wanted:
            first, last = int(wanted[1]), min(int(wanted[2] or last), last)
            if first > last:
                raise Refused(416, "InvalidRange", "The requested range cannot be satisfied.")
        headers = {**_about(blob), **blob.headers, "Last-Modified": formatdate(blob.modified, usegmt=True)}
        headers["Content-Type"] = "application/octet-stream"
        if wanted:
            headers["Content-Range"] = f"bytes {first}-{last}/{blob.size}"
        self._send_head(206 if wanted else 200, last - first + 1, headers)
        if self.command == "GET":
            self._send_file(blob, first, last + 1)

    _do_HeadObject = _do_GetObject

    def _send_file(self, blob: Blob, start: int, end: int) -> None:
        cut = self._oss.faults.take("cut_download", "GetObject")
        rot = self._oss.faults.take("rot", "GetObject") is not None
        if cut:
            end = min(end, start + cut.after_bytes)
        with blob.path.open("rb") as file:
            file.seek(start)
            while start < end:
                block = file.read(min(BLOCK, end - start))
                start += len(block)
                if rot:
                    block, rot = bytes([block[0] ^ 1]) + block[1:], False
                self.wfile.write(block)
        if cut:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _do_DeleteObject(self, corrupt: bool) -> None:
        self._oss.store.delete(self._key)
        self._answer(204)

    def _do_DeleteMultipleObjects(self, corrupt: bool) -> None:
        keys = [node.text or "" for node in self._xml().findall("Object/Key")]
        for key in keys:
            self._oss.store.delete(key)
        self._answer(200, _node("DeleteResult", "".join(_node("Deleted", _text("Key", key)) for key in keys)))

    def _do_InitiateMultipartUpload(self, corrupt: bool) -> None:
        upload = self._oss.store.begin(self._key, self._wanted())
        fields = {"Bucket": self._oss.bucket, "Key": self._key, "UploadId": upload.upload_id}
        body = "".join(_text(name, value) for name, value in fields.items())
        self._answer(200, _node("InitiateMultipartUploadResult", body))

    def _do_UploadPart(self, corrupt: bool) -> None:
        number = int(self._query["partNumber"])
        if not 1 <= number <= 10_000:
            raise Refused(400, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive.")
        upload = self._oss.store.upload(self._key, self._query["uploadId"])
        blob = self._oss.store.receive(self._take, self._left, corrupt=corrupt)
        with self._oss.store.lock:
            self._oss.store.upload(self._key, upload.upload_id)  # it may have been aborted meanwhile
            upload.parts[number] = blob
        self._answer(200, **_about(blob))

    def _do_ListParts(self, corrupt: bool) -> None:
        upload = self._oss.store.upload(self._key, self._query["uploadId"])
        parts = [
            _node(
                "Part",
                _text("PartNumber", str(number))
                + _text("LastModified", _iso(part.modified))
                + _text("ETag", f'"{part.etag}"')
                + _text("Size", str(part.size)),
            )
            for number, part in sorted(upload.parts.items())
        ]
        ending = _text("IsTruncated", "false") + _text("NextPartNumberMarker", "")
        self._answer(200, _node("ListPartsResult", "".join(parts) + ending))

    def _do_CompleteMultipartUpload(self, corrupt: bool) -> None:
        wanted = [
            (int(node.findtext("PartNumber", "")), node.findtext("ETag", "").strip('"'))
            for node in self._xml().findall("Part")
        ]
        blob = self._oss.store.complete(self._key, self._query["uploadId"], wanted, corrupt=corrupt)
        body = _text("Bucket", self._oss.bucket) + _text("Key", self._key) + _text("ETag", f'"{blob.etag}"')
        self._answer(200, _node("CompleteMultipartUploadResult", body), **_about(blob))

    def _do_AbortMultipartUpload(self, corrupt: bool) -> None:
        self._oss.store.abort(self._key, self._query["uploadId"])
        self._answer(204)

    def _do_ListObjects(self, corrupt: bool) -> None:
        query, version_2 = self._query, self._query.get("list-type") == "2"
        after = query.get("start-after", "") if version_2 else query.get("marker", "")
        if token := query.get("continuation-token"):
            after = base64.urlsafe_b64decode(token).decode()
        limit = min(int(query.get("max-keys", 100)), self._oss.page_limit)
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys, folders, following = self._oss.store.page(prefix, delimiter, after, limit)
        body = [_text("EncodingType", "url"), _text("IsTruncated", str(bool(following)).lower())]
        if following:
            token = base64.urlsafe_b64encode(following.encode()).decode()
            body.append(
                _text("NextContinuationToken", quote(token)) if version_2 else _text("NextMarker", quote(following))
            )
        for key in keys:
            blob = self._oss.store.get(key)
            body.append(
                _node(
                    "Contents",
                    _text("Key", quote(key))
                    + _text("LastModified", _iso(blob.modified))
                    + _text("ETag", f'"{blob.etag}"')
                    + _text("Type", blob.kind)
                    + _text("Size", str(blob.size))
                    + _text("StorageClass", blob.headers.get("x-oss-storage-class", "Standard")),
                )
            )
        body += [_node("CommonPrefixes", _text("Prefix", quote(folder))) for folder in folders]
        self._answer(200, _node("ListBucketResult", "".join(body)))

    def _do_ListMultipartUploads(self, corrupt: bool) -> None:
        after = (self._query.get("key-marker", ""), self._query.get("upload-id-marker", ""))
        with self._oss.store.lock:
            found = sorted(
                ((upload.key, upload.upload_id, upload.begun) for upload in self._oss.store.uploads.values()),
            )
        found = [item for item in found if item[0].startswith(self._query.get("prefix", "")) and item[:2] > after]
        page = found[: self._oss.page_limit]
        last = page[-1] if len(page) < len(found) else ("", "")
        body = [
            _text("EncodingType", "url"),
            _text("IsTruncated", str(len(page) < len(found)).lower()),
            _text("NextKeyMarker", quote(last[0])),
            _text("NextUploadIdMarker", last[1]),
        ]
        body += [
            _node("Upload", _text("Key", quote(key)) + _text("UploadId", upload_id) + _text("Initiated", _iso(begun)))
            for key, upload_id, begun in page
        ]
        self._answer(200, _node("ListMultipartUploadsResult", "".join(body)))

    def _lend_role(self) -> None:
        key = self._oss.signatures.issue(lasts_s=3600)
        self.close_connection = True
        lent = {
            "Code": "Success",
            "AccessKeyId": key.key_id,
            "AccessKeySecret": key.secret,
            "SecurityToken": key.token,
            "Expiration": _iso(key.expires_at, "Z"),
        }
        self._answer(200, json.dumps(lent))

    def _wanted(self) -> dict[str, str]:
        """Properties of the object to be, echoed when it is read."""
        names = ("x-oss-storage-class", "x-oss-server-side-encryption")
        return {name: value for name in names if (value := self.headers.get(name))}

    def _take(self, size: int) -> bytes:
        block = self.rfile.read(size)
        self._left -= len(block)
        if len(block) < size:
            self._left = 0
        return block

    def _xml(self) -> ElementTree.Element:
        return ElementTree.fromstring(self._take(self._left))  # noqa: S314 - written by the code under test

    def _refuse(self, refusal: Refused) -> None:
        self._oss.refusals.append(refusal.code)
        fields = {"Code": refusal.code, "Message": refusal.message, "RequestId": "", "HostId": "", **refusal.details}
        body = _node("Error", "".join(_text(name, value) for name, value in fields.items()))
        headers = {"x-oss-err": base64.b64encode(body.encode()).decode()} if self.command == "HEAD" else {}
        self._answer(refusal.status, body, **headers)

    def _answer(self, status: int, body: str = "", **headers: str) -> None:
        data = body.encode()
        if self._operation and self._oss.faults.take("lose_answer", self._operation):
            self._hang_up()
            return
        self._send_head(status, len(data), {"Content-Type": "application/xml", **headers})
        if self.command != "HEAD":
            self.wfile.write(data)

    def _send_head(self, status: int, size: int, headers: dict[str, str]) -> None:
        if self._oss.faults.take("hide_crc", self._operation):
            headers.pop("x-oss-hash-crc64ecma", None)
        self.send_response(status)
        for name, value in {**headers, "x-oss-request-id": secrets.token_hex(12).upper()}.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(size))
        self.end_headers()

    def _hang_up(self) -> None:
        self.close_connection = True
        _reset(self.connection)


def _reset(connection: socket.socket) -> None:
    """End a connection as a crash does: without an answer, and with a reset for whatever still comes."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()
    except OSError:
        return  # the other side was faster


def _about(blob: Blob) -> dict[str, str]:
    return {"ETag": f'"{blob.etag}"', "x-oss-hash-crc64ecma": str(blob.crc), "x-oss-object-type": blob.kind}


def _text(name: str, value: str) -> str:
    return _node(name, escape(value))


def _node(name: str, inner: str) -> str:
    return f"<{name}>{inner}</{name}>"


def _iso(moment: float, ending: str = ".000Z") -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + ending
