"""What may not stand in the package at all, found by reading its syntax trees.

A test that begins with `test_v` shows the requirement of OWASP ASVS 5.0 whose number follows.
"""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator

import pytest

from tests.architecture.source import calls, dotted, findings, imports, is_found, modules, templates
from tests.support import SOURCE

SHELLS = re.compile(r"os\.(system|popen|exec\w*|spawn\w*|posix_spawn\w*)|subprocess\.\w+|pty\.spawn")
DYNAMIC = {"eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "code.interact"}
UNSAFE_READERS = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "yaml"}
TEMPLATES_FROM_TEXT = re.compile(r"(.*\.)?(render_template_string|from_string)|jinja2\.Template|string\.Template")
WEAK_HASHES = re.compile(r"(hashlib\.)?(md4|md5|sha1|ripemd160)")
WEAK_CIPHERS = re.compile(r"\b(ECB|PKCS1v15|ARC4|RC4|TripleDES|Blowfish)\b")
RUNS_SQL = {"execute", "executemany", "exec_driver_sql", "executescript", "text"}
SECRET_WORDS = {"secret", "digest", "token", "mac", "signature", "password"}
REGEX_SECONDS = 0.05
HOSTILE_TEXTS = tuple(
    unit * (100_000 // len(unit)) + tail
    for unit in (
        "a",
        "A1",
        "0",
        " ",
        "\t",
        "-",
        "_.",
        "a.",
        "a@",
        "/",
        "//",
        "\\",
        "%2f",
        "=",
        ";a=",
        '"',
        "\u017f",
        "\n",
    )
    for tail in ("", "!", "\x00")
)

# Every place that may use a primitive; all else asks the key ring or the hashing pool.
CRYPTOGRAPHY = {
    "argon2": ("domain/passwords/argon2id.py",),
    "hashlib": (
        "domain/audit/chain.py",
        "domain/audit/segments.py",
        "domain/passwords/breached.py",
        "domain/passwords/hashing.py",
        "http/guest.py",
        "kernel/keys.py",
    ),
    "hmac": (
        "domain/factors/totp.py",
        "domain/passwords/argon2id.py",
        "domain/passwords/hashing.py",
        "kernel/keys.py",
        "web/login.py",
    ),
    "itsdangerous": ("http/guest.py",),
    "secrets": (
        "domain/factors/recovery_codes.py",
        "flows/reset_password.py",
        "http/asking.py",
        "kernel/keys.py",
        "kernel/sealing.py",
    ),
    "cryptography": ("kernel/sealing.py",),
    "nacl": ("domain/passwords/argon2id.py",),
    "ssl": ("domain/mail/transport.py",),
}
# Every place that speaks to another machine beside the database; who it is stands in a setting.
ASKS_OTHERS = {
    "http.client": ("domain/passwords/breached.py",),
    "smtplib": ("domain/mail/transport.py",),
    "urllib.request": ("domain/passwords/breached.py",),
}
CLIENTS = {"aiohttp", "ftplib", "http.client", "httpx", "requests", "smtplib", "urllib.request", "urllib3"}
DERIVES = re.compile(r"hash_secret_raw|pbkdf2_hmac|hashlib\.scrypt|hazmat\.primitives\.kdf|HKDF|PBKDF2|Scrypt\b")
AEAD = "cryptography.hazmat.primitives.ciphers.aead"
# Lists of stolen passwords hold SHA-1; nothing is protected by it.
LOOKS_UP_SHA1 = ("domain/passwords/breached.py",)
# Statements with names that the file itself holds: connection pragmas, the table of Alembic's revision.
WRITES_OWN_SQL = ("kernel/engine.py", "migrations/__init__.py")
# The demo program is one file that a reader takes in at a glance, its pages included; they are constants.
HOLDS_ITS_PAGES = ("demo/__init__.py",)


def test_v1_2_5_no_operating_system_command_is_run():
    assert findings(shell_commands) == []


def test_v1_3_2_no_code_is_made_from_data():
    assert findings(dynamic_code, except_in=("migrations/",)) == []


def test_v1_3_7_no_template_is_made_from_data():
    assert findings(templates_from_text, except_in=HOLDS_ITS_PAGES) == []


def test_v1_5_2_nothing_is_deserialised_that_could_run():
    assert findings(unsafe_readers) == []


def test_v11_3_1_no_weak_cipher_is_named():
    assert findings(weak_ciphers) == []


def test_v11_4_1_only_approved_hashes_are_used():
    assert findings(weak_hashes, except_in=LOOKS_UP_SHA1) == []


def test_v11_5_1_random_values_come_from_the_operating_system():
    assert findings(weak_randomness) == []


def test_v11_2_4_secrets_are_compared_in_constant_time():
    assert findings(plain_comparisons_of_secrets) == []


def test_v1_2_4_no_statement_is_put_together_from_strings():
    assert findings(sql_from_strings, except_in=WRITES_OWN_SQL) == []


def test_v1_1_2_templates_escape_everything():
    switched_off = re.compile(r"\|\s*safe\b|autoescape\s+false|Markup", re.IGNORECASE)
    assert [path for path, text in templates().items() if switched_off.search(text)] == []
    assert findings(markup) == []


def test_v3_4_3_templates_carry_no_script_or_style_that_the_policy_would_refuse():
    inline = re.compile(
        r"<[^>]*\s(on[a-z]+|style)\s*=|javascript:|<style(?![^>]*nonce)|<script(?![^>]*(nonce|src))", re.IGNORECASE
    )
    assert [path for path, text in templates().items() if inline.search(text)] == []


def test_v1_3_12_no_regular_expression_backtracks_explosively():
    slow = [
        f"{path}: {method} {pattern} in {text[:8]!r}…: {seconds:.3f} s"
        for path, pattern, method in regular_expressions()
        for text in HOSTILE_TEXTS
        if (seconds := _fastest(pattern, method, text)) > REGEX_SECONDS
    ]
    assert slow == []


def test_v11_2_1_63b_2_1_2_1_v15_2_5_cryptography_is_vetted_and_stands_where_it_is_expected():
    used = {
        (name.partition(".")[0], module.path)
        for module in modules()
        for name, _ in imports(module.tree)
        if name.partition(".")[0] in CRYPTOGRAPHY
    }
    assert used == {(name, path) for name, paths in CRYPTOGRAPHY.items() for path in paths}
    hashes = {
        (node.attr, module.path if node.attr != "sha256" else "")
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "hashlib"
    }
    assert hashes == {("sha256", ""), ("sha1", "domain/passwords/breached.py")}  # the form that such lists have


def test_v11_3_5_what_is_encrypted_is_so_by_a_mode_that_authenticates_and_by_no_other():
    told = {name for module in modules() for name, _ in imports(module.tree)}
    used = {name for name in told if name.startswith("cryptography.") and name.rpartition(".")[2][0].isupper()}
    assert used == {"cryptography.exceptions.InvalidTag", "cryptography.hazmat.primitives.ciphers.aead.AESGCM"}
    assert not {name for name in told if name.startswith("cryptography.hazmat") and not name.startswith(AEAD)}


def test_v11_4_4_no_key_is_derived_from_a_password():
    told = {name for module in modules() for name, _ in imports(module.tree)}
    assert not {name for name in told if DERIVES.search(name)}
    used = {dotted(node) for module in modules() for node in ast.walk(module.tree) if isinstance(node, ast.Attribute)}
    assert not {name for name in used if DERIVES.search(name)}
    assert {name for name in told if name.startswith("argon2.") and name.count(".") == 1} == {
        *("argon2.PasswordHasher", "argon2.Type", "argon2.exceptions", "argon2.low_level")
    }


def test_v1_3_6_v13_2_4_no_other_machine_is_asked_but_those_that_a_setting_names():
    found = {
        (client, module.path)
        for module in modules()
        for name, _ in imports(module.tree)
        for client in CLIENTS
        if name == client or name.startswith(f"{client}.")
    }
    assert found == {(name, path) for name, paths in ASKS_OTHERS.items() for path in paths}


def test_v15_3_6_the_script_merges_no_objects_and_names_no_property_by_data():
    script = (SOURCE / "static" / "gatehouse.js").read_text(encoding="utf-8")
    merges = r"__proto__|prototype|Object\.assign|Object\.defineProp|Reflect\.|lodash|jQuery"
    assert re.findall(merges, script) == []
    assert re.findall(r"\w\[[^\]]+\]\s*=[^=]", script) == []


@pytest.mark.parametrize(
    "scanner, code",
    [
        ("shell_commands", "import os\nos.system('ls')"),
        ("shell_commands", "from os import popen as p\np('ls')"),
        ("shell_commands", "import subprocess\nsubprocess.run('ls', shell=True)"),
        ("dynamic_code", "eval(text)"),
        ("dynamic_code", "__import__(name)"),
        ("templates_from_text", "from flask import render_template_string\nrender_template_string(x)"),
        ("templates_from_text", "app.jinja_env.from_string(x)"),
        ("unsafe_readers", "import pickle"),
        ("unsafe_readers", "from yaml import load"),
        ("weak_ciphers", "modes.ECB()"),
        ("weak_hashes", "import hashlib\nhashlib.md5(b'')"),
        ("weak_hashes", "from hashlib import sha1\nhmac.new(key, text, sha1)"),
        ("weak_hashes", "hashlib.new('md5')"),
        ("weak_randomness", "import random"),
        ("weak_randomness", "from random import choice"),
        ("plain_comparisons_of_secrets", "if digest == row.token_digest: pass"),
        ("plain_comparisons_of_secrets", "ok = given != self._secret"),
        ("sql_from_strings", "connection.execute(f'SELECT {name}')"),
        ("sql_from_strings", "text('SELECT ' + name)"),
        ("sql_from_strings", "cursor.execute('SELECT {}'.format(name))"),
        ("markup", "from markupsafe import Markup\nMarkup(name)"),
    ],
)
def test_the_rule_finds_what_it_forbids(scanner, code):
    assert is_found(globals()[scanner], code)


def test_the_rules_leave_the_rest_alone():
    innocent = """
re.compile("a")
hmac.compare_digest(digest, row.token_digest)
select(schema.session).where(schema.session.c.digest == digest)
if field == "token": pass
if token is None: pass
if len(secret) == SECRET_LENGTH: pass
secrets.token_urlsafe(32)
connection.execute(select(user))
hashlib.sha256(text)
"""
    scanners = (shell_commands, dynamic_code, templates_from_text, unsafe_readers, weak_hashes, weak_randomness)
    for scanner in (*scanners, plain_comparisons_of_secrets, sql_from_strings, markup):
        assert not is_found(scanner, innocent)


def shell_commands(tree: ast.AST) -> Iterator[ast.AST]:
    return (node for name, node in calls(tree) if SHELLS.fullmatch(name))


def dynamic_code(tree: ast.AST) -> Iterator[ast.AST]:
    return (node for name, node in calls(tree) if name in DYNAMIC)


def templates_from_text(tree: ast.AST) -> Iterator[ast.AST]:
    return (node for name, node in calls(tree) if TEMPLATES_FROM_TEXT.fullmatch(name))


def unsafe_readers(tree: ast.AST) -> Iterator[ast.AST]:
    return (node for name, node in imports(tree) if name.partition(".")[0] in UNSAFE_READERS)


def weak_ciphers(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if WEAK_CIPHERS.fullmatch(name):
            yield node


def weak_hashes(tree: ast.AST) -> Iterator[ast.AST]:
    for name, node in imports(tree):
        if name.startswith("hashlib.") and WEAK_HASHES.fullmatch(name):
            yield node
    for node in ast.walk(tree):
        is_named = isinstance(node, ast.Attribute) and WEAK_HASHES.fullmatch(dotted(node))
        if is_named or (isinstance(node, ast.Call) and dotted(node.func) == "hashlib.new"):
            yield node


def weak_randomness(tree: ast.AST) -> Iterator[ast.AST]:
    return (node for name, node in imports(tree) if name.split(".")[0] == "random" or name == "numpy.random")


def plain_comparisons_of_secrets(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare) or not any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            continue
        sides = [node.left, *node.comparators]
        is_sql = any(".c." in f".{dotted(side)}" for side in sides)
        is_harmless = any(
            isinstance(side, ast.Constant) or dotted(getattr(side, "func", side)) == "len" for side in sides
        )
        if not is_sql and not is_harmless and any(_names_a_secret(side) for side in sides):
            yield node


def sql_from_strings(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else dotted(node.func)
            if called in RUNS_SQL and _is_put_together(node.args[0]):
                yield node


def markup(tree: ast.AST) -> Iterator[ast.AST]:
    return (node for name, node in calls(tree) if name.rpartition(".")[2] == "Markup")


def regular_expressions() -> Iterator[tuple[str, str, str]]:
    """Return the place, the text and the method of every literal given to `re`: `search`, `fullmatch` …"""
    for module in modules():
        named = {
            id(node.value): target.id
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for name, node in calls(module.tree):
            if not name.startswith("re.") or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            used = _methods_of(named.get(id(node), ""), module.tree) if name == "re.compile" else {name[3:]}
            yield from ((module.path, str(node.args[0].value), method) for method in used or {"search"})


def _methods_of(name: str, tree: ast.AST) -> set[str]:
    attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in attributes if name and dotted(node.value) == name} & {"search", "match", "fullmatch"}


def _names_a_secret(node: ast.AST) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return bool(set(name.lower().split("_")) & SECRET_WORDS)


def _is_put_together(node: ast.AST) -> bool:
    if isinstance(node, ast.JoinedStr | ast.BinOp):
        return True
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format"


def _fastest(pattern: str, method: str, text: str) -> float:
    """Return the processor seconds of the fastest of three runs: noise only ever adds."""
    run = getattr(re.compile(pattern), method if method in {"match", "fullmatch"} else "search")
    fastest = float("inf")
    for _ in range(3):
        started = time.thread_time()
        run(text)
        fastest = min(fastest, time.thread_time() - started)
        if fastest < REGEX_SECONDS:
            break
    return fastest
