"""Lines as real programs write them: which are of one kind, and what nobody may see."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upkeep.domain.log_message import KIND_CHARS, SAMPLE_CHARS, code_of, normalise, plain, sample

KINDS = [
    pytest.param(
        "2026-11-21 02:00:03,123 [http-nio-8080-exec-5] ERROR c.k.Attendance - Connection to 10.0.0.7:5432 refused",
        "[http-nio-<n>-exec-<n>] ERROR c.k.Attendance - Connection to <ip> refused",
        id="Java, Logback",
    ),
    pytest.param(
        "java.lang.NullPointerException: null at com.kg.Foo.bar(Foo.java:42) ~[app.jar!/:1.2.3] Foo@1a2b3c4d",
        "java.lang.NullPointerException: null at com.kg.Foo.bar(Foo.java:<n>) ~[app.jar!/:<n>] Foo<id>",
        id="Java, exception with an object's hash",
    ),
    pytest.param(
        'Caused by: org.postgresql.util.PSQLException: ERROR: duplicate key value violates constraint "users_pkey"',
        "Caused by: org.postgresql.util.PSQLException: ERROR: duplicate key value violates constraint <q>",
        id="Java, cause",
    ),
    pytest.param(
        "2026/11/21 02:00:03 [error] 1234#1234: *5678 connect() failed (111: Connection refused) while connecting to "
        'upstream, client: 203.0.113.9, server: api.example.com, request: "GET /api/students/42 HTTP/1.1", upstream: '
        '"http://127.0.0.1:3000/api/students/42", host: "api.example.com"',
        "[error] <n>#<n>: *<n> connect() failed (<n>: Connection refused) while connecting to upstream, client: <ip>, "
        "server: api.example.com, request: <q>, upstream: <q>, host: <q>",
        id="nginx, error log",
    ),
    pytest.param(
        '203.0.113.9 - - [21/Nov/2026:02:00:03 +0800] "GET /api/students/42?name=x HTTP/1.1" 502 157 "-" "Mozilla/5.0"',
        "GET /api/students/<n> HTTP 502",
        id="nginx, access log",
    ),
    pytest.param(
        "[Sat Nov 21 02:00:03.123456 2026] [proxy:error] [pid 12:tid 1401] (111)Connection refused: AH00957: HTTP: "
        "attempt to connect to 127.0.0.1:8080 (localhost) failed",
        "[proxy:error] [pid <n>:tid <n>] (<n>)Connection refused: AH<n>: HTTP: attempt to connect to <ip> (localhost) "
        "failed",
        id="Apache",
    ),
    pytest.param(
        '{"level":"error","time":1795222803123,"pid":17,"err":{"type":"Error","message":"connect ECONNREFUSED '
        '127.0.0.1:3306","stack":"Error: connect"},"msg":"db query failed"}',
        "error db query failed: connect ECONNREFUSED <ip>",
        id="node, pino",
    ),
    pytest.param(
        "\x1b[31merror\x1b[39m: \x1b[1mcache 7 is gone\x1b[0m", "error: cache <n> is gone", id="node, winston"
    ),
    pytest.param(
        "(node:17) UnhandledPromiseRejectionWarning: Error: ENOENT: no such file or directory, open '/srv/3f2a.jpg'",
        "(node:<n>) UnhandledPromiseRejectionWarning: Error: ENOENT: no such file or directory, open <q>",
        id="node, unhandled rejection",
    ),
    pytest.param(
        '{"log":"2026-11-21 ERROR cache miss for user 12\\n","stream":"stderr","time":"2026-11-21T02:00:03Z"}',
        "ERROR cache miss for user <n>",
        id="Docker's json-file",
    ),
    pytest.param(
        '2026-11-21T02:00:03.123456789Z stderr F {"level":"error","msg":"timeout of 3000ms exceeded","traceId":"4bf9"}',
        "stderr F error timeout of <n>ms exceeded",
        id="containerd around JSON",
    ),
    pytest.param(
        '{"t":{"$date":"2026-11-21T02:00:03.123+08:00"},"s":"E","c":"NETWORK","id":23016,"msg":"Error receiving"}',
        "E Error receiving",
        id="MongoDB",
    ),
    pytest.param('{"a": [1, 2, 3], "b": "x"}', '{"a": [<n>…], "b": "x"}', id="JSON that says nothing"),
    pytest.param(
        "[21-Nov-2026 02:00:03 Asia/Shanghai] PHP Fatal error:  Uncaught PDOException: SQLSTATE[HY000] [2002] "
        "Connection refused in /srv/app/Db.php:42",
        "PHP Fatal error: Uncaught PDOException: SQLSTATE[HY000] [<n>] Connection refused in /srv/app/Db.php:<n>",
        id="PHP",
    ),
    pytest.param(
        'Traceback: sqlalchemy.exc.OperationalError: (psycopg.OperationalError) connection to server at "db1" failed',
        "Traceback: sqlalchemy.exc.OperationalError: (psycopg.OperationalError) connection to server at <q> failed",
        id="Python",
    ),
    pytest.param(
        "Nov  1 02:00:03 web1 sshd[12345]: error: PAM: Authentication failure for root from 203.0.113.7",
        "web<n> sshd[<n>]: error: PAM: Authentication failure for root from <ip>",
        id="syslog",
    ),
    pytest.param(
        "2026-11-21T02:00:03.123456+08:00 web1 kernel: [12345.678] EXT4-fs error (device sda1): inode #1234",
        "web<n> kernel: [<n>] EXT<n>-fs error (device sda<n>): inode #<n>",
        id="kernel, ISO time",
    ),
    pytest.param(
        "2026-11-21T02:00:03.123456Z 42 [ERROR] [MY-010055] [Server] Access denied for user 'app'@'10.0.0.9'",
        "<n> [ERROR] [MY-010055] [Server] Access denied for user <q>@<q>",
        id="MySQL server",
    ),
    pytest.param(
        "ERROR 1045 (28000): Access denied for user 'root'@'localhost' (using password: YES)",
        "ERROR 1045 (<n>): Access denied for user <q>@<q> (using password: YES)",
        id="MySQL client",
    ),
    pytest.param(
        '2026-11-21 02:00:03.123 CST [1234] app@kg ERROR:  relation "users" does not exist at character 15',
        "[<n>] app@kg ERROR: relation <q> does not exist at character <n>",
        id="PostgreSQL",
    ),
    pytest.param(
        '2026-11-21 02:00:03.123 UTC [1234] FATAL:  password authentication failed for user "app"',
        "[<n>] FATAL: password authentication failed for user <q>",
        id="PostgreSQL, password authentication isn't a password",
    ),
    pytest.param(
        "1:M 21 Nov 2026 02:00:03.123 # Error trying to save the DB: No space left on device",
        "<n>:M <time> # Error trying to save the DB: No space left on device",
        id="Redis",
    ),
    pytest.param(
        "ORA-00600: internal error code, arguments: [723]",
        "ORA-00600: internal error code, arguments: [<n>]",
        id="Oracle's codes stay",
    ),
    pytest.param(
        'time="2026-11-21T02:00:03+08:00" level=error msg="failed to pull" error="dial tcp 10.0.0.1:443: timeout"',
        "time=<q> level=error msg=failed to pull error=dial tcp <ip>: timeout",
        id="logfmt",
    ),
    pytest.param(
        'E1121 02:00:03.123456       1 reflector.go:138] Failed to watch *v1.Pod: Get "https://10.96.0.1:443/api": EOF',
        "E<n> <time> <n> reflector.go:<n>] Failed to watch *v<n>.Pod: Get <q>: EOF",
        id="klog",
    ),
    pytest.param(
        "ERROR pod auth-service-7d9f8b6c5-x2x4z is not ready",
        "ERROR pod auth-service-<id> is not ready",
        id="a Deployment's pod",
    ),
    pytest.param(
        "2026-11-21 02:00:03 ERROR 用户 1042 登录失败: 来自 10.0.3.7",
        "ERROR 用户 <n> 登录失败: 来自 <ip>",
        id="Chinese",
    ),
    pytest.param(
        "2026年11月21日 02时00分03秒 错误：数据库连接失败，重试 3 次",
        "错误：数据库连接失败，重试 <n> 次",
        id="Chinese date",
    ),
    pytest.param("ERROR 订单“2026-0001”不存在", "ERROR 订单<q>不存在", id="Chinese quotes"),
    pytest.param("ERROR status=404 path /x", "ERROR status=404 path /x", id="404..."),
    pytest.param("ERROR status=502 path /x", "ERROR status=502 path /x", id="... isn't 502"),
    pytest.param(
        "panic: runtime error: index out of range [5] with length 3",
        "panic: runtime error: index out of range [<n>] with length <n>",
        id="Go",
    ),
    pytest.param("ERROR job 550e8400-e29b-41d4-a716-446655440000 died", "ERROR job <id> died", id="UUID"),
    pytest.param("ERROR commit 3f2a1b9c77 at 0x7ffe12ab", "ERROR commit <id> at <id>", id="hexadecimal"),
    pytest.param("ERROR fe80::1%eth0 [::1]:80 2001:db8::42", "ERROR <ip> [<ip>]:<n> <ip>", id="IPv6"),
    pytest.param("ERROR mail to zhang.san@example.com.cn bounced", "ERROR mail to <mail> bounced", id="e-mail"),
    pytest.param("ERROR ids in (1, 2, 3, 4)", "ERROR ids in (<n>…)", id="a list is one thing however long"),
    pytest.param("ERROR /tmp/upload_a8f3/x.png is gone", "ERROR /tmp/<path> is gone", id="temporary file"),
    pytest.param(
        "ERROR can't stop, it's user 'bob' again",
        "ERROR can't stop, it's user <q> again",
        id="an apostrophe is no quote",
    ),
    pytest.param('ERROR "Connection refused"', 'ERROR "Connection refused"', id="a message that is all in quotes"),
    pytest.param("ERROR std::vector<int>::at failed", "ERROR std::vector<int>::at failed", id="C++"),
    pytest.param("", "", id="nothing"),
]

SECRETS = [
    "ERROR login password=hunter2 failed",
    "ERROR password: 'hunter2 and more'",
    'ERROR {"user": "bob", "password": "hunter2", "x": 1}',
    r"ERROR body {\"password\":\"hunter2\"}",
    "ERROR 密码=hunter2 来自",
    "ERROR DB_PASSWORD=hunter2",
    "ERROR mysql --password=hunter2 -h db",
    "ERROR ran curl --token hunter2 https://x",
    "ERROR Authorization: Bearer hunter2.hunter2",
    "ERROR authorization: Basic aHVudGVyMjpodW50ZXIy",
    "ERROR header bearer hunter2hunter2=",
    "ERROR postgres://app:hunter2@db:5432/kg",
    "ERROR redis://:hunter2@cache/0",
    "ERROR app:hunter2@tcp(db:3306)/kg",
    "ERROR jdbc:mysql://db/kg?user=app&password=hunter2&x=1",
    "ERROR Cookie: session=hunter2; other=hunter2",
    "ERROR Set-Cookie: sid=hunter2",
    "ERROR CREATE USER x IDENTIFIED BY 'hunter2'",
    "ERROR requirepass hunter2",
    "ERROR token eyJhbGciOiJIUzI1NiJ9.eyJodW50ZXIyIjoxfQ.aHVudGVyMg",
    "ERROR key AKIAIOSFODNN7HUNTER2",
    "ERROR key LTAI5tHUNTER2hunter2abcd",
    "ERROR GET https://b.oss-cn-hangzhou.aliyuncs.com/x?OSSAccessKeyId=LTAI5tHUNTER2hunter2&Signature=hunter2%3D",
    "ERROR ghp_hunter2hunter2hunter2hunter2hunter2",
    "ERROR AGE-SECRET-KEY-1HUNTER2HUNTER2",
    "-----BEGIN RSA PRIVATE KEY-----hunter2hunter2",
    "ERROR opaque aHunter2Hunter2Hunter2Hunter2Xy9",
]


@pytest.mark.parametrize(("line", "kind"), KINDS)
def test_a_line_becomes_its_kind(line: str, kind: str) -> None:
    assert normalise(line) == kind


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2026-11-21 02:00:03 ERROR user 7 from 10.0.0.7", "2026-11-22 13:59:59 ERROR user 812 from 10.0.3.199"),
        ("ERROR token a1b2c3d4e5f6a7b8 expired", "ERROR token ffffeeeeddddcccc expired"),
        ("ERROR session x7Kd93bQ lost", "ERROR session 9qZ8y1Lm lost"),
        ('ERROR column "a" missing', 'ERROR column "something else" missing'),
    ],
)
def test_lines_that_differ_in_what_varies_are_of_one_kind(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize("line", SECRETS)
def test_no_secret_is_shown_in_a_sample_or_a_kind(line: str) -> None:
    for shown in (sample(line), normalise(line)):
        assert "hunter2" not in shown.lower()
        assert "aHVudGVyMg" not in shown
        assert shown


def test_a_sample_names_no_person() -> None:
    shown = sample("ERROR 家长 13812345678 (zhang@example.com), 11010519491231002X 的孩子")
    assert shown == "ERROR 家长 <phone> (<mail>), <citizen id> 的孩子"


def test_a_sample_keeps_what_helps_to_find_the_line() -> None:
    line = "2026-11-21 02:00:03 ERROR 用户 1042 登录失败: 10.0.3.7 trace 4bf92f3577b34da6a3ce929d0e0e4736"
    assert sample(line) == line


def test_nothing_in_a_line_acts_on_a_terminal_or_turns_the_text_around() -> None:
    assert plain("\x1b[2Jred\x07\u202eabc\tx\x00") == "red  abc x "


def test_a_long_line_is_cut() -> None:
    assert len(normalise("ERROR " + "字" * 100_000)) == KIND_CHARS
    assert len(sample("ERROR " + "字" * 100_000)) == SAMPLE_CHARS


@pytest.mark.parametrize(
    "line",
    ["a" * 20_000, "1" * 20_000, "a1" * 9000, '"' * 9000, "'" * 9000, "a." * 9000, "a:" * 9000, '\\"' * 9000,
     "password=" * 2000, "a@" * 9000, "[ " * 9000, "{" * 16_000 + "}", "://" * 6000, "-" * 9000, "http://a:" * 2000],
    ids=lambda line: line[:9],
)  # fmt: skip
def test_no_line_takes_long(line: str) -> None:
    begun = time.process_time()
    normalise(line)
    sample(line)
    assert time.process_time() - begun < 0.2


@given(st.text(max_size=200), st.integers(0, 9))
def test_whatever_the_line_both_texts_are_short_and_printable(text: str, digit: int) -> None:
    for shown in (normalise(text), sample(text)):
        assert len(shown) <= SAMPLE_CHARS
        assert shown.isprintable()


@given(st.text(alphabet="0123456789abcdefXYZ-:./@# \"'中文=", max_size=60))
def test_lines_that_differ_in_digits_only_and_have_the_same_codes_are_of_one_kind(text: str) -> None:
    zeros = "".join("0" if letter.isdigit() else letter for letter in text)
    if code_of(text) == code_of(zeros):
        assert normalise(text) == normalise(zeros)
