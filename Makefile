# tokd: `make run` to try it, `make test` and `make check` to trust it. `make help` lists the rest.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
HA_PYTHON ?= $(shell for v in 3.13 3.11; do \
	for p in "python$$v" "$$(pyenv root 2>/dev/null)"/versions/$$v*/bin/python3; do \
		"$$p" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$v')" 2>/dev/null && { echo $$p; exit; }; \
	done; done)
VENV := .venv
HA_VENV := .venv-ha
AUDIT_VENV := .venv-audit
SBOM_VENV := .venv-sbom
PINS := requirements/build.txt requirements/install.sh
BIN := $(VENV)/bin
NODE := tests/node
FLOWS := tests/flows
N8N_NODES := n8n-nodes-base-2.41.2

RUN_PACKAGES := mosquitto mosquitto-clients chromium chromium-driver chromium-sandbox fonts-liberation xvfb
INSTALL_PACKAGES := python3-venv procps chromium chromium-driver chromium-sandbox fonts-liberation xvfb
SYSTEMD_PACKAGES := systemd iproute2 python3-venv procps
SCORECARD_PACKAGES := strace xfsprogs e2fsprogs mount libfaketime util-linux $(SYSTEMD_PACKAGES) debootstrap
TEST_PACKAGES := $(RUN_PACKAGES) ffmpeg postgresql binutils xdotool openbox dbus-daemon xfsprogs

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
test: $(VENV)/dev-ready node-ready  ## Run the whole suite
	$(call ensure_packages,$(TEST_PACKAGES))
	$(BIN)/python -m pytest -q -n logical --maxprocesses 5 --dist loadfile

.PHONY: test-selenium
test-selenium: $(VENV)/dev-ready  ## Run the tests of browser sessions with Selenium alone, the other backend
	$(call ensure_packages,$(TEST_PACKAGES))
	TOKD_BACKEND=selenium $(BIN)/python -m pytest -q -n logical --maxprocesses 5 --dist loadfile \
		tests/e2e/test_session_*.py tests/integration/test_browser_*.py

.PHONY: test-ha
test-ha: $(VENV)/dev-ready $(HA_VENV)/ready  ## Show tokd to a real Home Assistant, which is installed beside it (600 MB)
	$(call ensure_packages,$(TEST_PACKAGES))
	TOKD_HA_VENV=$(abspath $(HA_VENV)) $(BIN)/python -m pytest -q tests/homeassistant/real_home_assistant.py

.PHONY: check
check: $(VENV)/dev-ready node-ready  ## Check format, lint, types, import contracts and the AsyncAPI document
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m daemon describe --asyncapi | node $(NODE)/asyncapi_parse.mjs -

.PHONY: docs
docs: $(VENV)/dev-ready  ## Write docs/mqtt.md anew
	$(BIN)/python -m daemon describe --markdown > docs/mqtt.md.new && mv docs/mqtt.md.new docs/mqtt.md

.PHONY: test-systemd
test-systemd: $(VENV)/dev-ready  ## Install into a copy of this machine, boot a real systemd there and try the units (root)
	$(call ensure_packages,$(TEST_PACKAGES) $(SYSTEMD_PACKAGES))
	TOKD_SYSTEMD=1 $(BIN)/python -m pytest -q -s tests/systemd/real_systemd.py

.PHONY: test-install
test-install: $(VENV)/dev-ready  ## Walk README.md and docs/operations.md on a bare Debian 12 and a bare Debian 13 (root, 4 GB)
	$(call ensure_packages,$(TEST_PACKAGES) debootstrap)
	TOKD_BARE="$${TOKD_BARE:-bookworm trixie}" $(BIN)/python -m pytest -q -s tests/systemd/first_run.py tests/systemd/new_user.py

.PHONY: install
install:  ## Install tokd as a service of this machine; again, to upgrade
	$(call ensure_packages,$(INSTALL_PACKAGES))
	@$(SUDO) sh systemd/install.sh system

.PHONY: install-user
install-user:  ## Install tokd for yourself, with its windows on your desktop
	@sh systemd/install.sh user

.PHONY: uninstall
uninstall:  ## Remove the service and the program; data and settings stay
	@$(SUDO) sh systemd/install.sh remove

.PHONY: uninstall-user
uninstall-user:  ## The same for make install-user
	@sh systemd/install.sh remove-user

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
	$(BIN)/python -m tests.scorecard --part release --jobs 3 --minutes 90 --write docs/scorecard.md

.PHONY: scorecard-weekly
scorecard-weekly: $(VENV)/dev-ready  ## Run the scorecard's other half: time, endurance, security
	$(call ensure_packages,$(TEST_PACKAGES) $(SCORECARD_PACKAGES))
	$(BIN)/python -m tests.scorecard --part weekly --jobs 3 --minutes 90 --write docs/scorecard.md

.PHONY: soak
soak: $(VENV)/dev-ready  ## Open 300 browser sessions, kill some of them, and count what is left
	$(call ensure_packages,$(TEST_PACKAGES))
	TOKD_SESSIONS=300 $(BIN)/python -m pytest -q -s tests/e2e/test_session_soak.py

.PHONY: test-flows
test-flows: $(VENV)/dev-ready $(FLOWS)/node_modules/.ready  ## Run the examples in Node-RED; check n8n's against its node types
	$(call ensure_packages,$(TEST_PACKAGES))
	@cd $(FLOWS)/node_modules && { [ -f $(N8N_NODES).tgz ] || npm pack --silent n8n-nodes-base@$(N8N_NODES:n8n-nodes-base-%=%); }
	$(BIN)/python -m pytest -q $(FLOWS)/run_node_red.py $(FLOWS)/run_n8n.py

.PHONY: fuzz
fuzz: $(VENV)/dev-ready  ## Send 100,000 broken messages and 30,000 generated HTTP requests (TOKD_FUZZ_SEED repeats)
	$(call ensure_packages,$(TEST_PACKAGES))
	TOKD_FUZZ_CASES=100000 $(BIN)/python -m pytest -q tests/unit/test_wire_fuzz.py
	TOKD_FUZZ=30000 $(BIN)/python -m pytest -q -s tests/e2e/test_http_fuzz.py

.PHONY: audit
audit: $(AUDIT_VENV)/ready  ## Ask whether a known weakness is in a package that tokd is installed with (internet)
	@$(AUDIT_VENV)/bin/python -m tests.supply.audit requirements/run.txt requirements/build.txt

.PHONY: sbom
sbom: $(AUDIT_VENV)/ready $(SBOM_VENV)/ready  ## Write build/tokd.cdx.json: all packages that an installation consists of
	@mkdir -p build
	@$(AUDIT_VENV)/bin/python -m tests.supply.sbom $(SBOM_VENV) build/tokd.cdx.json

.PHONY: format
format: $(VENV)/dev-ready  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# A group of pyproject.toml by itself.
define pin_group
	$(AUDIT_VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --upgrade --no-header \
		--no-emit-index-url --no-emit-find-links --group $(1) -c requirements/run.txt -o requirements/$(1).txt
endef

.PHONY: lock
lock: $(AUDIT_VENV)/ready  ## Pin the dependencies anew, with hashes and without any address
	$(AUDIT_VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --upgrade --no-header \
		--no-emit-index-url --no-emit-find-links pyproject.toml -o requirements/run.txt
	$(AUDIT_VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --upgrade --no-header \
		--no-emit-index-url --no-emit-find-links --extra test --extra check -c requirements/run.txt \
		pyproject.toml -o requirements/dev.txt
	$(call pin_group,build)
	$(call pin_group,audit)

$(BIN)/python:
	@python="$(PYTHON)"; "$${python:=python3}" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "installing with apt: python3-venv"; \
		$(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null; }; \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' || { \
		echo "tokd needs Python 3.11 or newer, with its modules venv and ensurepip"; exit 1; }; \
	"$$python" -m venv $(VENV)

# Each Home Assistant runs on few versions of Python: one list of pins for each.
$(HA_VENV)/ready: requirements/homeassistant.txt requirements/homeassistant-3.11.txt
	@[ -n "$(HA_PYTHON)" ] || { echo "Home Assistant needs Python 3.13 (or 3.11, for an older one)"; exit 1; }
	@echo "installing Home Assistant with $(HA_PYTHON)"
	"$(HA_PYTHON)" -m venv --clear $(HA_VENV)
	@list=requirements/homeassistant-$$("$(HA_PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt; \
	[ -f "$$list" ] || list=requirements/homeassistant.txt; \
	$(HA_VENV)/bin/pip install -q --disable-pip-version-check --require-hashes -r "$$list"
	@touch $@

$(VENV)/run-ready: requirements/run.txt $(PINS) pyproject.toml | $(BIN)/python
	sh requirements/install.sh $(VENV) requirements/run.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev-ready: requirements/dev.txt $(PINS) pyproject.toml | $(BIN)/python
	sh requirements/install.sh $(VENV) requirements/dev.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/run-ready

# Tools of whoever makes a release.
$(AUDIT_VENV)/ready: requirements/audit.txt $(PINS) | $(BIN)/python
	$(BIN)/python -m venv --clear $(AUDIT_VENV)
	sh requirements/install.sh $(AUDIT_VENV) requirements/audit.txt
	@touch $@

# What `make install` would build on this machine, but for tokd itself.
$(SBOM_VENV)/ready: requirements/run.txt $(PINS) | $(BIN)/python
	$(BIN)/python -m venv --clear $(SBOM_VENV)
	sh requirements/install.sh $(SBOM_VENV) requirements/run.txt
	@touch $@

# npm runs no script of a package (.npmrc), and takes nothing whose hash is not in the lock file.
define ensure_node
	@command -v node >/dev/null && command -v npm >/dev/null || { \
		echo "installing with apt: nodejs npm"; \
		$(SUDO) apt-get update -qq && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null; }
endef

.PHONY: node-ready
node-ready: $(NODE)/node_modules/.ready

%/node_modules/.ready: %/package.json %/package-lock.json %/.npmrc
	$(call ensure_node)
	cd $* && npm ci --loglevel=error
	@touch $@
