"""Sends a report's short text to people, in whatever way a connection stands for."""

from __future__ import annotations

import html as entities
import smtplib
import ssl
from email.message import EmailMessage
from typing import TYPE_CHECKING

from upkeep.domain.endpoint import Endpoint
from upkeep.domain.masking import mask
from upkeep.errors import NotSent

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 20
STARTTLS_PORT = 587
_FEISHU_CODES = 1000
"""Its errors begin here; others say 0 or 200 in a field of that name when all is well."""


def send(endpoint: Endpoint, subject: str, text: str, html: str) -> None:
    """One message. ``endpoint.kind`` decides how:

    - ``smtp``: mail to ``extra.to`` (a comma-separated list) from ``extra.from``; TLS unless ``extra.disable_ssl``
    - ``apprise``: the URL in the password or ``extra.url``, of any service Apprise knows (dingtalk://, feishu://,
      wecombot://, ...)
    - anything else: POST of ``{"text": ...}`` as Slack, Mattermost and many others take it, with ``&``, ``<`` and ``>``
      as entities; the URL is the password, or made of host and schema

    Errors: ``NotSent``, without the URL: a webhook's URL is its password.
    """
    ways = {"smtp": _mail, "apprise": _apprise}
    try:
        ways.get(endpoint.kind, _webhook)(endpoint, subject, text, html)
    except NotSent:
        raise
    except Exception as error:  # whatever a mail server or a web service answers must not stop a report
        # Not ``in_a_line``: the last thing that smtplib's errors say need not be the reason.
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NotSent(
            f"connection {endpoint.conn_id} ({endpoint.kind or 'webhook'}) did not take the message: "
            f"{mask(words, _hidden(endpoint))}",
            hint="check the connection under Admin, Connections",
        ) from None


def _mail(endpoint: Endpoint, subject: str, text: str, html: str) -> None:
    recipients = [address.strip() for address in str(endpoint.extra.get("to", "")).split(",") if address.strip()]
    if not recipients:
        raise NotSent(
            f"connection {endpoint.conn_id} names no recipient",
            hint='add {"to": "ops@example.com", "from": "upkeep@example.com"} to its extra',
        )
    message = EmailMessage()
    message["Subject"] = " ".join(subject.split())  # a newline would end the header
    message["From"] = str(endpoint.extra.get("from") or endpoint.user or recipients[0])
    message["To"] = ", ".join(recipients)
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    plain = bool(endpoint.extra.get("disable_ssl"))
    port = endpoint.port or (25 if plain else 465)
    context = ssl.create_default_context()
    if plain or port == STARTTLS_PORT:
        with smtplib.SMTP(endpoint.host, port, timeout=TIMEOUT_S) as server:
            if not plain:
                server.starttls(context=context)
            _deliver(server, endpoint, message)
    else:
        with smtplib.SMTP_SSL(endpoint.host, port, timeout=TIMEOUT_S, context=context) as server:
            _deliver(server, endpoint, message)


def _deliver(server: smtplib.SMTP, endpoint: Endpoint, message: EmailMessage) -> None:
    if endpoint.user:
        server.login(endpoint.user, endpoint.secret)
    server.send_message(message)


def _apprise(endpoint: Endpoint, subject: str, text: str, html: str) -> None:
    import apprise

    messenger = apprise.Apprise()
    if not messenger.add(endpoint.secret or str(endpoint.extra.get("url", ""))):
        raise NotSent(
            f"connection {endpoint.conn_id} holds no URL that Apprise knows",
            hint="put a URL such as dingtalk://TOKEN into its password",
        )
    if not messenger.notify(title=subject, body=text):
        raise NotSent(
            f"the service behind connection {endpoint.conn_id} did not take the message",
            hint="try the URL with the apprise command",
        )


def _webhook(endpoint: Endpoint, subject: str, text: str, html: str) -> None:
    import httpx

    url = endpoint.secret if "://" in endpoint.secret else _url(endpoint)
    # Else "<!channel>" or "<https://evil|click>" in an application's log line would call everybody, or be a link.
    escaped = entities.escape(text, quote=False)
    answer = httpx.post(url, json={"text": escaped}, timeout=TIMEOUT_S, trust_env=False)
    if not answer.is_success:  # a redirect, too, has taken nothing
        raise NotSent(
            f"the webhook behind connection {endpoint.conn_id} answered HTTP {answer.status_code}",
            hint="check that it still exists",
        )
    if refusal := _refusal(answer):
        raise NotSent(
            f"the webhook behind connection {endpoint.conn_id} took nothing: {mask(refusal, _hidden(endpoint))}",
            hint="DingTalk, Feishu and WeCom have forms of their own: make it a connection of type apprise, with a URL "
            "such as dingtalk://TOKEN as its password",
        )


def _refusal(answer: httpx.Response) -> str:
    """What a service says that answers HTTP 200 whatever it thinks of the message."""
    try:
        said = answer.json()
    except ValueError:
        return ""  # Slack says ok, and that isn't JSON
    if not isinstance(said, dict):
        return ""
    code = said.get("errcode") or said.get("code")
    if not isinstance(code, int) or ("errcode" not in said and code < _FEISHU_CODES):
        return ""
    return f"{code} {said.get('errmsg') or said.get('msg') or ''}".strip()


def _url(endpoint: Endpoint) -> str:
    if "://" in endpoint.host:
        return endpoint.host
    port = f":{endpoint.port}" if endpoint.port else ""
    return f"{endpoint.schema or 'https'}://{endpoint.host}{port}/{endpoint.secret}"


def _hidden(endpoint: Endpoint) -> tuple[str, ...]:
    return (*endpoint.secrets(), *([_url(endpoint)] if endpoint.host else []))
