"""What OSS answers, turned into errors that name the object and the next action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from upkeep.errors import ObjectHeld, ObjectMissing, StoreDenied, StoreError


@dataclass(frozen=True)
class Step:
    """What a call does, for its error, and the RAM action that allows it."""

    verb: str
    action: str


WRITE = Step("write", "oss:PutObject")
READ = Step("read", "oss:GetObject")
DELETE = Step("delete", "oss:DeleteObject")
LIST = Step("list", "oss:ListObjects")
ABORT = Step("abort the upload of", "oss:AbortMultipartUpload")
LIST_UPLOADS = Step("list the unfinished uploads below", "oss:ListMultipartUploads")

# Codes: https://help.aliyun.com/zh/oss/support/ (each page is named after the answer's EC).
_KINDS: dict[str, type[StoreError]] = {
    "NoSuchKey": ObjectMissing,
    "FileImmutable": ObjectHeld,
    # Not a security token that has expired: whatever renews the connection may only be late.
    **dict.fromkeys(("AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "UserDisable"), StoreDenied),
}
_HINTS = {
    "NoSuchBucket": "create the bucket in the region of connection {conn}, or correct the store's url",
    "NoSuchKey": "check the key; if the backup's manifest names it, the object was removed outside Upkeep",
    "NoSuchUpload": "the upload was aborted by another run's sweep, or by a lifecycle rule that removes unfinished "
    "uploads sooner than this one takes; check both, then run the backup again",
    "FileImmutable": "a retention lock (WORM) of the bucket holds it; it can be removed when the lock expires",
    "AccessDenied": "grant {action} on this bucket and prefix to the RAM user or role of connection {conn} "
    "(with server-side encryption KMS also kms:GenerateDataKey and kms:Decrypt)",
    "SignatureDoesNotMatch": "the password of connection {conn} is not the secret of the AccessKey ID in its login; "
    "enter both again, without blanks",
    "InvalidAccessKeyId": "the AccessKey ID in the login of connection {conn} is unknown or disabled, or it belongs to "
    "a temporary key that has expired; enter a valid one",
    "SecurityTokenExpired": "put a fresh login, password, security_token and expires_at into connection {conn}, "
    "or let the worker's own role supply them (extra ecs_ram_role)",
    "InvalidSecurityToken": "login, password and security_token of connection {conn} must come from the same STS "
    "answer; enter all three again",
    "RequestTimeTooSkewed": "set this machine's clock (NTP): OSS accepts 15 minutes of difference",
    "UserDisable": "the Alibaba Cloud account is overdue or suspended; settle it in the billing console",
    "InvalidObjectState": "it lies in an archive storage class; restore it first: ossutil restore {address}",
    "PreconditionFailed": "it was replaced while it was being read; read it again",
}
_REFUSED_KEYS = frozenset({"SecurityTokenExpired", "InvalidSecurityToken", "InvalidAccessKeyId"})
_PASSING = frozenset({"RequestTimeout", "OperationAborted"})


def is_passing(error: Any) -> bool:
    """Whether the same request may well succeed a little later: no connection, a timeout, or the store's own fault."""
    from oss2.exceptions import OSS_REQUEST_ERROR_STATUS, OssError

    if not isinstance(error, OssError):  # a connection that broke while a body was read
        return True
    if error.status == OSS_REQUEST_ERROR_STATUS:
        return "CERTIFICATE_VERIFY_FAILED" not in str(error.body)
    return error.status >= 500 or error.status in (408, 429) or error.code in _PASSING


def is_about_keys(error: Any) -> bool:
    """Whether the store refused the keys themselves: with newer ones the same request may succeed."""
    return getattr(error, "code", "") in _REFUSED_KEYS


def reason(error: Any) -> str:
    """One line on what went wrong, without the request: OSS quotes headers, the security token among them."""
    from oss2.exceptions import ServerError

    if isinstance(error, ServerError):
        return f"{error.status} {error.code}: {error.message} (request {error.request_id})"
    root: BaseException = getattr(error, "exception", error)
    while type(root).__module__.partition(".")[0] in ("requests", "urllib3") and (
        inner := root.__cause__ or root.__context__
    ):
        root = inner
    return f"{type(root).__name__}: {root}"


def refusal(error: Any, step: Step, *, address: str, conn_id: str) -> StoreError:
    """The error for an answer that trying again won't change.

    :param address: the object or folder as people write it, ``oss://bucket/key``.
    """
    code = getattr(error, "code", "")
    if not code and error.status == 404:  # an answer to HEAD has no body and so no code
        code = "NoSuchKey"
    hint = _HINTS.get(
        code, "look the answer up at https://api.aliyun.com/troubleshoot, or give its request id to support"
    )
    text = str(getattr(error, "message", ""))
    if "signing region" in text:
        hint = "set the extra region of connection {conn} to the region of the bucket, as in cn-hangzhou"
    elif "specified endpoint" in text:
        host = error.details.get("Endpoint") or "the endpoint of the bucket's region"
        hint = f"set the host of connection {{conn}} to {host}, and its extra region to the same region"
    elif "CERTIFICATE_VERIFY_FAILED" in reason(error):
        hint = "the host of connection {conn} shows a certificate that this machine does not trust; check host and CA"
    return _KINDS.get(code, StoreError)(
        f"can't {step.verb} {address}: {reason(error)}",
        hint=hint.format(conn=repr(conn_id), action=step.action, address=address),
    )
