"""Messages reach real mail servers and web hooks."""

from __future__ import annotations

import pytest

from tests.servers.mailbox import mail_server, web_hook
from upkeep.domain.endpoint import Endpoint
from upkeep.engines.sending import send
from upkeep.errors import NotSent

TEXT = "RED: 幼儿园 has no backup\nHINT: look"


def test_a_mail_carries_both_forms_and_chinese() -> None:
    with mail_server() as (port, mails):
        endpoint = Endpoint(
            "ops_mail", kind="smtp", host="127.0.0.1", port=port,
            extra={"to": "a@example.com, b@example.com", "from": "upkeep@example.com", "disable_ssl": True},
        )  # fmt: skip
        send(endpoint, "[shop] RED:\n没有备份", TEXT, "<p>红</p>")
    (mail,) = mails
    assert mail["Subject"] == "[shop] RED: 没有备份"
    assert mail["To"] == "a@example.com, b@example.com"
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert TEXT in plain.get_content().replace("\r\n", "\n")
    assert "<p>红</p>" in html.get_content()


def test_a_mail_without_recipients_is_refused_with_what_to_add() -> None:
    with pytest.raises(NotSent, match="ops_mail names no recipient") as raised:
        send(Endpoint("ops_mail", kind="smtp", host="127.0.0.1"), "s", "t", "h")
    assert '"to"' in raised.value.hint


@pytest.mark.parametrize("form", ["password", "parts"])
def test_a_web_hook_gets_the_text_as_slack_takes_it(form: str) -> None:
    with web_hook() as (port, posts):
        endpoint = (
            Endpoint("chat", kind="http", secret=f"http://127.0.0.1:{port}/services/T0/B0")
            if form == "password"
            else Endpoint(
                "chat", kind="slackwebhook", host="127.0.0.1", port=port, schema="http", secret="services/T0/B0"
            )
        )
        send(endpoint, "s", TEXT, "h")
    assert posts == [("/services/T0/B0", {"text": TEXT})]


def test_what_would_call_everybody_or_be_a_link_is_only_text_to_a_web_hook() -> None:
    with web_hook() as (port, posts):
        endpoint = Endpoint("chat", kind="http", secret=f"http://127.0.0.1:{port}/x")
        send(endpoint, "s", "<!channel> <https://evil|'click'> a & b", "h")
    assert posts[0][1] == {"text": "&lt;!channel&gt; &lt;https://evil|'click'&gt; a &amp; b"}


def test_apprise_delivers_to_the_service_its_url_names() -> None:
    with web_hook() as (port, posts):
        send(Endpoint("chat", kind="apprise", secret=f"json://127.0.0.1:{port}/x"), "标题", TEXT, "h")
    (post,) = posts
    assert post[1]["title"] == "标题"
    assert post[1]["message"] == TEXT


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint("chat", kind="http", secret="http://127.0.0.1:1/secret-Zq7"),
        Endpoint("chat", kind="smtp", host="127.0.0.1", port=1, secret="secret-Zq7", extra={"to": "a@b"}),
        Endpoint("chat", kind="apprise", secret="json://127.0.0.1:1/secret-Zq7"),
        Endpoint("chat", kind="apprise", secret="nonsense-secret-Zq7"),
        Endpoint("chat", kind="", host="127.0.0.1", port=1, schema="http", secret="secret-Zq7"),
    ],
    ids=lambda endpoint: f"{endpoint.kind}-{endpoint.port}",
)
def test_what_cannot_be_sent_names_the_connection_and_hides_its_url(endpoint: Endpoint) -> None:
    with pytest.raises(NotSent, match="chat") as raised:
        send(endpoint, "s", "t", "h")
    assert "secret-Zq7" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("broken", "HTTP 500"),
        ("moved", "HTTP 302"),
        ("dingtalk", "310000 sign not match"),
        ("feishu", "19001 incoming webhook access token invalid"),
    ],
)
def test_a_hook_that_takes_nothing_is_told_whatever_its_status(path: str, words: str) -> None:
    with web_hook() as (port, _), pytest.raises(NotSent, match=words):
        send(Endpoint("chat", kind="http", secret=f"http://127.0.0.1:{port}/{path}"), "s", "t", "h")


@pytest.mark.parametrize("path", ["fine", "wecom"])
def test_a_hook_that_says_in_json_that_all_is_well_is_believed(path: str) -> None:
    with web_hook() as (port, posts):
        send(Endpoint("chat", kind="http", secret=f"http://127.0.0.1:{port}/{path}"), "s", "t", "h")
    assert len(posts) == 1
