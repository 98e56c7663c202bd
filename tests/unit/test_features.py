"""Optional parts are data: off means not there, on brings factors and needs what it says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flask_gatehouse import features
from flask_gatehouse.kernel.errors import SettingsError
from flask_gatehouse.kernel.feature import Feature
from flask_gatehouse.kernel.keys import KeyRing
from tests.support import house
from tests.support.house import PaperCodes

PAPER = PaperCodes()
KEYS = KeyRing("a secret of thirty-two characters")


@pytest.fixture
def _known(monkeypatch):
    monkeypatch.setitem(features.FACTORIES, "paper", lambda _: Feature("paper", factors=(PAPER,)))
    monkeypatch.setitem(features.FACTORIES, "scissors", lambda _: Feature("scissors", needs=("paper",)))


def test_a_name_that_is_no_feature_is_refused():
    with pytest.raises(SettingsError, match="'stone'"):
        features.switched_on(("stone",), KEYS)


def test_without_a_name_nothing_is_on():
    assert features.switched_on((), KEYS) == ()


@pytest.mark.usefixtures("_known")
def test_a_feature_that_needs_another_says_which():
    with pytest.raises(SettingsError, match="'scissors' needs 'paper'"):
        features.switched_on(("scissors",), KEYS)
    assert [found.name for found in features.switched_on(("paper", "scissors", "paper"), KEYS)] == ["paper", "scissors"]


@pytest.mark.usefixtures("_known")
def test_the_factors_of_a_feature_are_those_of_the_app():
    on = house.build("sqlite://", GATEHOUSE_FEATURES="paper")
    off = house.build("sqlite://")
    assert (on.services.factors, off.services.factors) == ((PAPER,), ())
    house.close(on)
    house.close(off)


def test_an_unknown_feature_in_the_settings_stops_the_app_when_it_is_built():
    with pytest.raises(SettingsError, match="GATEHOUSE_FEATURES"):
        house.build("sqlite://", GATEHOUSE_FEATURES="totp2")


@pytest.mark.parametrize("name", features.EXTRAS)
def test_without_any_extra_an_app_is_made_and_a_feature_says_what_to_install(name):
    absent = (*features.IMPORTS["totp"], *features.IMPORTS["passkeys"], "psycopg", "granian")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent!r}))\n"  # None: as if not installed
        "from flask import Flask; from flask_gatehouse import Gatehouse; import flask_gatehouse.__main__\n"
        "def made(**more):\n"
        "    app = Flask('app')\n"
        "    app.config.update(GATEHOUSE_DATABASE_URL='sqlite://', GATEHOUSE_SECRET_KEY='k' * 16 + 'ey' * 16, **more)\n"
        "    return Gatehouse(app)\n"
        "made()\n"
        "assert 'alembic' not in sys.modules\n"  # a fifth of a start, for those whose schema is up to date too
        "try:\n"
        f"    made(GATEHOUSE_FEATURES={name!r})\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"SettingsError GATEHOUSE_FEATURES: {name!r} needs ")
    assert f"pip install 'flask-gatehouse[{features.EXTRAS[name]}]'" in done.stdout
