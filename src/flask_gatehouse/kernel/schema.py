"""Every table, in one MetaData. One domain module writes each; others may only join.

All instants are microseconds since 1970 (`kernel.clock`). Secrets are never stored, only their digests.
`REVISION` is the newest revision of `migrations/`; a test holds the two together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy import (
    event as sqlalchemy_event,
)

from .errors import SchemaOutdatedError, SetupError

if TYPE_CHECKING:
    from collections.abc import Iterable

REVISION = "0010"
VERSION_TABLE = "gatehouse_version"
PREFIX = "gatehouse_"

ACTIVE, SUSPENDED, CLOSED = "active", "suspended", "closed"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _partial(name: str, column: str, condition: str) -> Index:
    """Return an index of the few rows that are looked for: the others cost it nothing."""
    return Index(name, column, sqlite_where=text(condition), postgresql_where=text(condition))


Name = String(80).with_variant(String(80, collation="C"), "postgresql")
Id = BigInteger().with_variant(Integer, "sqlite")

user = Table(
    "gatehouse_user",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("username", String(80), nullable=False),
    Column("username_key", Name, nullable=False, unique=True),
    Column("email", String(254)),
    Column("state", String(16), nullable=False, default=ACTIVE),
    Column("epoch", Integer, nullable=False, default=0),
    Column("created_at", BigInteger, nullable=False),
    Column("aal", Integer, nullable=False, server_default="1"),
    Column("email_key", String(254)),
    Column("must_verify", Boolean, nullable=False, default=False, server_default=false()),
    *(Column(name, String(254)) for name in ("second_email", "email_before")),
    *(Column(name, BigInteger) for name in ("second_email_at", "email_at", "alarm_at")),
    Index("ix_gatehouse_user_email_key", "email_key", unique=True),
    Index(
        "ix_gatehouse_user_unconfirmed",
        "created_at",
        sqlite_where=text("must_verify = 1"),
        postgresql_where=text("must_verify"),
    ),
    _partial("ix_gatehouse_user_alarm_at", "alarm_at", "alarm_at IS NOT NULL"),
    CheckConstraint("state IN ('active', 'suspended', 'closed')", name="state"),
    sqlite_autoincrement=True,
    comment="users; the id is never reused",
)

user_count = Table(
    "gatehouse_user_count",
    metadata,
    Column("state", String(16), primary_key=True),
    Column("count", BigInteger, nullable=False, default=0),
    comment="how many users are in each state, kept with every change",
)

password = Table(
    "gatehouse_password",
    metadata,
    Column("user_id", Id, ForeignKey("gatehouse_user.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", Text, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("temporary_until", BigInteger),
    Column("compromised_at", BigInteger),
    comment="password digests, apart from the users so that no join of a host app meets them",
)

session = Table(
    "gatehouse_session",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),  # made of the digest: `domain.sessions.row_number`
    Column("public_id", String(32), nullable=False, unique=True),
    Column("digest", LargeBinary(32), nullable=False),
    Column("user_id", Id, ForeignKey("gatehouse_user.id", ondelete="CASCADE"), nullable=False),
    Column("is_pending", Boolean, nullable=False, default=False),
    Column("is_remembered", Boolean, nullable=False, default=False),
    Column("epoch", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("proofs", Text, nullable=False, default=""),
    Column("agent", String(256), nullable=False, default=""),
    Column("address", String(64), nullable=False, default=""),
    Column("data", Text, nullable=False, default=""),
    Index("ix_gatehouse_session_user_id_created_at", "user_id", "created_at"),
    Index("ix_gatehouse_session_expires_at", "expires_at"),
    Index("ix_gatehouse_session_created_at_public_id", "created_at", "public_id"),
    comment="live sessions, each at the first bits of its digest; a revoked one is deleted",
)

role = Table(
    "gatehouse_role",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("aal", Integer, nullable=False, server_default="1"),
    comment="roles made at run time, and what assurance each demands; those declared in code live there only",
)

role_permission = Table(
    "gatehouse_role_permission",
    metadata,
    Column("role", String(80), ForeignKey("gatehouse_role.name", ondelete="CASCADE"), primary_key=True),
    Column("permission", String(120), primary_key=True),
    sqlite_with_rowid=False,
)

grant = Table(
    "gatehouse_grant",
    metadata,
    Column("user_id", Id, ForeignKey("gatehouse_user.id", ondelete="CASCADE"), primary_key=True),
    Column("role", String(80), primary_key=True),
    Column("until_at", BigInteger),
    Column("granted_by", Id),
    Column("granted_at", BigInteger, nullable=False),
    Index("ix_gatehouse_grant_role", "role"),
    _partial("ix_gatehouse_grant_until_at", "until_at", "until_at IS NOT NULL"),
    sqlite_with_rowid=False,
    comment="user holds role, by whom, until when; role names are case-folded",
)

guard = Table(
    "gatehouse_guard",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("user_id", Id),
    Column("at", BigInteger),
    comment="rows that are locked or claimed once: last administrator, first administrator",
)

counter = Table(
    "gatehouse_counter",
    metadata,
    Column("key", String(120), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("total", Integer, nullable=False, default=0),
    Column("ends_at", BigInteger, nullable=False),
    Column("blocked_until", BigInteger, nullable=False, default=0),
    Column("refunded_until", BigInteger, nullable=False, default=0),
    Column("judging", Integer, nullable=False, server_default="0"),
    Column("refused", Integer, nullable=False, server_default="0"),
    Column("purge_at", BigInteger),
    Index("ix_gatehouse_counter_purge_at", "purge_at"),
    _partial("ix_gatehouse_counter_blocked_until", "blocked_until", "blocked_until > 0"),
    _partial("ix_gatehouse_counter_total", "total", "total >= 100"),
    comment="the throttle's counters",
)

device = Table(
    "gatehouse_device",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("digest", LargeBinary(32), nullable=False),
    Column("user_id", Id, ForeignKey("gatehouse_user.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    UniqueConstraint("digest", "user_id"),
    Index("ix_gatehouse_device_user_id", "user_id"),
    sqlite_autoincrement=True,
    comment="known browsers: one that a user has logged in with; only the digest of its cookie is stored",
)

link = Table(
    "gatehouse_link",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("purpose", String(32), nullable=False),
    Column("user_id", Id, ForeignKey("gatehouse_user.id", ondelete="CASCADE"), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("address", String(254), nullable=False, default="", server_default=text("''")),
    Index("ix_gatehouse_link_user_id", "user_id"),
    comment="one-time links; only the digest of the secret is stored",
)

mail = Table(
    "gatehouse_mail",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("template", String(32), nullable=False),
    Column("user_id", Id, ForeignKey("gatehouse_user.id", ondelete="CASCADE")),
    Column("address", String(254), nullable=False),
    Column("detail", Text, nullable=False, default=""),
    Column("due_at", BigInteger, nullable=False),
    Column("sending_until", BigInteger, nullable=False, default=0),
    Column("tries", Integer, nullable=False, default=0),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_gatehouse_mail_user_id", "user_id"),
    Index("ix_gatehouse_mail_due_at", "due_at"),
    sqlite_autoincrement=True,
    comment="mail that waits to be sent; no secret is in it: a link is made when its mail is sent",
)

totp = Table(
    "gatehouse_totp",
    metadata,
    Column("user_id", Id, ForeignKey("gatehouse_user.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("key_id", String(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Index("ix_gatehouse_totp_key_id", "key_id"),
    comment="TOTP: the sealed seed, and the newest time step that was used",
)

recovery_code = Table(
    "gatehouse_recovery_code",
    metadata,
    Column("user_id", Id, ForeignKey("gatehouse_user.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    sqlite_with_rowid=False,
    comment="recovery codes: only digests; one that was used stays, so that it is known to have been",
)

challenge = Table(
    "gatehouse_challenge",
    metadata,
    Column("session_id", String(32), primary_key=True),
    Column("purpose", String(32), primary_key=True),
    Column("user_id", Id, ForeignKey("gatehouse_user.id", ondelete="CASCADE"), nullable=False),
    Column("key_id", String(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("wrong", Integer, nullable=False, default=0),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_gatehouse_challenge_user_id", "user_id"),
    Index("ix_gatehouse_challenge_expires_at", "expires_at"),
    comment="what a session was asked and has not answered yet, for one purpose each",
)

passkey = Table(
    "gatehouse_passkey",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("user_id", Id, ForeignKey("gatehouse_user.id", ondelete="CASCADE"), nullable=False),
    Column("credential_id", LargeBinary(1023), nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("aaguid", String(36), nullable=False),
    Column("transports", String(120), nullable=False),
    Column("handle", LargeBinary(64), nullable=False),
    Column("name", String(80), nullable=False),
    Column("can_be_backed_up", Boolean, nullable=False),
    Column("is_backed_up", Boolean, nullable=False),
    Column("mac", LargeBinary(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Index("ix_gatehouse_passkey_user_id", "user_id"),
    sqlite_autoincrement=True,
    comment="passkeys: public keys of authenticators; nothing in it logs anybody in",
)

passkey_answer = Table(
    "gatehouse_passkey_answer",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_gatehouse_passkey_answer_expires_at", "expires_at"),
    sqlite_with_rowid=False,
    comment="challenges that a passkey has answered, until they would have run out",
)

event = Table(
    "gatehouse_event",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("actor_id", Id),
    Column("actor", String(80), nullable=False),
    Column("user_id", Id),
    Column("address", String(64), nullable=False, default=""),
    Column("agent", String(256), nullable=False, default=""),
    Column("request_id", String(64), nullable=False, default=""),
    Column("session_id", String(32), nullable=False, default=""),
    Column("detail", Text, nullable=False, default=""),
    Column("hash", LargeBinary(32), nullable=False),
    Index("ix_gatehouse_event_user_id_id", "user_id", "id"),
    Index("ix_gatehouse_event_kind_id", "kind", "id"),
    Index("ix_gatehouse_event_address_id", "address", "id"),
    Index("ix_gatehouse_event_at", "at"),
    Index("ix_gatehouse_event_kind_at", "kind", "at"),
    comment="the audit log: only ever inserted into and read",
)

chain_head = Table(
    "gatehouse_chain_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("event_id", BigInteger, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("mac", LargeBinary(32), nullable=False),
    comment="the last link of the audit chain, with a MAC by the key ring",
)

segment = Table(
    "gatehouse_audit_segment",
    metadata,
    Column("last_id", BigInteger, primary_key=True, autoincrement=False),
    Column("first_id", BigInteger, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("sealed_at", BigInteger, nullable=False),
    Column("mac", LargeBinary(32), nullable=False),
    comment="stretches of the audit chain that were exported and deleted; the chain goes on from the newest",
)


def mirror(host: MetaData) -> None:
    """Put `gatehouse_user` into a host's metadata, so that `ForeignKey("gatehouse_user.id")` resolves there.

    The host's `create_all()` must not make it, nor `drop_all()` drop it: they raise errors naming the mend (rule 35).
    """
    if user.name in host.tables:
        return
    mirrored = user.to_metadata(host)
    sqlalchemy_event.listen(mirrored, "before_create", _refuse_to_create)
    sqlalchemy_event.listen(mirrored, "before_drop", _refuse_to_drop)
    sqlalchemy_event.listen(host, "before_drop", _refuse_to_drop_all)  # before the first of the host's own tables goes


def _refuse_to_drop_all(_host: MetaData, _connection: Any, *, tables: Iterable[Table], **_kwargs: Any) -> None:
    if any(table.name == user.name for table in tables):
        _refuse_to_drop()


def _refuse_to_drop(*_args: Any, **_kwargs: Any) -> None:
    msg = (
        "drop_all() would drop gatehouse_user with all its users: drop your own tables by name, "
        'db.metadata.drop_all(db.engine, [t for t in db.metadata.sorted_tables if not t.name.startswith("gatehouse_")])'
    )
    raise SetupError(msg)


def _refuse_to_create(*_args: Any, **_kwargs: Any) -> None:
    msg = "gatehouse_user is not made by create_all(): run `gatehouse db upgrade` first"
    raise SchemaOutdatedError(msg)


def include_name(name: str | None, type_: str, parent_names: object = None) -> bool:
    """Tell a host's Alembic autogenerate which tables are its own.

    Pass it as `include_name`; where `gatehouse_user` stands in the host's metadata, call it from an `include_object`,
    which is asked about those tables too.

    Args:
        name: what Alembic found in the database.
        type_: `table`, `column`, …
        parent_names: unused, part of Alembic's signature.
    """
    del parent_names
    return not (type_ == "table" and name is not None and name.startswith(PREFIX))
