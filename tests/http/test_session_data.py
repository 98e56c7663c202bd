"""What an app writes into `flask.session` in the very request that rotates the session."""

from __future__ import annotations

from flask import jsonify, request, session

from tests.http.people import PASSWORD, come_in, reauthenticate
from tests.support.visitor import submit


def counting(app, _gate):
    @app.before_request
    def count():
        if request.method == "POST":
            session["posts"] = session.get("posts", 0) + 1

    @app.get("/posts")
    def posts():
        return jsonify(session.get("posts"))


def test_what_was_written_before_a_rotation_is_kept(build):
    alice = come_in(build(counting))
    before = alice.get("/posts").get_json()
    assert reauthenticate(alice).status_code == 303
    assert alice.get("/posts").get_json() == before + 1
    new = "another long passphrase"
    answer = submit(alice, "/account/password", current=PASSWORD, password=new, confirm=new)
    assert answer.status_code == 303
    assert alice.get("/posts").get_json() == before + 2
