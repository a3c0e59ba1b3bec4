# tokd: `make run` to try it, `make test` and `make check` to trust it. `make help` lists the rest.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
VENV := .venv
BIN := $(VENV)/bin

RUN_PACKAGES := mosquitto mosquitto-clients chromium chromium-driver chromium-sandbox fonts-liberation xvfb
SCORECARD_PACKAGES := strace xfsprogs e2fsprogs mount
TEST_PACKAGES := $(RUN_PACKAGES) ffmpeg postgresql binutils xdotool openbox dbus-daemon

# Installs what is missing, and asks apt only then.
define ensure_packages
	@missing=""; for package in $(1); do \
		dpkg-query -W -f='$${Status}' "$$package" 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
		echo "installing with apt:$$missing"; \
		$(SUDO) apt-get update -qq && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef

.DEFAULT_GOAL := help

.PHONY: help
help:  ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.PHONY: run
run: $(VENV)/run-ready  ## Install what is missing and run tokd with a broker of its own and a simulated TikTok
	$(call ensure_packages,$(RUN_PACKAGES))
	@mkdir -p media
	@exec $(BIN)/tokd run --with-broker --simulate

.PHONY: test
test: $(VENV)/dev-ready  ## Run the whole suite
	$(call ensure_packages,$(TEST_PACKAGES))
	$(BIN)/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile

.PHONY: check
check: $(VENV)/dev-ready  ## Check format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: bench
bench: $(VENV)/dev-ready  ## Measure, as ratios against a floor in the same run
	$(call ensure_packages,$(TEST_PACKAGES) curl)
	$(BIN)/python -m tests.bench

.PHONY: crash
crash: $(VENV)/dev-ready  ## Kill the daemon 1,000 times at random moments
	$(call ensure_packages,$(TEST_PACKAGES))
	TOKD_KILLS=1000 $(BIN)/python -m pytest -q -s tests/crash/test_random_kills.py

.PHONY: scorecard
scorecard: $(VENV)/dev-ready  ## Run the reliability scorecard of a release and write docs/scorecard.md
	$(call ensure_packages,$(TEST_PACKAGES) $(SCORECARD_PACKAGES))
	$(BIN)/python -m tests.scorecard --part release --minutes 90 --write docs/scorecard.md

.PHONY: scorecard-weekly
scorecard-weekly: $(VENV)/dev-ready  ## Run the scorecard's other half: time, endurance, security
	$(call ensure_packages,$(TEST_PACKAGES) $(SCORECARD_PACKAGES))
	$(BIN)/python -m tests.scorecard --part weekly --minutes 90 --write docs/scorecard.md

.PHONY: soak
soak: $(VENV)/dev-ready  ## Open 300 browser sessions, kill some of them, and count what is left
	$(call ensure_packages,$(TEST_PACKAGES))
	TOKD_SESSIONS=300 $(BIN)/python -m pytest -q -s tests/e2e/test_session_soak.py

.PHONY: fuzz
fuzz: $(VENV)/dev-ready  ## Send 30,000 generated requests to the HTTP adapter (TOKD_FUZZ_SEED repeats a run)
	$(call ensure_packages,$(TEST_PACKAGES))
	TOKD_FUZZ=30000 $(BIN)/python -m pytest -q -s tests/e2e/test_http_fuzz.py

.PHONY: format
format: $(VENV)/dev-ready  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lock
lock: $(VENV)/dev-ready  ## Pin the dependencies anew, with hashes and without any address
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --upgrade --no-header \
		--no-emit-index-url --no-emit-find-links pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --upgrade --no-header \
		--no-emit-index-url --no-emit-find-links --extra test --extra check -c requirements/run.txt \
		pyproject.toml -o requirements/dev.txt

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "tokd needs Python 3.11 or newer"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "installing with apt: python3-venv"; \
		$(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null; }
	"$(PYTHON)" -m venv $(VENV)

# pip takes nothing whose hash is not in the file.
$(VENV)/run-ready: requirements/run.txt pyproject.toml | $(BIN)/python
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev-ready: requirements/dev.txt pyproject.toml | $(BIN)/python
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/run-ready
