"""The tables of the reference equal what the code does."""

from __future__ import annotations

import ast
import inspect
import re
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy.pool import QueuePool

import flask_gatehouse
from flask_gatehouse import Gatehouse, InvalidEmail, InvalidName, WeakPassword
from flask_gatehouse.cli import findings
from flask_gatehouse.domain import audit, devices, passwords, throttle, tokens, users
from flask_gatehouse.domain import mail as outbox
from flask_gatehouse.domain.factors import passkey
from flask_gatehouse.domain.mail import transport
from flask_gatehouse.domain.passwords import breached, hashing
from flask_gatehouse.domain.policy import BUILT_IN
from flask_gatehouse.domain.sessions import PENDING_MICROS, SEEN_AT_MOST, sql
from flask_gatehouse.domain.throttle import rules
from flask_gatehouse.flows import acts, administer, register, reset_password, unconfirmed, verify_log
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.flows.outcomes import Refused
from flask_gatehouse.http import cookie, gate, guest, logs, origin
from flask_gatehouse.kernel import database, problems, schema, settings
from flask_gatehouse.kernel.clock import micros
from flask_gatehouse.kernel.identity import CLI
from flask_gatehouse.kernel.keys import PURPOSES
from flask_gatehouse.web import shown
from tests.architecture.source import calls, functions, imports, modules
from tests.docs import pages
from tests.support import ROOT, databases

FROM_CODE = pages.extension()
CONFIG = {
    "TESTING": True,
    "SECRET_KEY": "x" * 40,
    "GATEHOUSE_ARGON2": "1024,1,1",
    "GATEHOUSE_DATABASE_URL": "sqlite://",
}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> timedelta:
    """Return `10m` as a timedelta; `0` is none."""
    match = re.fullmatch(r"(\d+)([smhd]?)", text.strip("`"))
    assert match is not None, text
    return timedelta(seconds=int(match[1]) * UNITS[match[2] or "s"])


def number(text: str) -> int:
    """Return the first number of a cell."""
    match = re.search(r"\d+", text)
    assert match is not None, text
    return int(match[0])


def first_arguments(pattern: str) -> set[str]:
    """Return the texts that the package gives first to whatever is called so."""
    return {
        argument.value
        for module in modules()
        for name, node in calls(module.tree)
        if re.search(pattern, name)
        for argument in [a for a in node.args if isinstance(a, ast.Constant)][:1]
        if isinstance(argument.value, str)
    }


@pytest.fixture
def bare_app():
    """Return a Flask app that is nothing but guarded."""
    app = Flask("tests")
    app.config.update(CONFIG)
    Gatehouse(app)
    yield app
    databases.close(app)


# --- settings ----------------------------------------------------------------------------------------------


def test_every_setting_is_in_the_reference_with_its_default():
    rows = {row["setting"].strip("`"): row for row in pages.table(FROM_CODE.settings_table())}
    names = {f"GATEHOUSE_{name.upper()}" for name in settings.Settings.__dataclass_fields__}
    assert rows.keys() == names
    assert len(names) <= 60
    assert [name for name, row in rows.items() if not row["meaning"] or not row["takes"]] == []
    assert rows["GATEHOUSE_SESSION_IDLE"]["default"] == "`1h`"
    assert rows["GATEHOUSE_SESSION_IDLE"]["`strict`"] == "`30m`"


def test_every_unsafe_setting_is_in_the_reference():
    listed = {row["setting"].strip("`") for row in pages.table(FROM_CODE.unsafe_table())}
    found = {text for text in first_arguments(r"^Problem$") if " " not in text}
    assert found
    assert found - listed == {"MAX_CONTENT_LENGTH"}  # of which there is advice alone


def test_every_finding_of_check_is_in_the_reference_with_requirements_that_exist():
    rows = {row["finding"].strip("`"): row for row in pages.table(FROM_CODE.findings_table())}
    by_setting = {"unsafe-setting", "setting", "advised-setting"}
    assert rows.keys() == findings.KINDS.keys() == first_arguments(r"^CheckFinding$") | by_setting
    known = {line.partition(",")[0] for line in pages.page("reference/asvs.csv").splitlines()}
    asked = [*(kind.requirements for kind in findings.KINDS.values()), *findings.OF_SETTINGS.values()]
    assert {one for ids in asked for one in ids} - known == set()
    named = {f"GATEHOUSE_{name.upper()}" for name in settings.Settings.__dataclass_fields__}
    assert findings.OF_SETTINGS.keys() - named - first_arguments(r"^Problem$") == set()
    assert problems.LONGEST.keys() <= settings.Settings.__dataclass_fields__.keys()


def test_the_settings_that_the_manual_names_exist():
    known = {f"GATEHOUSE_{name.upper()}" for name in settings.Settings.__dataclass_fields__}
    known |= {f"{name}_FILE" for name in known} | {"GATEHOUSE_"}
    for path in [*pages.DOCS.rglob("*.md"), ROOT / "README.md"]:
        if "_build" not in path.parts:
            named = set(re.findall(r"GATEHOUSE_[A-Z0-9_]*", path.read_text(encoding="utf-8")))
            assert named - known == set(), path.name


# --- sessions ----------------------------------------------------------------------------------------------


def lifetimes() -> dict[str, dict[str, str]]:
    page = pages.page("reference/sessions.md")
    return {row["limit"]: row for row in pages.table(pages.section(page, "How long a session lives"))}


def test_v7_1_1_the_documented_lifetimes_are_the_defaults():
    plain, strict = settings.Settings(), settings.load({"GATEHOUSE_PROFILE": "strict"})
    by_setting = {
        "idle": "session_idle",
        "absolute, from the last proof": "session_absolute",
        "idle, administrators": "admin_idle",
        'idle and absolute with "remember me"': "remember",
        "age at which a proof is no longer fresh": "fresh",
    }
    for limit, name in by_setting.items():
        row = lifetimes()[limit]
        assert row["setting"].strip("`") == f"GATEHOUSE_{name.upper()}"
        assert duration(row["default"]) == getattr(plain, name), limit
        assert duration(row["profile `strict`"]) == getattr(strict, name), limit


def test_63b_5_2_2_the_documented_lifetimes_without_a_setting_are_the_codes():
    rows = lifetimes()
    fixed = {
        "absolute, administrators": (settings.Settings().session_absolute, settings.STRICT_ADMIN_ABSOLUTE),
        "the same for administrators and factor changes": (settings.ADMIN_FRESH, settings.ADMIN_FRESH),
        "a pending login waits for its second factor": (timedelta(microseconds=PENDING_MICROS),) * 2,
        "least age of a last-seen time before it is written again": (timedelta(microseconds=SEEN_AT_MOST),) * 2,
    }
    for limit, (plain, strict) in fixed.items():
        assert (duration(rows[limit]["default"]), duration(rows[limit]["profile `strict`"])) == (plain, strict), limit
    assert len(rows) == len(fixed) + 5


def test_63b_2_1_3_1_the_defaults_stay_within_nists_limits():
    for profile in (settings.Settings(), settings.load({"GATEHOUSE_PROFILE": "strict"})):
        assert profile.session_absolute <= timedelta(hours=24)
        assert profile.session_idle <= timedelta(hours=1)
        assert profile.remember <= timedelta(days=30)


def test_v7_1_2_the_documented_number_of_sessions_is_the_default():
    page = pages.section(pages.page("reference/sessions.md"), "How many sessions one user may have")
    for row in pages.table(page):
        assert row["setting"].strip("`") == "GATEHOUSE_MAX_SESSIONS"
        assert number(row["default"]) == settings.Settings().max_sessions


HELPERS = {
    "opening.open_session": {"login._decide", "login.vouched", "passkey_login._decide"},
    "opening.pend": {"login._decide", "login.vouched"},
    "second_step._grant": {"second_step.answer", "second_step._answer_by_passkey", "second_step.replace_factor"},
    "step_up._renew": {"step_up._decide", "step_up.prove_factor", "step_up.prove_passkey"},
    "enrol._enrol": {"enrol.confirm_totp"},
    "passkeys._go_on": {"passkeys.confirm"},
    "own_password._store": {"own_password.change"},
}
"""Who alone calls what makes a session: `_decide` of login and step-up are the second halves of `begin` and `prove`."""


def test_v6_1_3_every_place_that_makes_a_session_is_a_documented_way_in():
    listed = {row["flow"].strip("`") for row in pages.table(pages.page("reference/logins.md"))}
    makers = {"services.sessions.issue", "services.sessions.rotate", "self.sessions.issue"}
    found = {}
    for module in modules():
        if module.path.startswith("domain/"):
            continue
        for function in functions(module.tree):
            if any(name in makers for name, _ in calls(function)):
                stem = module.path.removesuffix(".py").rpartition("/")[2]
                found[f"{stem}.{function.name}"] = module
    assert found.keys() - HELPERS.keys() == listed & found.keys()
    for helper, ways in HELPERS.items():
        assert helper in found
        stem, _, name = helper.partition(".")
        users_of = {
            f"{module.path.removesuffix('.py').rpartition('/')[2]}.{function.name}"
            for module in modules()
            for function in functions(module.tree)
            for called, _ in calls(function)
            if called == f"{stem}.{name}" or (called == name and module is found[helper])
        }
        assert users_of == ways, helper
    assert listed <= {way for ways in HELPERS.values() for way in ways} | found.keys() | {"login.begin"}


# --- limits ------------------------------------------------------------------------------------------------


def limits(heading: str) -> list[dict[str, str]]:
    return pages.table(pages.section(pages.page("reference/limits.md"), heading))


def test_v6_1_1_the_documented_limits_of_attempts_are_the_codes():
    found = {value.name: value for value in vars(rules).values() if isinstance(value, rules.Rule)}
    rows = {row["what"]: row for row in limits("Attempts")}
    assert rows.keys() == found.keys()
    for name, row in rows.items():
        rule = found[name]
        if row["per address"] != "none":
            assert number(row["per address"]) == rule.per_address, name
        if row["per target"] != "none":
            assert number(row["per target"]) == rule.per_target, name
        assert micros(duration(row["window"])) == rule.window, name
    text = pages.section(pages.page("reference/limits.md"), "Attempts")
    assert [factor for _, factor in rules.address_keys("2001:db8::1")] == [1, 4, 16]
    assert "/64" in text
    assert "/56 and /48 as well, whose limits are 4 and 16" in " ".join(text.split())


def test_v6_1_1_the_documented_delays_of_an_account_are_the_codes():
    rows = {row["limit"]: row["value"] for row in limits("Wrong passwords of one account")}
    first = rules.WRONG_BEFORE_DELAY
    assert number(rows["wrong passwords in a row before a delay"]) == first
    assert rules.delay_after(first - 1, rules.FIRST_DELAY) == 0
    assert micros(duration(rows["first delay"])) == rules.delay_after(first, rules.FIRST_DELAY)
    assert rules.first_delay("username") == rules.FIRST_DELAY
    doubled = micros(duration(rows["first delay, where an address may be typed as well"]))
    assert rules.first_delay("both") == rules.first_delay("email") == doubled
    assert rules.delay_after(first + 1, rules.FIRST_DELAY) == 2 * rules.delay_after(first, rules.FIRST_DELAY)
    assert micros(duration(rows["longest delay"])) == rules.delay_after(first + 50, rules.FIRST_DELAY)
    paused = rows["refusals of an address in a window before an attempt in a delay pauses it"]
    assert number(paused) == rules.LOGIN.before_pause
    assert micros(duration(rows["such a pause"])) == rules.PAUSE
    assert micros(duration(rows["a row of wrong ones is forgotten after the last of them by"])) == rules.STREAK_LIFE
    disabled = rows["wrong ones in a row, however long apart, that disable the password"]
    assert number(disabled) == rules.WRONG_BEFORE_DISABLED
    demoted = rows["wrong ones in a row from a known browser after which it is known no longer"]
    assert number(demoted) == rules.WRONG_BEFORE_DEMOTED


def test_v2_1_3_the_documented_quotas_and_sizes_are_the_codes():
    quotas = {row["what"]: row["most"] for row in limits("Quotas of one user")}
    assert number(quotas["known browsers"]) == devices.PER_USER
    assert number(quotas["live sessions"]) == number(quotas["pending logins"]) == settings.Settings().max_sessions
    assert number(quotas["session keys carried over from a guest"]) * 1024 == cookie.CARRIED_MAX
    sizes = {row["what"]: row["most"] for row in limits("Sizes")}
    assert number(sizes["body of a form on Gatehouse's pages"]) * 1024 == gate.OWN_BODY_MAX
    assert number(sizes["`next`"]) == origin.NEXT_MAX
    assert number(sizes["answer of a passkey"]) == passkey.ANSWER_MAX
    assert number(sizes["guest cookie"]) == guest.GUEST_MAX


def test_v15_1_3_the_documented_bounds_of_expensive_work_are_the_codes():
    rows = {row["what"]: row for row in limits("What costs much, and what bounds it")}
    hashing_bound = rows["hashing a password"]["bound"]
    assert f"{hashing.WAITING_PLACES} requests waiting" in hashing_bound
    assert f"{hashing.RESERVED_PLACES} more place" in hashing_bound
    assert f"{hashing.WAIT_SECONDS:.0f}s" in hashing_bound
    assert number(rows["hashing a password"]["cost"]) == settings.Settings().argon2[0] // 1024
    assert f"{database.LOCK_WAIT_SECONDS:.0f}s" in rows["writing to SQLite"]["bound"]
    assert "lock_timeout = '5s'" in inspect.getsource(database)
    assert number(rows["a list of users or events"]["bound"]) == shown.PER_PAGE
    assert str(audit.BATCH) in rows["verifying the audit chain"]["cost"]
    assert f"newest {verify_log.ROWS_AT_MOST} rows" in rows["verifying the audit chain"]["bound"]
    assert f"{audit.READ_AT_MOST} rows looked at" in rows["searching the audit log"]["bound"]


def test_v13_1_2_v13_1_3_the_documented_limits_of_connections_are_the_engines(tmp_path):
    rows = {row["connection"]: row for row in limits("Connections to other services")}
    engine = database.open_engine(f"sqlite:///{tmp_path / 'x.sqlite3'}")
    pool = inspect.signature(QueuePool).parameters
    assert isinstance(engine.pool, QueuePool)
    many = [int(text) for text in re.findall(r"\d+", rows["all other reads"]["how many"])]
    assert many == [pool["pool_size"].default, pool["max_overflow"].default]
    assert number(rows["all other reads"]["time limits"]) == pool["timeout"].default
    assert "connect_timeout" in inspect.getsource(database.open_engine)
    engine.dispose()


def test_v13_1_2_v13_1_3_the_documented_limits_of_mail_and_of_lists_are_the_codes():
    rows = {row["connection"]: row for row in limits("Connections to other services")}
    mail, stolen = rows["the mail server"], rows["the service of stolen passwords"]
    assert number(mail["time limits"]) == transport.TIMEOUT_SECONDS
    lives = (
        outbox.LINK_LIFE // outbox.MINUTE,
        outbox.NOTICE_LIFE // outbox.MINUTE,
        outbox.LONGEST_PAUSE // outbox.MINUTE,
    )
    assert lives == (24 * 60, 72 * 60, 60)
    assert "every hour; a mail with a link for a day, others for three" in mail["when it fails"]
    assert {int(text) for text in re.findall(r"(\d+)s", stolen["time limits"])} == {int(breached.WAIT_SECONDS)}


def test_how_many_rows_are_purged_at_once_is_as_documented():
    rows = {
        row["row"]: row["ends"]
        for row in pages.table(pages.section(pages.page("reference/database.md"), "How long rows live"))
    }
    assert f"{sql.PURGED_AT_ONCE} at a time" in rows["session"]
    assert f"{throttle.counters.CLOSED_AT_ONCE} at a time" in rows["counter of an address or target"]
    assert micros(timedelta(days=7)) == unconfirmed.UNCONFIRMED_MICROS
    assert f"7 days after the last link has run out, {unconfirmed.BATCH} at a time" in rows["user"]


# --- fields ------------------------------------------------------------------------------------------------


def field_rows() -> dict[str, dict[str, str]]:
    rows = pages.table(pages.section(pages.page("reference/fields.md"), "Format of each field"))
    return {row["field"].strip("`"): row for row in rows}


def examples(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _take_until(text: str) -> object:
    app = Flask("tests")
    with app.test_request_context(method="POST", data={"role": "x", "until": text}):
        form = flask_gatehouse.web.console_forms.GrantForm.of_request()
        if not form.validate():
            raise ValueError(form.errors)
        return form.until.at


def _take_next(text: str) -> object:
    found = origin.safe_next(text)
    if found != text:
        raise ValueError(text)
    return found


RULES = passwords.PasswordRules(settings.Settings().password_min, frozenset({"gatehouse"}))
VALIDATORS = {
    "username": (users.require_name, InvalidName),
    "password": (lambda text: RULES.require(text, "alice"), WeakPassword),
    "email": (users.require_email, InvalidEmail),
    "reason": (lambda text: acts.require_reason(text, is_required=True), ValueError),
    "until": (_take_until, ValueError),
    "next": (_take_next, ValueError),
}


def test_v2_1_1_the_documented_examples_of_each_field_are_taken_and_refused():
    for name, (validate, error) in VALIDATORS.items():
        row = field_rows()[name]
        for text in examples(row["taken"]):
            validate(text)
        for text in examples(row["refused"]):
            with pytest.raises(error):
                validate(text)
    assert "3 to 80" in field_rows()["username"]["takes"]
    assert (users.NAME_MIN, users.NAME_MAX) == (3, 80)
    assert f"{RULES.shortest} to {passwords.rules.MAX_LENGTH} characters" in field_rows()["password"]["takes"]
    assert f"up to {users.EMAIL_MAX} characters" in field_rows()["email"]["takes"]
    assert f"up to {acts.REASON_MAX} characters" in field_rows()["reason"]["takes"]


def test_v2_1_1_every_field_of_a_page_is_documented():
    web = flask_gatehouse.web
    held = [*vars(web.forms).values(), *vars(web.console_forms).values(), *vars(web.factor_forms).values()]
    made = {form for form in held if inspect.isclass(form) and issubclass(form, web.forms.GatehouseForm)}
    with Flask("tests").test_request_context():
        names = {name for form in made for name in form()._fields}
    documented = set(field_rows())
    in_pages = set(pages.code_words(pages.section(pages.page("reference/pages.md"), "Pages")))
    assert names - documented - in_pages == set()


@pytest.mark.parametrize(
    "new, current, field",
    [
        (register.NewUser("correcthorse", "CorrectHorse"), None, "password"),
        (register.NewUser("alice", "horse@example.org", "horse@example.org"), None, "password"),
        (register.NewUser("alice", "correcthorse", "correcthorse@example.org"), None, "password"),
    ],
)
def test_v2_1_2_a_password_unlike_its_user_is_demanded_as_documented(new, current, field, bare_app):
    held = bare_app.extensions["gatehouse"].services(bare_app)
    bare_app.extensions["gatehouse"].prepare_database(bare_app)
    with pytest.raises(WeakPassword) as refused:
        register.create(held, new, [], CLI)
    assert refused.value.field == field


def test_v2_1_2_a_grant_that_has_ended_already_is_refused_as_documented(bare_app):
    extension = bare_app.extensions["gatehouse"]
    extension.prepare_database(bare_app)
    held = extension.services(bare_app)
    created = register.create(held, register.NewUser("alice", "correct horse battery"), [], CLI)
    act = Act(CLI, None, "a try")
    outcome = administer.grant(held, act, created.id, "admin", held.clock.now() - 1)
    assert isinstance(outcome, Refused)
    assert outcome.field == "until"


def test_v6_1_2_the_documented_words_that_are_no_password_are_refused(bare_app):
    rules_of_app = bare_app.extensions["gatehouse"].services(bare_app).password_rules
    shown = pages.code_words(pages.section(pages.page("reference/fields.md"), "Words that are no password"))
    for word in shown:
        with pytest.raises(WeakPassword):
            rules_of_app.require(word, "alice")
    assert 20_000 <= len(passwords.rules.common_passwords()) < 25_000


def test_v6_1_2_v6_2_11_words_of_the_site_are_no_password_nor_what_is_easily_made_of_them(make_app):
    app = make_app(GATEHOUSE_PASSWORD_WORDS="Acme-Portal, Zürichsee")
    rules_of_app = app.extensions["gatehouse"].services(app).password_rules
    for word in ("acme-portal", "ACME-Portal2025!", "Zu\u0308richsee", "zürichsee1"):
        with pytest.raises(WeakPassword):
            rules_of_app.require(word, "alice")
    rules_of_app.require("acme-portal is where I work", "alice")
    assert "GATEHOUSE_PASSWORD_WORDS" in pages.page("reference/fields.md")


# --- events, keys, tables ----------------------------------------------------------------------------------


def test_v16_1_1_event_catalogue_is_complete():
    listed = {row["kind"].strip("`") for row in pages.table(FROM_CODE.events_table())}
    assert listed == set(audit.KINDS)
    recorded = {
        text for text in first_arguments(r"(Event|record|_record|record_refusal)$") if text in listed or "." in text
    }
    assert recorded == listed


def test_v16_1_1_v16_2_3_every_logger_is_in_the_inventory():
    listed = set(pages.code_words(pages.section(pages.page("reference/logs.md"), "What is logged where")))
    used = first_arguments(r"getLogger$")
    assert used
    assert used - listed == set()
    assert first_arguments(r"Handler$") == set()
    text = pages.page("reference/logs.md")
    assert f"every {audit.EMIT_EVERY} rows" in text
    assert micros(timedelta(hours=1)) == audit.EMIT_AFTER
    assert f"up to {logs.TEXT_MAX} characters" in text
    assert f"last {logs.TRACE_MAX} characters" in text


LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def test_v16_1_1_v16_2_3_every_line_of_the_log_is_in_the_inventory_with_its_level():
    rows = pages.table(pages.section(pages.page("reference/logs.md"), "What is logged where"))
    listed = {tuple(row["where"].removeprefix("logger ").split(", ")) for row in rows if "logger" in row["where"]}
    found = set()
    for module in modules():
        named = re.search(r"^log = logging\.getLogger\(\"([\w.]+)\"\)", module.text, re.MULTILINE)
        levels = {name.removeprefix("log.") for name, _ in calls(module.tree) if name.startswith("log.")} & LEVELS
        found |= {(f"`{named[1]}`", level.upper()) for level in levels if named}
    assert found == listed


def test_v16_1_1_every_column_of_an_event_is_documented():
    rows = pages.table(pages.section(pages.page("reference/events.md"), "The row"))
    listed = {name for row in rows for name in examples(row["column"])}
    assert listed == {column.name for column in schema.event.columns}


def test_v14_1_1_every_column_has_a_class():
    for name, found in schema.metadata.tables.items():
        for column in found.columns:
            assert FROM_CODE.class_of(name, column.name)
    with pytest.raises(LookupError):
        FROM_CODE.class_of("gatehouse_user", "a_column_nobody_classified")


def test_v14_1_2_63b_5_3_1_every_class_says_how_it_is_kept():
    rows = pages.table(pages.section(pages.page("reference/database.md"), "What each class is given"))
    assert {row["class"] for row in rows} == set(FROM_CODE.COLUMN_CLASSES)
    assert all(all(row.values()) for row in rows)


def test_63b_2_4_2_1_what_is_kept_of_a_person_and_for_how_long_is_told_with_a_text_for_users():
    page = pages.page("howto/privacy.md")
    rows = {row["table"].strip("`"): row for row in pages.table(pages.section(page, "What Gatehouse keeps"))}
    personal = {
        name
        for name, found in schema.metadata.tables.items()
        if any(FROM_CODE.class_of(name, column.name) == "personal" for column in found.columns)
    }
    assert rows.keys() == personal
    assert all(all(row.values()) for row in rows.values())
    hours = f"{settings.Settings().session_absolute // timedelta(hours=1)} hours"
    days = f"{outbox.NOTICE_LIFE // (24 * 60 * outbox.MINUTE)} days"
    assert f"{tokens.VERIFY_MICROS // (60 * tokens.MINUTE)} hours" in rows["gatehouse_link"]["until"]
    assert f"{throttle.rules.LOGIN.window // tokens.MINUTE} minutes" in rows["gatehouse_counter"]["until"]
    (text,) = (" ".join(block.text.split()) for block in pages.blocks(page, "text"))
    assert hours in text
    assert hours in rows["gatehouse_session"]["until"]
    assert days in text
    assert days in rows["gatehouse_mail"]["until"]
    assert f"{devices.LIFE_SECONDS // 86400} days" in text


def key_rows(heading: str) -> list[dict[str, str]]:
    return pages.table(pages.section(pages.page("reference/keys.md"), heading))


def test_v11_1_1_every_purpose_of_the_key_ring_is_documented():
    listed = {row["purpose"].strip("`") for row in key_rows("Keys made from the root secret")}
    assert first_arguments(r"(^|\.|_)(keys|self)\.(keys|macs?|verify|digest)$|^Sealer$") == listed == PURPOSES.keys()


def test_v13_1_4_every_secret_setting_has_an_owner_and_a_schedule():
    rows = key_rows("Secrets you keep")
    secret = {row["setting"].strip("`") for row in pages.table(FROM_CODE.settings_table()) if "secret" in row["takes"]}
    assert secret <= {name for row in rows for name in examples(row["setting"])}
    assert all(row["rotate"] and row["what a thief could do"] for row in rows)
    assert "owns all of them" in " ".join(pages.page("reference/keys.md").split())


def test_v11_1_4_every_algorithm_has_a_plan_for_its_end():
    rows = key_rows("Replacing an algorithm")
    assert all(all(row.values()) for row in rows)
    text = pages.section(pages.page("reference/keys.md"), "Replacing an algorithm")
    assert "quantum" in text
    assert re.search(r"due by the end\s+of 20\d\d", text)


CRYPTO = (
    "hashlib",
    "hmac",
    "secrets",
    "argon2",
    "itsdangerous",
    "cryptography",
    "werkzeug.security",
    "nacl",
    "webauthn",
    "jwt",
)


def test_v11_1_2_v11_1_3_every_use_of_cryptography_is_in_the_inventory():
    listed = {
        row["module"].strip("`"): set(examples(row["uses"])) for row in key_rows("Where the code uses cryptography")
    }
    used: dict[str, set[str]] = {}
    for module in modules():
        for name, _ in imports(module.tree):
            found = next((word for word in CRYPTO if name == word or name.startswith(f"{word}.")), None)
            if found and not name.startswith("itsdangerous.BadSignature"):
                used.setdefault(module.path, set()).add(found)
    assert used == listed


def test_v13_1_1_the_package_speaks_to_nothing_but_its_database_and_the_mail_server():
    clients = ("urllib.request", "http.client", "requests", "httpx", "smtplib", "socket", "ssl", "ftplib", "asyncio")
    found = [
        f"{module.path}: {name}"
        for module in modules()
        for name, _ in imports(module.tree)
        if any(name == client or name.startswith(f"{client}.") for client in clients)
    ]
    mail = [f"domain/mail/transport.py: {name}" for name in ("smtplib", "ssl")]
    lists = [f"domain/passwords/breached.py: {name}" for name in ("http.client", "urllib.request")]
    assert sorted(found) == ["demo/command.py: socket", *mail, *lists]  # the demo listens


# --- pages and Python names --------------------------------------------------------------------------------


def test_v8_1_1_every_page_and_what_it_needs_is_documented(bare_app):
    rows = pages.table(pages.section(pages.page("reference/pages.md"), "Pages"))
    documented = {(row["page"].strip("`"), frozenset(row["methods"].split(", "))): row["needs"] for row in rows}
    found = {}
    for row in bare_app.extensions["gatehouse"].route_table(bare_app):
        if row.endpoint.startswith("gatehouse."):
            url = re.sub(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>", lambda match: f"<{match[1]}>", row.rule)
            found[url.replace("<user_id>", "<id>"), frozenset(row.methods)] = row.requirement_text
    assert found == documented


def test_every_permission_of_ours_is_documented():
    listed = {row["permission"].strip("`") for row in pages.table(FROM_CODE.permissions_table())}
    assert listed == set(BUILT_IN)


def test_every_public_name_is_documented():
    text = pages.page("reference/python.md")
    assert [name for name in flask_gatehouse.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_every_command_is_documented():
    text = FROM_CODE.commands_list()
    for command in (
        "gatehouse demo",
        "gatehouse init",
        "gatehouse check",
        "gatehouse audit verify [FILES]...",
        "gatehouse routes",
    ):
        assert f"`{command}`" in text


def test_the_lives_of_links_and_temporary_passwords_are_as_documented():
    rows = {row["secret"]: row for row in key_rows("Secrets made for others")}
    minutes = {tokens.life_of(profile) // tokens.MINUTE for profile in ("default", "strict")}
    assert {int(found) for found in re.findall(r"\d+", rows["one-time link"]["lives"])} == minutes
    hours = number(rows["link that confirms an address"]["lives"])
    assert timedelta(hours=hours) == timedelta(microseconds=tokens.VERIFY_MICROS)
    hours = number(rows["temporary password"]["lives"])
    assert timedelta(hours=hours) == timedelta(microseconds=reset_password.TEMPORARY_MICROS)
    assert timedelta(days=31).total_seconds() == guest.GUEST_SECONDS
