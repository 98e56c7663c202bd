"""`gatehouse audit export` and the check of its files: offline, as one chain with the database, whole or not there."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from flask_gatehouse.domain.audit import Checked, Event, Finding, verify_files, write_whole
from flask_gatehouse.kernel.clock import as_text
from flask_gatehouse.kernel.errors import FileUnusableError
from flask_gatehouse.kernel.identity import SYSTEM
from flask_gatehouse.kernel.keys import KeyRing
from flask_gatehouse.kernel.schema import event
from tests.cli.conftest import APP, PROGRAM, SAFE, Commands
from tests.support.apps import SECRET
from tests.support.processes import clean_environment

pytestmark = pytest.mark.usefixtures("database_url")

DAY = 86_400_000_000
LONG_AGO = 1_600_000_000_000_000
OTHER = "the secret of another app, 32 characters"


def add(run, count, day=0):
    """Append events of some day long ago."""
    with run.services.database.unit() as connection:
        events = [Event("logout", SYSTEM, detail={"number": number}) for number in range(count)]
        run.services.audit.append(connection, events, LONG_AGO + day * DAY)


def day(number):
    """Return the beginning of a day as an option's value."""
    return as_text(LONG_AGO + number * DAY)


@pytest.fixture
def days(run):
    """Return a runner of commands on a log of three days with ten events each."""
    for number in range(3):
        add(run, 10, number)
    return run


def lines(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def disagrees(run, *arguments):
    """Verify, which must find something; return what, as JSON."""
    result = run("audit", "verify", *arguments, "--json")
    assert result.exit_code == 1, result.output
    return json.loads(result.stdout)


# --- the file ----------------------------------------------------------------------------------------------


def test_rule_27_v16_4_3_an_export_holds_a_first_line_every_row_and_a_last_line(days):
    assert days.json("audit", "export", "log.jsonl") == {"file": "log.jsonl", "first": 1, "last": 30, "rows": 30}
    first, *rows, last = lines("log.jsonl")
    assert (first["file"], first["version"], first["first"]) == ("gatehouse audit export", 1, 1)
    assert first["previous"] == "00" * 32
    assert [row["id"] for row in rows] == list(range(1, 31))
    assert (last["head"], last["count"]) == (days.json("audit", "verify")["head"], 30)
    assert days.ok("audit", "export", "-").splitlines()[1:-1] == Path("log.jsonl").read_text().splitlines()[1:-1]


def test_rule_30_v16_4_2_an_export_is_readable_by_its_owner_alone_and_replaces_nothing(days):
    days.ok("audit", "export", "log.jsonl")
    assert stat.S_IMODE(Path("log.jsonl").stat().st_mode) == 0o600
    before = Path("log.jsonl").read_bytes()
    Path("nowhere").symlink_to("missing")
    for taken in ("log.jsonl", "nowhere"):
        assert "name another file" in days.misused("audit", "export", taken)
    assert Path("log.jsonl").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir() if path.suffix in {".jsonl", ".part"}) == ["log.jsonl"]


def test_an_export_is_whole_or_not_there(tmp_path):
    def pieces():
        yield b"one"
        raise OSError(28, "No space left on device")

    with pytest.raises(FileUnusableError, match="No space"):
        write_whole(tmp_path / "log.jsonl", pieces())
    assert list(tmp_path.glob("*.jsonl*")) + list(tmp_path.glob(".*.part")) == []
    (tmp_path / "log.jsonl").write_text("mine")
    with pytest.raises(FileUnusableError, match="File exists"):
        write_whole(tmp_path / "log.jsonl", iter([b"one"]))
    assert (tmp_path / "log.jsonl").read_text() == "mine"


def test_a_stretch_is_chosen_by_time(days):
    told = days.json("audit", "export", "b.jsonl", "--since", day(1), "--until", day(2))
    assert (told["first"], told["last"]) == (11, 20)
    days.ok("audit", "verify", "b.jsonl")
    assert "no events" in days.refused("audit", "export", "c.jsonl", "--since", day(9))
    assert "no events" in days.refused("audit", "export", "c.jsonl", "--until", day(0))
    assert not Path("c.jsonl").exists()


def test_filters_do_not_apply_to_an_export_and_its_help_says_so(run):
    for option in (("--user", "alice"), ("--event", "logout"), ("--address", "192.0.2.1")):
        assert "No such option" in run.misused("audit", "export", "x.jsonl", *option)
    assert "no choice of user or kind" in " ".join(run.ok("audit", "export", "--help").split())


def test_rule_27_a_log_that_does_not_agree_is_not_blessed_by_an_export(days):
    with days.services.database.unit() as connection:
        connection.execute(update(event).where(event.c.id == 25).values(actor="somebody else"))
    assert "row 25" in days.refused("audit", "export", "log.jsonl", "--until", day(1))
    assert "row 25" in days.refused("audit", "export", "log.jsonl", "--until", day(1), "--delete")
    assert not Path("log.jsonl").exists()
    assert len(days.json("audit", "list")) == 30


# --- its check ---------------------------------------------------------------------------------------------


def test_rule_27_v16_4_2_a_file_is_checked_without_app_database_and_secret(days, program, tmp_path):
    days.ok("audit", "export", "log.jsonl")
    head = days.json("audit", "verify")["head"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "log.jsonl").write_bytes(Path("log.jsonl").read_bytes())
    told = json.loads(program("audit", "verify", "elsewhere/log.jsonl", "--json").stdout)
    assert told == {"agrees": True, "rows": 30, "first": 1, "macs": "not checked", "head": head}
    assert "MACs were not" in program("audit", "verify", "elsewhere/log.jsonl").stdout
    assert program("audit", "verify", "elsewhere/log.jsonl", "--head", head).returncode == 0
    assert program("audit", "verify", "elsewhere/log.jsonl", "--head", f"30:{'00' * 32}").returncode == 1
    secret = {"GATEHOUSE_SECRET_KEY": SECRET}
    assert (
        json.loads(program("audit", "verify", "elsewhere/log.jsonl", "--json", env=secret).stdout)["macs"] == "checked"
    )
    rotated = verify_files([Path("log.jsonl")], keys=KeyRing(OTHER, (SECRET,)))
    assert isinstance(rotated, Checked)
    foreign = program("audit", "verify", "elsewhere/log.jsonl", env={"GATEHOUSE_SECRET_KEY": OTHER})
    assert (foreign.returncode, "not written by this key ring" in foreign.stdout) == (1, True)
    assert program("audit", "verify", "missing.jsonl").returncode == 2
    assert program("audit", "verify", "elsewhere/log.jsonl", "--head", "x").returncode == 2


def test_a_broken_app_that_nobody_named_does_not_keep_a_file_from_being_checked(days, program, tmp_path):
    days.ok("audit", "export", "log.jsonl")
    (tmp_path / "app.py").write_text("import no_such_module\n")
    assert program("audit", "verify", "log.jsonl").returncode == 0
    assert program("--app", "app", "audit", "verify", "log.jsonl").returncode == 2


def test_rule_27_files_that_follow_each_other_are_one_chain(days):
    days.ok("audit", "export", "a.jsonl", "--until", day(1))
    days.ok("audit", "export", "b.jsonl", "--since", day(1), "--until", day(2))
    days.ok("audit", "export", "c.jsonl", "--since", day(2))
    head = days.json("audit", "verify")["head"]
    told = days.json("audit", "verify", "c.jsonl", "a.jsonl", "b.jsonl")
    assert (told["rows"], told["first"], told["head"], told["macs"]) == (30, 1, head, "checked")
    assert days.json("audit", "verify", "a.jsonl", "b.jsonl", "--with-database")["rows"] == 30
    assert disagrees(days, "a.jsonl", "c.jsonl")["finding"] == "c.jsonl: it starts at row 21: rows 11 to 20 are missing"
    assert "holds already" in disagrees(days, "a.jsonl", "a.jsonl")["finding"]
    assert disagrees(days, "a.jsonl", "--head", head)["row"] == 11
    assert "before the first row" in days.misused("audit", "verify", "b.jsonl", "--head", f"3:{'00' * 32}")


def test_rule_27_a_file_of_another_log_does_not_follow(days, make_app):
    days.ok("audit", "export", "a.jsonl", "--until", day(1))
    days.ok("audit", "export", "b.jsonl", "--since", day(1))
    text = Path("b.jsonl").read_text()
    previous = lines("b.jsonl")[0]["previous"]
    Path("b.jsonl").write_text(text.replace(previous, "ab" * 32))
    assert disagrees(days, "a.jsonl", "b.jsonl")["row"] == 11
    assert disagrees(days, "b.jsonl")["row"] == 11


KEYS = KeyRing(SECRET)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@settings(max_examples=200)
@given(data=st.data())
def test_rule_27_v16_4_2_any_change_of_a_file_is_found(days, data):
    path = Path("log.jsonl")
    if not path.exists():
        days.ok("audit", "export", "log.jsonl")
    whole = path.read_bytes().splitlines(keepends=True)
    changed, row = data.draw(tampered(whole))
    other = Path("tampered.jsonl")
    other.write_bytes(b"".join(changed))
    finding = verify_files([other], keys=KEYS)
    assert isinstance(finding, Finding)
    assert row is None or finding.event_id == row
    assert finding.text.startswith("tampered.jsonl: ")
    assert isinstance(verify_files([path], keys=KEYS), Checked)


@st.composite
def tampered(draw, whole):
    """Return the lines of a file after a change, and the row that should be named where that is sure."""
    rows = st.integers(1, len(whole) - 2)
    act = draw(st.sampled_from(["flip", "delete", "double", "swap", "cut", "add", "first or last"]))
    found, one = list(whole), draw(rows)
    if act == "flip":
        place = draw(st.integers(0, len(whole[one]) - 2))
        byte = draw(st.integers(0, 255).filter(lambda value: value not in {whole[one][place], 10}))
        found[one] = whole[one][:place] + bytes([byte]) + whole[one][place + 1 :]
        is_case_of_hex = found[one].lower() == whole[one].lower()
        return (found, one) if not is_case_of_hex else (whole[:-1], None)
    if act == "delete":
        del found[one]
        return found, one
    if act == "double":
        found.insert(one, found[one])
        return found, None
    if act == "swap":
        other = draw(rows.filter(lambda number: number != one))
        found[one], found[other] = found[other], found[one]
        return found, min(one, other)
    if act == "cut":
        return whole[:one], None
    if act == "add":
        return [*whole, draw(st.sampled_from([b"\n", b"{}\n", whole[1], whole[-1], b"x"]))], None
    edge = draw(st.sampled_from([0, len(whole) - 1]))
    place = draw(st.integers(0, len(whole[edge]) - 2))
    found[edge] = whole[edge][:place] + b"~" + whole[edge][place + 1 :]
    return found, None


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"{}\n", b"[]\n", b"null\n", b"\xff\xfe\n", b'{"file":"gatehouse audit export","version":2}\n'],
)
def test_what_is_no_export_is_found_to_be_none(run, content):
    Path("x.jsonl").write_bytes(content)
    assert disagrees(run, "x.jsonl")["finding"].startswith("x.jsonl: the first line is none of an export")


def test_a_file_is_verified_as_it_comes_out_of_a_pipe(days, program, tmp_path):
    days.ok("audit", "export", "log.jsonl")
    done = program("audit", "verify", "/dev/stdin", stdin=Path("log.jsonl").read_text())
    assert (done.returncode, "30 rows" in done.stdout) == (0, True)


# --- deleting ----------------------------------------------------------------------------------------------


def test_rule_27_v14_2_7_what_a_file_holds_leaves_the_database_and_both_are_one_chain(days):
    told = days.json("audit", "export", "a.jsonl", "--until", day(2), "--delete", "--reason", "older than a year")
    assert (told["first"], told["last"], told["rows"], told["deleted"]) == (1, 20, 20, 20)
    assert days.json("audit", "verify")["rows"] == 11
    newest, *rest = days.json("audit", "list")
    assert [row["id"] for row in rest] == list(range(30, 20, -1))
    assert (newest["kind"], newest["actor"]) == ("audit.sealed", "cli")
    expected = {"first": 1, "last": 20, "file": "a.jsonl", "reason": "older than a year"}
    assert expected.items() <= newest["detail"].items()
    assert days.json("audit", "verify", "a.jsonl", "--with-database")["rows"] == 31
    add(days, 5, 3)
    days.ok("audit", "export", "b.jsonl", "--until", day(3), "--delete")
    assert days.json("audit", "verify", "b.jsonl", "a.jsonl", "--with-database")["rows"] == 37
    assert "rows 1 to 20" not in days.ok("audit", "verify", "b.jsonl")
    assert "none of the files holds them" in disagrees(days, "a.jsonl", "--with-database")["finding"]


def test_rule_27_a_head_from_before_is_found_in_the_file_once_its_row_is_gone(days):
    head = days.json("audit", "verify")["head"]
    middle = f"15:{lines_of_export(days)[15]['hash']}"
    days.ok("audit", "export", "a.jsonl", "--until", day(2), "--delete")
    assert days.json("audit", "verify", "--head", head)["rows"] == 11
    assert "exported file" in days.misused("audit", "verify", "--head", middle)
    for known in (head, middle):
        assert days.json("audit", "verify", "a.jsonl", "--with-database", "--head", known)["rows"] == 31
    assert disagrees(days, "a.jsonl", "--head", f"15:{'00' * 32}")["row"] == 15
    end = f"20:{lines('a.jsonl')[20]['hash']}"
    assert days.json("audit", "verify", "--head", end)["rows"] == 11
    assert disagrees(days, "--head", f"20:{'00' * 32}")["row"] == 20


def lines_of_export(run):
    run.ok("audit", "export", "all.jsonl")
    return lines("all.jsonl")


def test_rule_27_a_file_that_is_not_the_one_of_the_database_is_found(days):
    days.ok("audit", "export", "a.jsonl", "--until", day(1))
    days.ok("audit", "export", "b.jsonl", "--until", day(2), "--delete")
    assert "none of the files" in disagrees(days, "a.jsonl", "--with-database")["finding"]
    with days.services.database.unit() as connection:
        days.services.audit.append(connection, [Event("logout", SYSTEM)], LONG_AGO)
    assert days.json("audit", "verify", "b.jsonl", "--with-database")["rows"] == 32


def test_rule_27_the_database_vouches_for_files_whose_secret_was_replaced(days, make_app):
    days.ok("audit", "export", "a.jsonl", "--until", day(2), "--delete")
    add(Commands(make_app(SECRET_KEY=OTHER, SECRET_KEY_FALLBACKS=[SECRET])), 1, 4)
    rotated = Commands(make_app(SECRET_KEY=OTHER))
    assert rotated.json("audit", "verify")["rows"] == 12
    assert "--with-database" in disagrees(rotated, "a.jsonl")["finding"]
    assert rotated.json("audit", "verify", "a.jsonl", "--with-database")["rows"] == 32
    Path("a.jsonl").write_text(Path("a.jsonl").read_text().replace('"app"', '"cli"').replace("system", "cystem", 1))
    assert disagrees(rotated, "a.jsonl", "--with-database")["row"] == 1


@pytest.fixture
def fork(make_app, tmp_path):
    """Return a runner on another database of the same secret, as a copy of a site has: three days, other events."""
    other = Commands(make_app(SECRET_KEY=SECRET, GATEHOUSE_DATABASE_URL=f"sqlite:///{tmp_path / 'fork.sqlite3'}"))
    other.ok("db", "upgrade")
    for number in range(3):
        with other.services.database.unit() as connection:
            events = [Event("user.created", SYSTEM, number)] * 10
            other.services.audit.append(connection, events, LONG_AGO + number * DAY)
    return other


def test_rule_27_a_genuine_file_of_another_database_deletes_nothing_and_does_not_agree(days, fork):
    fork.ok("audit", "export", "fork.jsonl", "--until", day(2))
    days.ok("audit", "verify", "fork.jsonl")
    assert "row 20 is not the one of the file" in days.refused(
        "audit", "export", "fork.jsonl", "--until", day(2), "--delete"
    )
    assert len(days.json("audit", "list")) == 30
    finding = disagrees(days, "fork.jsonl", "--with-database")
    assert finding == {"agrees": False, "row": 20, "finding": "row 20 of the files is not the one of the database"}
    days.ok("audit", "export", "a.jsonl", "--until", day(2), "--delete")
    assert disagrees(days, "fork.jsonl", "--with-database")["row"] == 20


@pytest.mark.parametrize("last", ['{"head":"29:HASH","count":30,', '{"head":"30:HASH","count":29,'])
def test_rule_27_a_last_line_that_names_something_else_is_found_without_a_secret(days, last):
    days.ok("audit", "export", "log.jsonl")
    *whole, end = Path("log.jsonl").read_text().splitlines(keepends=True)
    hash_ = json.loads(end)["head"].partition(":")[2]
    changed = last.replace("HASH", hash_) + end[end.index('"mac"') :]
    Path("log.jsonl").write_text("".join([*whole, changed]))
    finding = verify_files([Path("log.jsonl")])
    assert isinstance(finding, Finding)
    assert "the last line names" in finding.text


def test_a_second_run_finds_nothing_left_to_do(days):
    days.ok("audit", "export", "a.jsonl", "--until", day(1), "--delete")
    before = days.json("audit", "verify")["head"]
    assert days.json("audit", "export", "a.jsonl", "--until", day(1), "--delete")["deleted"] == 0
    assert days.json("audit", "verify")["head"] == before


def test_a_file_that_is_there_already_must_be_the_one_to_delete_by(days):
    days.ok("audit", "export", "later.jsonl", "--until", day(2))
    days.ok("audit", "export", "middle.jsonl", "--since", day(1), "--until", day(2))
    Path("mine.jsonl").write_text("mine")
    refusals = {
        "later.jsonl": "not so old",
        "middle.jsonl": "begins with row 11",
        "mine.jsonl": "the first line is none of an export",
    }
    for file, text in refusals.items():
        until = day(1) if file == "later.jsonl" else day(2)
        assert text in days.refused("audit", "export", file, "--until", until, "--delete")
    assert len(days.json("audit", "list")) == 30
    assert Path("mine.jsonl").read_text() == "mine"
    days.ok("audit", "export", "later.jsonl", "--until", day(2), "--delete")
    assert len(days.json("audit", "list")) == 11


def test_rule_27_a_forged_file_deletes_nothing(days):
    days.ok("audit", "export", "a.jsonl", "--until", day(2))
    forged = Path("a.jsonl").read_text().replace('{\\"number\\":3}', '{\\"number\\":4}', 1)
    Path("a.jsonl").write_text(forged)
    assert "row 4" in days.refused("audit", "export", "a.jsonl", "--until", day(2), "--delete")
    assert len(days.json("audit", "list")) == 30


@pytest.mark.parametrize(
    "options", [(), ("--since", day(0), "--until", day(1)), ("--until", "tomorrow")], ids=["no end", "since", "no time"]
)
def test_deleting_needs_an_end_and_begins_with_the_oldest(days, options):
    days.misused("audit", "export", "a.jsonl", "--delete", *options)
    days.misused("audit", "export", "-", "--until", day(1), "--delete")
    assert len(days.json("audit", "list")) == 30


def test_what_is_deleted_lies_in_the_past(days):
    assert "in the past" in days.refused("audit", "export", "a.jsonl", "--until", "2999-01-01T00:00:00Z", "--delete")


def test_rule_27_a_log_with_a_head_that_somebody_can_explain_is_sealed_with_that_head(days):
    with days.services.database.unit() as connection:
        careless = type(days.services.audit)(KeyRing(OTHER))
        careless.append(connection, [Event("logout", SYSTEM)], LONG_AGO)
    with days.services.database.unit() as connection:
        days.services.audit.append(connection, [Event("logout", SYSTEM)], LONG_AGO + 4 * DAY)
    assert "bore no MAC" in days.refused("audit", "export", "a.jsonl", "--until", day(2), "--delete")
    finding = disagrees(days)["finding"]
    known = finding.rpartition(" ")[2]
    days.ok("audit", "export", "a.jsonl", "--until", day(2), "--delete", "--head", known)
    assert days.json("audit", "verify", "--head", known)["rows"] == 15
    days.misused("audit", "export", "b.jsonl", "--head", "x")


def test_a_folder_that_takes_no_file_is_told_as_such(days):
    assert "missing/log.jsonl cannot be written: No such file" in days.refused("audit", "export", "missing/log.jsonl")


def test_a_reader_that_goes_away_is_told_as_such(days, program, tmp_path):
    (tmp_path / "app.py").write_text(APP.format(instance=tmp_path / "instance"), encoding="utf-8")
    url = days.services.database.engine.url.render_as_string(hide_password=False)
    env = clean_environment({**SAFE, "GATEHOUSE_DATABASE_URL": url})
    add(days, 20_000, 3)
    command = f"{PROGRAM} audit export - | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.startswith('{"file":"gatehouse audit export"')
    assert done.stderr.splitlines()[0] == "Error: standard output cannot be written: Broken pipe"
