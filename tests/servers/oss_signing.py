"""Who may talk to an ``OssServer``: OSS's V4 signature, checked as the service checks it."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from calendar import timegm
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from tests.servers.oss_bucket import Refused

ALGORITHM = "OSS4-HMAC-SHA256"


@dataclass
class Key:
    """An AccessKey; a temporary one also has a token and a time at which it ends (seconds since 1970)."""

    key_id: str
    secret: str
    token: str = ""
    expires_at: float = 0.0


class Signatures:
    """The keys of one account, in one region."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.keys: dict[str, Key] = {}
        self.public = False
        """Whether the bucket's ACL is public-read."""

    def issue(self, *, lasts_s: float = 0.0) -> Key:
        """A new key; with ``lasts_s`` a temporary one."""
        if lasts_s:
            key = Key(
                f"STS.{secrets.token_hex(8)}",
                secrets.token_urlsafe(24),
                f"CAIS+/{secrets.token_urlsafe(48)}==",
                time.time() + lasts_s,
            )
        else:
            key = Key(f"LTAI{secrets.token_hex(8)}", secrets.token_urlsafe(24))
        self.keys[key.key_id] = key
        return key

    def verify(self, method: str, resource: str, query: Mapping[str, str], headers: Mapping[str, str]) -> None:
        """
        :param resource: ``/bucket/key``, not encoded.
        :param headers: with lower-case names.
        """
        if self.public and method in ("GET", "HEAD") and "authorization" not in headers:
            return
        given = re.fullmatch(
            rf"{ALGORITHM} Credential=([^/]+)/(\d{{8}})/([^/]+)/oss/aliyun_v4_request, ?Signature=([0-9a-f]{{64}})",
            headers.get("authorization", ""),
        )
        if not given:
            raise Refused(403, "AccessDenied", "You have no right to access this object because of bucket acl.")
        key_id, day, region, signature = given.groups()
        key = self.keys.get(key_id)
        if not key:
            raise Refused(
                403, "InvalidAccessKeyId", "The OSS Access Key Id you provided does not exist in our records."
            )
        if headers.get("x-oss-security-token", "") != key.token:
            raise Refused(403, "InvalidSecurityToken", "The security token you provided is invalid.")
        if key.expires_at and time.time() > key.expires_at:
            raise Refused(403, "SecurityTokenExpired", "The security token you provided has expired.")
        if region != self.region:
            raise Refused(400, "InvalidArgument", "Invalid signing region in Authorization header.")
        moment = headers.get("x-oss-date", "")
        if abs(timegm(time.strptime(moment, "%Y%m%dT%H%M%SZ")) - time.time()) > 900:
            raise Refused(403, "RequestTimeTooSkewed", "The difference between the request time and the current time.")
        request = _canonical(method, resource, query, headers)
        scope = f"{day}/{region}/oss/aliyun_v4_request"
        to_sign = "\n".join([ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()])
        if not hmac.compare_digest(_signature(key.secret, day, region, to_sign), signature):
            raise Refused(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
                OSSAccessKeyId=key_id,
                SignatureProvided=signature,
                StringToSign=to_sign,
                CanonicalRequest=request,  # the real service quotes it too, security token and all
            )


def _canonical(method: str, resource: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query.items())
    signed = sorted(name for name in headers if name.startswith("x-oss-") or name in ("content-type", "content-md5"))
    return "\n".join(
        [
            method,
            quote(resource, safe="/-_.~"),
            "&".join(f"{name}={value}" if value else name for name, value in pairs),
            "".join(f"{name}:{headers[name].strip()}\n" for name in signed),
            "",
            headers.get("x-oss-content-sha256", ""),
        ]
    )


def _signature(secret: str, day: str, region: str, to_sign: str) -> str:
    key = f"aliyun_v4{secret}".encode()
    for step in (day, region, "oss", "aliyun_v4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()
