"""In a database that the host app's engine leads to: its isolation, its listeners, its open transactions."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_gatehouse import Gatehouse, login_user, public
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.database import Database
from tests.support import apps, databases

PASSWORD = "correct horse battery"


class InTheMiddleError(Exception):
    """A bug in a unit."""


def fail_in_the_middle(database):
    """Write a row and raise."""
    with database.unit() as connection:
        connection.execute(sa.insert(schema.guard).values(name="half"))
        raise InTheMiddleError


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "SERIALIZABLE", "REPEATABLE READ"])
def test_v2_3_3_a_units_isolation_is_ours_whatever_the_hosts_engine_says(postgres, run_folder, level):
    name = databases.postgres_copy(run_folder, postgres)
    database = Database(sa.create_engine(postgres.url(name), isolation_level=level))
    with database.unit() as connection:
        assert connection.execute(sa.text("SHOW transaction_isolation")).scalar_one() == "read committed"
    with pytest.raises(InTheMiddleError):
        fail_in_the_middle(database)
    with database.reading() as connection:
        assert set(connection.execute(sa.select(schema.guard.c.name)).scalars()) == {"last-admin"}
    with database.engine.connect() as connection:  # given back to the host as it was
        raw = connection.connection.dbapi_connection
        assert raw is not None
        assert raw.autocommit is (level == "AUTOCOMMIT")
        assert level == "AUTOCOMMIT" or connection.get_isolation_level() == level
    database.close()
    postgres.drop_database(name)


@pytest.mark.parametrize("begin", ["BEGIN", "BEGIN IMMEDIATE"])
def test_sqlalchemys_own_recipe_for_sqlite_transactions_works(run_folder, tmp_path, begin):
    engine = sa.create_engine(databases.sqlite_copy(run_folder, tmp_path / "shop.sqlite3"))
    sa.event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    database = Database(engine)
    with database.unit() as connection:
        connection.execute(sa.insert(schema.guard).values(name="kept"))
    with pytest.raises(InTheMiddleError):
        fail_in_the_middle(database)
    with database.snapshot() as connection:
        assert set(connection.execute(sa.select(schema.guard.c.name)).scalars()) == {"last-admin", "kept"}
    database.close()


def test_v15_4_3_a_hosts_open_row_of_a_user_does_not_keep_the_user_out(postgres, run_folder, tmp_path):
    name = databases.postgres_copy(run_folder, postgres)
    db, gate = SQLAlchemy(), Gatehouse()
    app = Flask("tests.support.apps", instance_path=str(tmp_path))
    app.config.update(apps.DEFAULTS, SQLALCHEMY_DATABASE_URI=postgres.url(name))
    db.init_app(app)
    gate.init_app(app, db=db)

    class Profile(db.Model):  # type: ignore[name-defined,misc]  # Flask-SQLAlchemy's own way
        id = db.Column(db.Integer, primary_key=True)
        user_id = db.Column(db.BigInteger, db.ForeignKey("gatehouse_user.id"))

    @app.get("/sign-up/<name>")
    @public
    def sign_up(name):
        user = gate.create_user(name, PASSWORD)
        db.session.add(Profile(user_id=user.id))
        db.session.flush()
        login_user(user)
        db.session.commit()
        return "welcome"

    with app.app_context():
        db.create_all()
    assert app.test_client().get("/sign-up/alice").text == "welcome"
    databases.close(app)
    postgres.drop_database(name)
