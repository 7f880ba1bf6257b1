"""What is taken out of texts and traces, what stays, and that the time it takes is bounded."""

import base64
import gzip
import json
import pickle
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from tracetune.errors import InputError
from tracetune.traces.model import Message, Thought, ToolCall, Trace
from tracetune.traces.redaction import Redactor

# Every secret here is put together as the tests run: none stands in this file.
A40 = "aB3dE5fG7h" * 4
HEX32 = "0123456789abcdef" * 2


def _jwt() -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256'})}.{part({'sub': 'user-1'})}.{A40}"


def _pem(kind: str = "RSA ") -> str:
    lines = "\n".join([A40 + "+/" + A40] * 3)
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\nQ==\n-----END {kind}PRIVATE KEY-----"


FORMATS = [
    ("AKIA" + "ABCD2345EFGH6789", "AWS key"),
    ("ghp" + "_" + A40[:36], "GitHub token"),
    ("gho" + "_" + A40[:36], "GitHub token"),
    ("ghu" + "_" + A40[:36], "GitHub token"),
    ("ghs" + "_" + A40[:36], "GitHub token"),
    ("ghr" + "_" + A40 + A40[:36], "GitHub token"),
    ("github" + "_pat_" + A40 + "_" + A40, "GitHub token"),
    ("glpat" + "-" + A40[:20], "GitLab token"),
    ("AIza" + A40[:35], "Google API key"),
    ("ya29." + A40 + A40, "Google OAuth token"),
    ("GOCSPX" + "-" + A40[:28], "Google OAuth secret"),
    ("xoxb" + "-123456789012-123456789012-" + A40[:24], "Slack token"),
    ("xoxp" + "-" + A40, "Slack token"),
    ("https://hooks.slack.com" + "/services/T0AB/B0CD/" + A40[:24], "Slack token"),
    ("sk" + "_live_" + A40[:24], "Stripe key"),
    ("rk" + "_live_" + A40 + A40, "Stripe key"),
    ("sk" + "_test_" + A40[:24], "Stripe key"),
    ("sk" + "-" + A40, "secret key"),
    ("sk" + "-proj-" + A40 + "T3BlbkFJ" + A40, "OpenAI key"),
    ("sk" + "-ant-api03-" + A40 + "-" + A40 + "AA", "Anthropic key"),
    ("lsv2" + "_pt_" + HEX32 + "_0123456789", "LangSmith key"),
    ("hf" + "_" + A40[:34], "Hugging Face token"),
    ("npm" + "_" + A40[:36], "npm token"),
    ("pypi" + "-AgEIcHlwaS5vcmc" + A40 * 2, "PyPI token"),
    ("1234567890" + ":" + A40[:35], "Telegram bot token"),
    ("AC" + HEX32, "Twilio key"),
    ("SG" + "." + A40[:22] + "." + A40 + "abc", "SendGrid key"),
    (HEX32 + "-us12", "Mailchimp key"),
    ("AccountKey=" + A40 * 2 + "abcdef==", "Azure storage key"),
    ("dapi" + HEX32, "Databricks token"),
    ("AGE-SECRET" + "-KEY-1" + "ABCD2345" * 7, "age key"),
    ("pat" + A40[:14] + "." + HEX32 * 2, "Airtable token"),
    ("ATATT3" + "xFfGF0" + A40 * 3, "Atlassian token"),
    ("csk" + "-" + A40 + A40[:8], "Cerebras key"),
    ("dckr" + "_pat_" + A40[:27], "Docker token"),
    ("dp" + ".pt." + A40 + "abc", "Doppler token"),
    ("e2b" + "_" + HEX32 + HEX32[:8], "E2B key"),
    ("sk" + "_" + HEX32 + HEX32[:16], "ElevenLabs key"),
    ("figd" + "_" + A40, "Figma token"),
    ("fc" + "-" + HEX32, "Firecrawl key"),
    ("fw" + "_" + A40[:24], "Fireworks key"),
    ("fm2" + "_" + A40 * 3, "Fly.io token"),
    ("glsa" + "_" + A40[:32] + "_01234567", "Grafana token"),
    ("HRKU" + "-" + "01234567-89ab-cdef-0123-456789abcdef", "Heroku token"),
    ("lin" + "_api_" + A40, "Linear key"),
    ("key" + "-" + HEX32, "Mailgun key"),
    ("NRAK" + "-" + "ABCD2345EFG" * 2 + "ABCDE", "New Relic key"),
    ("ntn" + "_" + A40 + "abcdef", "Notion token"),
    ("secret" + "_" + A40 + "abc", "Notion token"),
    ("nvapi" + "-" + A40 + A40[:24], "NVIDIA key"),
    ("access" + "_token$production$" + A40[:16] + "$" + HEX32, "PayPal token"),
    ("pplx" + "-" + A40 + "abcdefgh", "Perplexity key"),
    ("pcsk" + "_" + A40[:6] + "_" + A40, "Pinecone key"),
    ("pscale" + "_pw_" + A40 + "abc", "PlanetScale token"),
    ("r8" + "_" + A40[:37], "Replicate token"),
    ("sntrys" + "_" + A40 * 2, "Sentry token"),
    ("EAAA" + A40 + A40[:20], "Square token"),
    ("sbp" + "_" + HEX32 + HEX32[:8], "Supabase token"),
    ("tvly" + "-dev-" + A40[:32], "Tavily key"),
    (A40[:14] + ".atlas" + "v1." + A40 * 2, "Terraform token"),
    (_jwt(), "JSON web token"),
    (_pem(), "private key"),
    (_pem(""), "private key"),
    (_pem("OPENSSH "), "private key"),
    (_pem().replace("\n", "\\n"), "private key"),
]


@pytest.mark.parametrize(
    ("secret", "kind"), FORMATS, ids=[f"{n} {kind}" for n, (_, kind) in enumerate(FORMATS)]
)
@pytest.mark.parametrize(
    "around",
    ["it is {} now", "{}", '{{"a": "x", "b": ["{}"]}}', "é\n{}\n雪", "one\\n{}\\ntwo", "({})."],
    ids=["in a sentence", "alone", "in JSON", "beside wide characters", "escaped", "in brackets"],
)
def test_known_format_goes_whole(secret: str, kind: str, around: str) -> None:
    redactor = Redactor()
    before, after = around.split("{}")
    expected = f"{before}<redacted: {kind}>{after}".replace("{{", "{").replace("}}", "}")
    assert redactor.text(around.format(secret)) == expected
    assert redactor.counts == {kind: 1}


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        pytest.param('"password": "{}"', "hunter two"[:6], id="a word as a quoted password"),
        pytest.param("{{'api_key': '{}'}}", "k-12", id="a short key in a Python dict"),
        pytest.param('{{\\"password\\": \\"{}\\"}}', "tr0ub4dor&3", id="JSON in a text in JSON"),
        pytest.param("DB_PASSWORD={}", "swordfish", id="an environment variable"),
        pytest.param("password: {}", "hunter2", id="YAML without quotes"),
        pytest.param("client_secret = {}", "abc123def", id="an assignment with blanks"),
        pytest.param("aws_secret_access_key = {}", A40, id="an AWS secret in a file"),
        pytest.param("aws_secret_key='{}'", "/" + A40[1:], id="an AWS secret that begins with /"),
        pytest.param("GET /v1?access_token={}&page=2", "tok12345", id="a URL's parameter"),
        pytest.param("login --password {} --yes", "s3cr3t-pw", id="a command's option"),
        pytest.param("curl -u bob:{} http://h/", "sesame-street", id="curl's user"),
        pytest.param("curl -H 'Authorization: Bearer {}'", A40[:20], id="a bearer token"),
        pytest.param("{{'Authorization': 'Basic {}'}}", "dXNlcjpwYXNzd29yZDEy", id="basic auth"),
        pytest.param("Authorization: Bearer {}", "abcdefghijKLMNOPqrst", id="a token of letters"),
        pytest.param("X-Api-Key: {}", "8f14e45f", id="a header"),
        pytest.param('[["x-api-key", "{}"]]', "8f14e45f", id="a header as a pair"),
        pytest.param("Cookie: {}", "sid=8f14e45f; theme=dark", id="cookies"),
        pytest.param("'Set-Cookie': '{}'", "session=8f14e45f; HttpOnly", id="a cookie that is set"),
        pytest.param("machine h login bob password {}", "letmein", id="a line of netrc"),
        pytest.param("mysql -u root -p{} shop", "hunter22", id="mysql's password"),
        pytest.param('My password is "{}".', "hunter22", id="a password in a sentence"),
        pytest.param("Passwort: {}", "hunter22", id="a password in German"),
        pytest.param("postgresql://bob:{}@db:5432/x", "p@ss!w0rd", id="a URL of a database"),
        pytest.param("Server=db;User=sa;Password={};", "Pa55w0rd", id="a connection string"),
        pytest.param("https://a.blob/x?sv=1&sig={}", "a%2F" * 12, id="a signed URL"),
        pytest.param("token = '{}'", "a1b2c3d4e5", id="a token that looks random"),
        pytest.param('ADMIN_PWD="{}"', "root", id="an administrator's, which ends as `min` does"),
        pytest.param("async_token: {}", "a1b2c3d4e5", id="a name that ends as `sync` does"),
        pytest.param('"password_confirmation": "{}"', "letmein", id="a password said again"),
        pytest.param("password=b'{}'", "letmein", id="bytes of Python"),
        pytest.param("redis://:{}@cache:6379/0", "20251122", id="a URL's password of digits"),
        pytest.param("<db:password>{}</db:password>", "letmein", id="an element of XML"),
        pytest.param("ALTER USER bob IDENTIFIED BY '{}'", "letmein", id="a user in MySQL"),
        pytest.param("CREATE ROLE bob LOGIN PASSWORD '{}';", "letmein", id="a role in Postgres"),
        pytest.param("SET PASSWORD FOR 'bob' = '{}'", "letmein", id="a password that is set"),
        pytest.param("q=password%3D{}", "hunter22", id="a parameter in a parameter"),
        pytest.param("?q=%22password%22%3A{}", "%22hunter22%22", id="JSON in a parameter"),
        pytest.param("?q=%22password%22%3A{}", "%22letmein%22", id="a word in a parameter's JSON"),
        pytest.param(
            "ALTER USER a IDENTIFIED BY 'x', b IDENTIFIED BY '{}'", "letmein", id="a second user"
        ),
        pytest.param(
            "ALTER USER a IDENTIFIED BY '{}', b IDENTIFIED BY 'x'", "letmein", id="the first of two"
        ),
        pytest.param("<a href='/k?a=1&amp;Signature={}'>", HEX32 * 2, id="a signed URL in HTML"),
        pytest.param("https://s3/k?X-Amz-Signature={}", HEX32 * 2, id="a URL signed by AWS"),
        pytest.param("https://g/k?a=1\\u0026X-Goog-Signature={}", HEX32 * 4, id="one by Google"),
        pytest.param("userPassword: '{}'", "letmein", id="a name in camel case"),
        pytest.param("SECRET_KEY='{}'", "django-insecure-1", id="a secret key"),
        pytest.param("- name: DB_PASSWORD\n  value: {}", "hunter2", id="a pod's variable in YAML"),
        pytest.param('{{"name":"API_KEY","value":"{}"}}', "letmein", id="a pod's variable in JSON"),
        pytest.param(
            '{{\\"name\\": \\"PGPASSWORD\\",\\n \\"value\\": \\"{}\\"}}',
            "letmein",
            id="a pod's variable in JSON in a text",
        ),
    ],
)
def test_value_under_the_name_of_a_secret_goes(text: str, secret: str) -> None:
    redactor = Redactor()
    clean = redactor.text(text.format(secret))
    assert secret not in clean
    assert "<redacted: " in clean
    assert redactor.counts.total() == 1
    assert redactor.text(clean) is clean


class Field(str, Enum):  # noqa: UP042 - a StrEnum formats otherwise
    """Names as programs have them, in arguments that were never JSON."""

    LOGIN = "db_password"
    OPTION = "--password"


HARMLESS = [
    "Authorization: required for this call",
    "The password is required and must be valid.",
    "cookie: chocolate",
    '["password", "user_name", "api_key"]',
    "mysql -u root -p < dump.sql",
    "pat, pa-lm and secret_santa",
    "token count: 12",
    "max_tokens=1000, total_tokens: 15, input_token_count=3",
    "password: ******",
    "password reset: see your e-mail",
    "password=${DB_PASSWORD}",
    'password="<your password>"',
    "password: string",
    'api_key="YOUR_API_KEY"',
    "api_key=os.environ['API_KEY']",
    "api_key=settings.api_key",
    "The secret: never give up.",
    "next_page_token=CAUQAA1234",
    "- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef: {name: db}",
    "- name: DB_PASSWORD\n  value: ${FROM_VAULT}",
    '"page_token": "abc123def456"',
    "def login(user, password=None, token=token):",
    "PWD=/home/ada",
    "nextPageToken: CAUQAA1234",
    "?nextsynctoken=CAUQAA1234",
    "<NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J=</NextContinuationToken>",
    "https://example.com/search?q=forgot%20password%3A%20help",
    "https://example.com/search?q=token%3A%20ETH%20price",
    "{'fields': ('username', 'password1', 'password2')}",
    "if password1 == password2:",
    "<password>string</password>",
    "<label>Password</label>",
    "the user forgot the password 'again', so it is reset",
    "identified by 'name'",
    "https://example.com/?signature=short",
    "secretName: my-tls-secret",
    "Invalid password: must have 8 characters",
    "API KEY: required",
    "docker run --user 1000:1000 x",
    "http://example.com:8080/@me",
    "git@github.com:owner/repo.git",
    "mail bob@example.com or call +1 202-555-0143",
    "https://user:password@example.com",
    "sk-circle-fade-dot-animation-delay-two",
    "disk-usage-report-2024-of-the-third-server",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "550e8400-e29b-41d4-a716-446655440000",
    "the bearer authentication-scheme-of-http is old",
    "-----BEGIN CERTIFICATE-----",
    "<redacted: GitHub token>",
    "",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_stays_the_same_object(text: str) -> None:
    redactor = Redactor()
    assert redactor.text(text) is text
    assert not redactor.counts


def _trace(**parts: Any) -> Trace:
    return Trace(id="t-1", agent="booking", **parts)


SECRET = "ghp" + "_" + A40[:36]


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({"steps": (Message("user", f"use {SECRET}"),)}, id="a message"),
        pytest.param({"steps": (Thought(f"I have {SECRET}"),)}, id="a thought"),
        pytest.param({"steps": (ToolCall("get", {"a": [{"b": SECRET}]}),)}, id="an argument"),
        pytest.param({"steps": (ToolCall("get", {SECRET: 1}),)}, id="a key of an argument"),
        pytest.param({"steps": (ToolCall("get", result=SECRET),)}, id="a result"),
        pytest.param({"steps": (ToolCall("get", error=f"bad {SECRET}"),)}, id="an error"),
        pytest.param({"feedback": f"leaked {SECRET}"}, id="feedback"),
        pytest.param({"feedback": {"note": SECRET}}, id="feedback by key"),
        pytest.param({"labels": {"env": SECRET}}, id="a label"),
        pytest.param({"task": f"push with {SECRET}"}, id="the task"),
        pytest.param({"release": SECRET}, id="a release that is one"),
    ],
)
def test_secret_goes_from_every_text_of_a_trace(parts: dict[str, Any]) -> None:
    redactor = Redactor()
    clean = redactor.trace(_trace(**parts))
    assert SECRET not in json.dumps(clean.to_dict())
    assert "<redacted: GitHub token>" in json.dumps(clean.to_dict())
    assert redactor.counts == {"GitHub token": 1}
    assert redactor.trace(clean) is clean
    assert (clean.id, clean.agent) == ("t-1", "booking")


@pytest.mark.parametrize(
    ("arguments", "clean"),
    [
        pytest.param({"password": "x y"}, {"password": "<redacted: secret>"}, id="any password"),
        pytest.param({"password": 1234}, {"password": "<redacted: secret>"}, id="a number"),
        pytest.param(
            {"login": {"user": "bob", "apiKey": "k1"}},
            {"login": {"user": "bob", "apiKey": "<redacted: secret>"}},
            id="nested",
        ),
        pytest.param(
            {"password": ["letmein", "x"]}, {"password": ["<redacted: secret>", "x"]}, id="a list"
        ),
        pytest.param(
            {"env": [{"name": "DB_PASSWORD", "value": "letmein"}]},
            {"env": [{"name": "DB_PASSWORD", "value": "<redacted: secret>"}]},
            id="a pod's variable",
        ),
        pytest.param(
            {"value": "letmein", "of": 1, "name": "DB_PASSWORD"},
            {"value": "<redacted: secret>", "of": 1, "name": "DB_PASSWORD"},
            id="a variable, its value first",
        ),
        pytest.param(
            {"password\n": "letmein"},
            {"password\n": "<redacted: secret>"},
            id="a line end in a key",
        ),
        pytest.param(
            {"said": 'set\npassword:\n"x1letmein"'},
            {"said": 'set\npassword:\n"<redacted: secret>"'},
            id="a text that JSON writes otherwise",
        ),
        pytest.param(
            {"tags": [{"key": "DB_PASSWORD", "value": "letmein"}]},
            {"tags": [{"key": "DB_PASSWORD", "value": "<redacted: secret>"}]},
            id="a key and its value",
        ),
        pytest.param(
            {"command": ["mysql", "--password", "letmein", "-u", "bob"]},
            {"command": ["mysql", "--password", "<redacted: secret>", "-u", "bob"]},
            id="a command's option",
        ),
        pytest.param(
            {"env": [{"Name": "DB_PASSWORD", "Value": "letmein"}]},
            {"env": [{"Name": "DB_PASSWORD", "Value": "<redacted: secret>"}]},
            id="a container's variable",
        ),
        pytest.param(
            {"headers": [["x-api-key", "8f14e45fceea"], ["accept", "text/html"]]},
            {"headers": [["x-api-key", "<redacted: secret>"], ["accept", "text/html"]]},
            id="headers as pairs",
        ),
        pytest.param(
            {"Authorization": "Token 8f14e45fceea", "cookie": "sid=8f14e45f; a=b"},
            {"Authorization": "<redacted: secret>", "cookie": "<redacted: secret>"},
            id="headers",
        ),
        pytest.param(
            {"Authorization": "Bearer ${TOKEN_1}", "cookie": "chocolate", "authorization": "none"},
            None,
            id="headers without a secret",
        ),
        pytest.param({"fields": ["password", "email address"]}, None, id="names of fields"),
        pytest.param(
            {"Authorization": "Basic " + base64.b64encode(b"user:pass").decode()},
            {"Authorization": "<redacted: secret>"},
            id="a login without a digit",
        ),
        pytest.param({"Authorization": "Basic authentication"}, None, id="a scheme"),
        pytest.param({"fields": ["password", "password2"]}, None, id="a field and its repetition"),
        pytest.param(
            {"passwords": {"password": ["letmein", "let5me6in7"]}},
            {"passwords": {"password": ["<redacted: secret>", "<redacted: secret>"]}},
            id="two under one name",
        ),
        pytest.param({"command": ["--user", "bob", "--password", "--verbose"]}, None, id="options"),
        pytest.param({"name": "DB_PASSWORD", "value": {"from": "vault"}}, None, id="no value"),
        pytest.param({"token": "a1b2c3d4"}, {"token": "<redacted: secret>"}, id="a random token"),
        pytest.param({"token": "BTC"}, None, id="a token that is a word"),
        pytest.param(
            {"name": Field.LOGIN, "value": "letmein"},
            {"name": Field.LOGIN, "value": "<redacted: secret>"},
            id="a name of an enumeration",
        ),
        pytest.param(
            {"command": ["psql", Field.OPTION, "letmein"]},
            {"command": ["psql", Field.OPTION, "<redacted: secret>"]},
            id="an option of an enumeration",
        ),
        pytest.param({"password": None, "secret": True}, None, id="nothing in them"),
        pytest.param({"password": "********"}, None, id="masked already"),
        pytest.param({"max_tokens": 100, "page_token": "a1b2c3d4e5"}, None, id="harmless names"),
        pytest.param({"a": [1, {"b": ("c", 2.5)}], "password": ""}, None, id="no text"),
        pytest.param({"sha": HEX32 + "01234567"}, None, id="what only in JSON looks like a key"),
    ],
)
def test_argument_goes_whose_key_names_a_secret(
    arguments: dict[str, Any], clean: dict[str, Any] | None
) -> None:
    trace = _trace(steps=(ToolCall("login", arguments),))
    got = Redactor().trace(trace)
    if clean is None:
        assert got is trace
    else:
        assert got.steps == (ToolCall("login", clean),)
        assert trace.steps == (ToolCall("login", arguments),)


def test_two_keys_that_were_secrets_stay_two() -> None:
    arguments = {SECRET: 1, SECRET[:-1] + "z": 2}
    step = Redactor().trace(_trace(steps=(ToolCall("get", arguments),))).steps[0]
    assert isinstance(step, ToolCall)
    assert sorted(step.arguments.values()) == [1, 2]


def test_text_with_half_a_character_is_searched() -> None:
    assert Redactor().text(f"\ud83d {SECRET}") == "\ud83d <redacted: GitHub token>"


def test_what_lies_too_deep_goes_whole() -> None:
    arguments: Any = SECRET
    for _ in range(5000):
        arguments = [arguments]
    redactor = Redactor()
    clean = redactor.trace(_trace(steps=(ToolCall("get", {"a": arguments}),)))
    assert redactor.counts == {"nested too deep": 1}
    assert SECRET not in json.dumps(clean.to_dict())


def test_arguments_that_hold_themselves_are_cut() -> None:
    arguments: dict[str, Any] = {"say": "hi"}
    arguments["again"] = [arguments]

    (call,) = Redactor().trace(Trace("1", "a", steps=(ToolCall("t", arguments),))).steps

    assert isinstance(call, ToolCall)
    assert str(call).count("<redacted: nested too deep>") == 1


def test_redactor_that_is_off_changes_nothing() -> None:
    trace = _trace(task=SECRET)
    redactor = Redactor.off()
    assert redactor.trace(trace) is trace
    assert redactor.text(SECRET) is SECRET
    assert not redactor.counts


def test_one_redactor_counts_right_among_threads() -> None:
    redactor = Redactor()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(redactor.text, [SECRET] * 400))
    assert redactor.counts == {"GitHub token": 400}


def test_redactor_goes_to_another_process() -> None:
    redactor = pickle.loads(pickle.dumps(Redactor(emails=True)))
    assert redactor.text("a@b.de") == "<redacted: e-mail address>"


def test_email_addresses_go_on_request() -> None:
    redactor = Redactor(emails=True)
    said = "Write to Ada.Lovelace+x@mail.example.co.uk, not to @ada or a@b."
    assert redactor.text(said) == "Write to <redacted: e-mail address>, not to @ada or a@b."
    assert redactor.counts == {"e-mail address": 1}


@pytest.mark.parametrize(
    ("phones", "text", "clean"),
    [
        (True, "call +1 (202) 456-1111 now", "call <redacted: phone number> now"),
        (True, "call +44 20 7946 0958", "call <redacted: phone number>"),
        (True, "call 202-456-1111", None),
        ("US", "call 202-456-1111", "call <redacted: phone number>"),
        ("US", "call (202) 456-1111", "call <redacted: phone number>"),
        ("US", "order 2024-05-15 10:30, id 1234567", None),
        ("US", "1733112345.123456 0x2024561111ab", None),
    ],
)
def test_phone_numbers_go_on_request(phones: Any, text: str, clean: str | None) -> None:
    pytest.importorskip("phonenumbers")
    assert Redactor(phones=phones).text(text) == (clean or text)


def test_unknown_region_is_refused() -> None:
    pytest.importorskip("phonenumbers")
    with pytest.raises(InputError, match="phones is 'XX', expected True or a region"):
        Redactor(phones="XX")


def test_missing_phonenumbers_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    with pytest.raises(InputError, match=r"pip install 'tracetune\[phones\]'"):
        Redactor(phones=True)


MEGABYTE = 1_000_000

ADVERSARIAL = [
    "eyJ" * (MEGABYTE // 3),
    "eyJaaaaaaaa." * (MEGABYTE // 12),
    "-----BEGIN PRIVATE KEY-----" * (MEGABYTE // 27),
    "-----BEGIN PRIVATE KEY----- a." * (MEGABYTE // 30),
    "://a" * (MEGABYTE // 4),
    "://" + "a:" * (MEGABYTE // 2),
    "password=" * (MEGABYTE // 9),
    "password" * (MEGABYTE // 8),
    'password="' + "a" * MEGABYTE,
    "a@" * (MEGABYTE // 2),
    "a." * (MEGABYTE // 2) + "@",
    "1" * MEGABYTE,
    "12345678:" * (MEGABYTE // 9),
    ("ghp_" + "a" * 36) * (MEGABYTE // 40),
    "xoxb-1-" * (MEGABYTE // 7),
    "aws'" * (MEGABYTE // 4),
    "bearer " * (MEGABYTE // 7),
    "token: " + " " * MEGABYTE,
    "\\" * MEGABYTE + "password",
    "a" * MEGABYTE + "_password=a1b2c3d4",
]


@pytest.mark.parametrize("text", ADVERSARIAL, ids=[repr(t[:24]) for t in ADVERSARIAL])
def test_work_on_a_hostile_megabyte_is_bounded(text: str) -> None:
    # Backtracking would take hours here: that this test ends is what it shows.
    assert len(Redactor(emails=True).text(text)) > 0


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


def _files(folder: Path) -> Iterator[Any]:
    for path in sorted(folder.rglob("*.json*")):
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        try:
            yield json.loads(raw)
        except ValueError:
            yield [json.loads(line) for line in raw.splitlines()]


def test_in_real_traces_nothing_goes_but_real_credentials(shared_data: Path) -> None:
    redactor = Redactor()
    changed = {s for file in _files(shared_data) for s in _strings(file) if redactor.text(s) != s}
    # The default logins of a database and of a web page, and a cookie of a model's host.
    logins = ("admin:admin@", 'ADMIN_PWD="admin"', '"ADMIN_PWD","value":"admin"', "MONGO_PASSWORD")
    known = (*logins, "'set-cookie': '")
    assert all(any(one in s for one in known) for s in changed), changed
    assert set(redactor.counts) <= {"cookie", "password in a URL", "secret"}


@pytest.mark.parametrize("odd", [5, ["a"], {"a": "b"}, None], ids=repr)
def test_a_trace_of_odd_parts_is_searched(odd: Any) -> None:
    secret = "ghp_" + "a1B2" * 9
    steps = (Message("user", odd, agent=odd), ToolCall(odd, {"q": secret}, result=odd))

    clean = Redactor().trace(Trace(id="1", agent="a", task=odd, steps=steps))

    assert clean.steps[0] == steps[0]
    assert clean.steps[1] == ToolCall(odd, {"q": "<redacted: GitHub token>"}, result=odd)
