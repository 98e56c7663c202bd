# Each target does all of its own set-up: a machine needs Python 3.11 (or later) and make, nothing else.
# Stamps in .venv remember what is installed, so the second run starts at once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --constraint constraints.txt
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs bench dev browser proxy oathtool clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  ARGS='…' is handed on, as in: make test ARGS='-n 0 -k login'"

demo: $(VENV)/.ready-app  ## run the demo program on 127.0.0.1:8000
	$(BIN)/gatehouse demo $(ARGS)

test: $(VENV)/.ready-test browser proxy oathtool  ## run every test: real SQLite, PostgreSQL, Chromium and nginx
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.ready-lint  ## ruff, mypy and the import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.ready-docs  ## build the manual into docs/_build
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build

bench: $(VENV)/.ready-bench  ## measure us and the peers, side by side in one run
	$(BIN)/python -m benchmarks $(ARGS)

dev: $(VENV)/.ready-dev browser proxy oathtool  ## install everything the other targets need

clean:  ## remove what the targets made, the demo's data excepted
	rm -rf $(VENV) docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
	  command -v apt-get >/dev/null || { echo "The browser tests need chromium or google-chrome: install one." >&2; exit 1; }; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  echo "Installing Debian's chromium for the browser tests"; \
	  $$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null; }

oathtool:
	@command -v oathtool >/dev/null || { \
	  command -v apt-get >/dev/null || { echo "The tests of second factors need oathtool: install it." >&2; exit 1; }; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  echo "Installing Debian's oathtool for the tests of second factors"; \
	  $$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends oathtool >/dev/null; }

# Unpacked, not installed: the package would start a server on port 80, now and at every boot.
proxy: | $(BIN)/python
	@command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || [ -x $(VENV)/nginx/usr/sbin/nginx ] || { \
	  command -v apt-get >/dev/null || { echo "The tests behind a proxy need nginx: install it." >&2; exit 1; }; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  echo "Unpacking Debian's nginx into $(VENV) for the tests behind a proxy"; \
	  $$sudo apt-get update -qq && mkdir -p $(VENV)/nginx && cd $(VENV)/nginx && apt-get download -qq nginx && dpkg -x nginx_*.deb .; }
	@command -v openssl >/dev/null || { \
	  command -v apt-get >/dev/null || { echo "The tests behind a proxy need openssl: install it." >&2; exit 1; }; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  echo "Installing Debian's openssl for the tests behind a proxy"; \
	  $$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends openssl >/dev/null; }

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed, and no python3 was found." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; $(PYTHON) is $$("$(PYTHON)" --version). Name another: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.ready-tools: constraints.txt pyproject.toml | $(BIN)/python
	@echo "Installing the build tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	@$(PIP) --group build
	@touch $@

$(VENV)/.ready-app: $(VENV)/.ready-tools
	@echo "Installing flask-gatehouse into $(VENV)"
	@$(PIP) --editable '.[all]'
	@touch $@

$(VENV)/.ready-%: $(VENV)/.ready-app
	@echo "Installing what 'make $*' needs into $(VENV)"
	@$(PIP) --group $*
	@touch $@
