"""What credentials look like: known formats, and values under the name of a secret."""

from __future__ import annotations

import base64
import contextlib
import importlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import unquote_plus

__all__ = ["Rule", "is_name", "names_secret", "rules"]


class Rule(NamedTuple):
    """One kind of credential."""

    kind: str
    anchor: str
    """Cheap to look for, and found in every text in which `pattern` is."""
    pattern: str
    meant: Callable[[dict[str, str]], bool] | None = None
    """Whether a match, by its named groups, is a secret and no placeholder; None: always."""


# Formats that a detector of detect-secrets describes: kind, anchor, module, class.
_DETECTORS = (
    ("AWS key", r"A(?:KIA|SIA|BIA|CCA)[0-9A-Z]|A3T[0-9A-Z]", "aws", "AWSKeyDetector"),
    ("AWS key", r"[\"'][0-9A-Za-z/+]{40}[\"']", "aws", "AWSKeyDetector"),
    ("Azure storage key", r"AccountKey=", "azure_storage_key", "AzureStorageKeyDetector"),
    ("Discord bot token", r"\.[\w-]{6}\.[\w-]{16}", "discord", "DiscordBotTokenDetector"),
    ("GitHub token", r"gh[pousr]_", "github_token", "GitHubTokenDetector"),
    ("Mailchimp key", r"[0-9a-z]{8}-us[0-9]", "mailchimp", "MailchimpDetector"),
    ("OpenAI key", r"T3BlbkFJ", "openai", "OpenAIDetector"),
    ("PyPI token", r"pypi-Ag", "pypi_token", "PypiTokenDetector"),
    ("SendGrid key", r"SG\.[\w-]{8}", "sendgrid", "SendGridDetector"),
    ("Slack token", r"(?i:xox[a-z]-|hooks\.slack\.com)", "slack", "SlackDetector"),
    ("Square secret", r"sq0csp-", "square_oauth", "SquareOAuthDetector"),
    ("Stripe key", r"[rs]k_live_", "stripe", "StripeDetector"),
    ("Telegram bot token", r"[0-9]{8}:[\w-]{8}", "telegram_token", "TelegramBotTokenDetector"),
    ("Twilio key", r"(?:AC|SK)[0-9a-z]{8}", "twilio", "TwilioKeyDetector"),
)

# Formats it does not know, or knows in part: kind, how it begins, how it goes on.
_PREFIXED = (
    ("age key", r"AGE-SECRET-KEY-1", r"[0-9A-Z]{50,}"),
    ("Airtable token", r"pat[0-9A-Za-z]{14}\.", r"[0-9a-f]{64}"),
    ("Anthropic key", r"sk-ant-", r"[\w-]{16,}"),
    ("Atlassian token", r"AT[AC]TT3", r"[\w=-]{40,}"),
    ("Cerebras key", r"csk-", r"[0-9A-Za-z]{40,}"),
    ("Databricks token", r"dapi", r"[0-9a-f]{32}"),
    ("DigitalOcean token", r"do[opr]_v1_", r"[0-9a-f]{64}"),
    ("Docker token", r"dckr_[po]at_", r"[\w-]{20,}"),
    ("Doppler token", r"dp\.(?:pt|st|sa|ct|scim|audit)\.", r"[\w.-]{40,}"),
    ("E2B key", r"e2b_", r"[0-9a-f]{40}"),
    ("ElevenLabs key", r"sk_", r"[0-9a-f]{48}"),
    ("Figma token", r"fig[dour]_", r"[\w-]{40,}"),
    ("Firecrawl key", r"fc-", r"[0-9a-f]{32}"),
    ("Fireworks key", r"fw_", r"[0-9A-Za-z]{24}"),
    ("Fly.io token", r"fm[12][ar]?_", r"[\w+/=-]{80,}"),
    ("GitHub token", r"github_pat_", r"\w{22,}"),
    ("GitLab token", r"gl(?:pat|dt|ft|soat|rt|cbt|imt|ptt|agent|oas)-|GR1348941", r"[\w-]{20,}"),
    ("Google API key", r"AIza", r"[\w-]{35}"),
    ("Google OAuth secret", r"GOCSPX-", r"[\w-]{20,}"),
    ("Google OAuth token", r"ya29\.|1//0", r"[\w-]{20,}"),
    ("Grafana token", r"glsa_|glc_", r"[\w+/=]{32,}"),
    ("Groq key", r"gsk_", r"[0-9A-Za-z]{32,}"),
    ("Heroku token", r"HRKU-", r"[\w-]{36,}"),
    ("Hugging Face token", r"hf_", r"[0-9A-Za-z]{30,}"),
    ("JSON web token", r"eyJ", r"[\w-]{8,}=*\.[\w-]*=*\.[\w.=-]+"),
    ("LangSmith key", r"lsv2_(?:pt|sk)_|ls__", r"[0-9a-f]{32}"),
    ("Linear key", r"lin_(?:api|oauth)_", r"[0-9A-Za-z]{32,}"),
    ("Mailgun key", r"key-", r"[0-9a-f]{32}"),
    ("New Relic key", r"NRAK-", r"[0-9A-Z]{27}"),
    ("Notion token", r"ntn_", r"[0-9A-Za-z]{40,}"),
    ("Notion token", r"secret_", r"[0-9A-Za-z]{43}"),
    ("npm token", r"npm_", r"[0-9A-Za-z]{36}"),
    ("NVIDIA key", r"nvapi-", r"[\w-]{40,}"),
    ("PayPal token", r"access_token\$(?:production|sandbox)\$", r"[0-9A-Za-z]{16}\$[0-9a-f]{32}"),
    ("Perplexity key", r"pplx-", r"[0-9A-Za-z]{32,}"),
    ("Pinecone key", r"pcsk_", r"\w{40,}"),
    ("PlanetScale token", r"pscale_(?:pw|tkn|oauth)_", r"[\w.=-]{32,}"),
    ("PyPI token", r"pypi-", r"[\w-]{60,}"),
    ("Replicate token", r"r8_", r"[0-9A-Za-z]{30,}"),
    ("Sentry token", r"sntry[su]_", r"[\w+/=-]{40,}"),
    ("Shopify token", r"shp(?:at|ca|pa|ss)_", r"[0-9a-fA-F]{32}"),
    ("Slack token", r"xox[a-z]-|xapp-", r"[0-9A-Za-z-]{20,}"),
    ("Square token", r"EAAA", r"[\w-]{58,}"),
    ("Stripe key", r"[rs]k_(?:live|test)_|whsec_", r"[0-9A-Za-z+/]{16,}"),
    ("Supabase token", r"sbp_", r"[0-9a-f]{40}"),
    ("Tavily key", r"tvly-", r"[\w-]{20,}"),
    ("Terraform token", r"[0-9A-Za-z]{14}\.atlasv1\.", r"[\w=-]{60,}"),
    ("Vault token", r"hv[bsr]\.", r"[\w-]{24,}"),
    ("xAI key", r"xai-", r"[0-9A-Za-z]{40,}"),
)

_START = r"(?:\b|\\[nrt])"  # in JSON that stands in a text, a line break is these two characters
_PASSWORD = (
    r"pass(?:word|wort|wd|phrase)(?:[_-]?(?:confirm(?:ation)?|again|repeat|[0-9]))?|pwd|_pass"
)
_KEY = r"(?:api|access|account|auth|encryption|master|private|secret|signing)[ _-]?key"
_SURE = rf"{_PASSWORD}|{_KEY}|client[_-]?secret|(?:access|auth|bearer|refresh|session)[_-]?token"
_NAME = rf"(?P<before>[A-Za-z]*[_-]?)(?P<name>(?i:{_SURE}|secret|token|credentials?))"
# In a URL's parameter that is a text itself, signs are written as their numbers.
_IS = r"(?P<is>(?:[\"'`\]\\]|%22)*\s{0,4}(?::=|=>|==?|:|%3[ADad])\s{0,4})"
# Kubernetes and HTTP archives write `name: DB_PASSWORD`, and `value: …` after it.
_VALUE_KEY = (
    r"(?:[\"'\\]*,?(?:\s|\\[nrt]){1,40}[\"'\\]*|[\"'\\]+,[\"'\\]+)"
    r"(?i:value)[\"'\\]*\s{0,4}:\s{0,4}"
)
# A header may be a pair: ["x-api-key", "…"].
_NEXT = r"\\*[\"'],\s*\\*[\"']"
_VALUE = (
    r"(?:b?\\*\"(?P<double>[^\"\s]+)(?:\"|\z)|b?\\*'(?P<single>[^'\s]+)(?:'|\z)"
    r"|(?P<bare>[^\s\"'`\\;&<>(){}\[\]]+))"
)
_SIGNED = r"(?:[?&]|&amp;|\\u0026)(?i:sig|(?:x-(?:amz|goog)-)?signature)="
_PEM = r"-----{} [0-9A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
_PEM_LINES = r"(?:(?:\s|\\[nrt])*[0-9A-Za-z+/=]{16,})*"

_NO_VALUE = re.compile(
    r"(?:(.)\1*|none|null|nil|true|false|undefined|example|redacted|hidden|masked|string|str|text|"
    r"int|integer|number|object|bool|boolean|required|optional|invalid|missing|incorrect|expired|"
    r"wrong|empty|unknown|n/a|pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|api[_-]?key)$"
    r"|[~.]{0,2}/[a-z._-]*(?:/|$)|\$[a-z_({]|%[a-z(]|<redacted:|<[^>]*>|\{[^}]*\}|\[[^\]]*\]|x{3}|\*{2}|"
    r"your|(?:my|the|an?|some|os|self|this|process|config|settings|env|args|request)[ _.-]",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"(?:basic|bearer|digest|key|negotiate|token|apikey) ", re.IGNORECASE)
_COOKIE = re.compile(r"[\w.%-]+=[^\r\n]{6,}")
# As whole words: "admin" ends as "min" does.
_HARMLESS = re.compile(
    r"(?:^(?i:(?:next)?(?:page|sync|continuation|cursor)|next|stop|max|min|num)"
    r"|Page|Next|Sync|Continuation|Cursor|Stop|Max|Min|Num)[_-]?$"
)
_IS_SURE = re.compile(rf"(?:{_SURE})$", re.IGNORECASE)
_ENDS_IN_NAME = re.compile(rf"{_NAME}$")


def _mixed(value: str) -> bool:
    return bool(re.search("[0-9]", value) and re.search("[A-Za-z]", value))


def _is_secret(name: str, value: str, *, bare: bool, env: bool = False) -> bool:
    if not value or _NO_VALUE.match(value):
        return False
    if not _IS_SURE.match(name):
        return _mixed(value) and len(value) >= 8 and not re.search(r"\s", value)
    return not bare or env or (len(value) >= 4 and (_mixed(value) or value.isdigit()))


def names_secret(name: str, value: str) -> bool:
    """Return whether the value under this name is a secret: `db_password`, `client-secret`.

    A name that is as often harmless (`token`, `secret`) counts with a value that looks random.
    So does a header that authorizes, or is a cookie.
    """
    if name.lower() in ("cookie", "set-cookie"):
        return _COOKIE.match(value) is not None
    if name.lower() in ("authorization", "proxy-authorization"):
        sent = value.rpartition(" ")[2]
        meant = _mixed(sent) or (value.lower().startswith("basic ") and _is_login(sent))
        return len(sent) >= 8 and meant and not _NO_VALUE.match(sent)
    found = _ENDS_IN_NAME.search(name[-80:])
    if found is None or _HARMLESS.search(found["before"]):
        return False
    return _is_secret(found["name"], value.strip(), bare=False)


def is_name(value: str) -> bool:
    """Return whether it is the name of a secret, and so none: `password2`, as forms have it."""
    return _ENDS_IN_NAME.match(value) is not None


def _is_login(sent: str) -> bool:
    with contextlib.suppress(ValueError):
        return b":" in base64.b64decode(sent, validate=True)
    return False


def _assigned(match: dict[str, str]) -> bool:
    if _HARMLESS.search(match["before"]):
        return False
    name, value, bare = match["name"], match["secret"].rstrip(".,:"), bool(match["bare"])
    if "%" in match["is"]:  # of a URL: "%20" has no digits of a secret
        value = unquote_plus(value)
        bare = value.lstrip()[:1] not in ("'", '"')
        value = re.split(r"[\s&]", value.strip(" \"'"))[0]
    elif bare and "==" in match["is"] and is_name(value):  # two variables are compared
        return False
    env = name.isupper() and match["is"] == "="
    return _is_secret(name, value, bare=bare, env=env)


def _random(match: dict[str, str]) -> bool:
    return _mixed(match["secret"]) and not _NO_VALUE.match(match["secret"])


def _listed(match: dict[str, str]) -> bool:
    return _random(match) and not is_name(match["secret"])


def _header(match: dict[str, str]) -> bool:
    if _NO_VALUE.match(match["secret"]):
        return False
    return bool(_SCHEME.match(match["scheme"])) or _mixed(match["secret"])


def _password(match: dict[str, str]) -> bool:
    return not _NO_VALUE.match(match["secret"].rpartition(":")[2])


def _login(match: dict[str, str]) -> bool:
    return not match["secret"].rpartition(":")[2].isdigit() and _password(match)  # -u 1000:1000


def _filled(match: dict[str, str]) -> bool:
    return not _NO_VALUE.match(match["secret"])


def _tagged(match: dict[str, str]) -> bool:
    harmless = _HARMLESS.search(match["before"])
    return not harmless and _is_secret(match["name"], match["secret"], bare=False)


_NAMED = (
    Rule("private key", "PRIVATE KEY", (
        rf"{_PEM.format('BEGIN')}(?:[^-]*(?:-[^-]+)*{_PEM.format('END')}|{_PEM_LINES})"
    )),
    Rule("secret key", r"sk-[\w-]{20}", rf"{_START}(?P<secret>sk-[\w-]{{20,}})", _random),
    Rule("password in a URL", r"://[^\s/?#@:]*:[^\s/?#]+@", (
        r"://(?P<secret>[^\s/?#@:\"'<>]*:[^\s/?#\"'<>]+)@[\w\[]"
    ), _password),
    Rule("password", r"(?:-u|--user)[ =]", (
        r"(?:-u|--user)[ =][\"']?(?P<secret>[^\s:\"'/@]+:[^\s\"'/@]+)"
    ), _login),
    Rule("bearer token", r"(?i:bearer|basic)\s+[\w.~+/=-]{8}", (
        r"(?i:\bbearer|\bbasic)\s+(?P<secret>[\w.~+/=-]{16,})"
    ), _random),
    Rule("authorization header", r"(?i:authorization)", (
        r"(?i:authorization)[\"'\\]*\s*[:=]\s*[\"'\\]*(?P<scheme>\w+ +)?(?P<secret>[^\s\"'\\,]{8,})"
    ), _header),
    Rule("cookie", r"(?i:cookie)[\"'\\]*\s*:", (
        r"(?i:\b(?:set-)?cookie)[\"'\\]*\s*:\s*[\"'\\]*(?P<secret>[\w.%-]+=[^\r\n\"'\\]{6,})"
    )),
    Rule("password", r"\bmachine\s", (
        r"\bmachine\s+\S+\s+login\s+\S+\s+password\s+(?P<secret>[^\s<]+)"
    )),
    Rule("password", r"\bmysql", (
        r"\bmysql\w*\s(?:[^\n|;]*\s)?-p[\"']?(?P<secret>[^\s\"'-][^\s\"']{3,})"
    ), _random),
    Rule("password", r"(?i:pass(?:word|phrase|code)|passwort) (?:is|was|ist)", (
        r"(?i:\bpass(?:word|phrase|code)|\bpasswort) (?:is|was|ist):?\s+[\"'`\\]*"
        r"(?P<secret>[^\s\"'`\\.,;]{4,})"
    ), _random),
    Rule("password", r"(?i:password|identified)\s", (
        r"(?i:\b(?:create|alter|grant)\s[^\n;]*?\s(?:identified(?: with \S+)? by|password)"
        r"|,[^\n;,]*\sidentified(?: with \S+)? by"  # the next user
        r"|\bset password\s[^\n;=]*=)\s*\\*[\"'](?P<secret>[^\s\"'\\]+)"
    ), _filled),
    Rule("URL signature", _SIGNED, rf"{_SIGNED}(?P<secret>[\w%+/=-]{{30,}})"),
    Rule("secret", rf"<(?:\w+:)?{_NAME}>", rf"<(?:\w+:)?{_NAME}>(?P<secret>[^\s<>]+)<", _tagged),
    Rule("secret", rf"{_NAME}{_IS}", rf"{_NAME}{_IS}{_VALUE}", _assigned),
    Rule("secret", rf"{_NAME}{_VALUE_KEY}", rf"{_NAME}(?P<is>{_VALUE_KEY}){_VALUE}", _assigned),
    Rule("secret", rf"{_NAME}{_NEXT}", rf"{_NAME}{_NEXT}(?P<secret>[^\s\"'\\]{{8,}})", _listed),
    Rule("secret", rf"--[a-z-]*{_NAME}\s", rf"--[a-z-]*{_NAME}(?P<is>\s+){_VALUE}", _assigned),
)  # fmt: skip


def rules() -> Iterator[Rule]:
    """Yield all of them: of two that match at one place, the first names the kind."""
    yield _NAMED[0]
    for kind, anchor, module, name in _DETECTORS:
        detector = getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), name)
        for regex in detector.denylist:
            flags = "(?i)" if regex.flags & re.IGNORECASE else ""
            yield Rule(kind, anchor, flags + regex.pattern)
    for kind, begin, rest in _PREFIXED:
        yield Rule(kind, begin, rf"{_START}(?P<secret>(?:{begin}){rest})")
    yield from _NAMED[1:]
