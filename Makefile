# make demo | test | chaos | simulate | attacks | fuzz | soak | check | audit | lock | pin-images | bench-table … | settings | release | help
#
# Variables:
#   PYTHON=python3.13     the Python to use (3.11 or later); each has a virtual environment of its own
#   LISTEN=0.0.0.0        where the demo listens, so that a phone in the same network can reach it (default: 127.0.0.1)
#   ARGS=tests/fanout     what "make test" runs: arguments for nosetests (default: everything, four files at a time);
#                         ARGS="--jobs 2 tests/fanout" runs as many files at a time
#   SECONDS=180 SEED=7    how long "make chaos", "make simulate" and "make soak" go on; the schedule of the chaos, and the
#                         first one of the simulation (SEED alone: that one, with its trace)
#   BROKERS=1             of how many nodes the broker of "make chaos" is (default: 3)
#   JOBS=1                processes of "make simulate" (default: one for each core)
#   FUZZ_SECONDS=60       how long "make fuzz" tries each target
#   AUDIT=required        "make check" fails where osv.dev cannot be asked about vulnerabilities

PYTHON ?= python3
ARGS   ?=
LISTEN ?=
SECONDS ?=
SEED ?=
BROKERS ?=
JOBS ?=
FUZZ_SECONDS ?= 60

VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN  := $(VENV)/bin
NODE_MODULES := tests/node/node_modules/.package-lock.json

.PHONY: help demo test chaos simulate attacks fuzz soak check audit lock pin-images settings release clean
.DEFAULT_GOAL := help

help:
	@echo "make demo      a node with three stations, and what a radio hears from it, until Ctrl-C; LISTEN=0.0.0.0 for a phone"
	@echo "make test      every test, four files at a time; ARGS=tests/fanout for some, ARGS='--jobs 1' for one by one"
	@echo "make chaos     kills and freezes parts of a cluster under load, proves that nothing is lost; SECONDS, SEED, BROKERS"
	@echo "make simulate  thousands of schedules of faults against a model of the broker, on simulated time; SECONDS, SEED, JOBS"
	@echo "make attacks   what strangers and stations try against a node, at full size; what it costs them and the others"
	@echo "make fuzz      invented octets for every parser, by coverage; FUZZ_SECONDS for each"
	@echo "make soak      constant load for 10 minutes: memory and files stay flat; SECONDS"
	@echo "make audit     asks osv.dev about known vulnerabilities of every pinned package"
	@echo "make lock      writes requirements.lock anew: the hashes of what requirements.txt names, asked from PyPI"
	@echo "make pin-images  writes the digests of container images into the Dockerfile and the compose files"
	@echo "make check     style, types, layers, plain English, container files, known vulnerabilities; AUDIT=required"
	@echo "make bench-table, bench-carriers, bench-herd, bench-growth, bench-slow, bench-crowd, bench-broker: how fast it is; see bench/"
	@echo "make settings  writes config.py.dist, docs/{settings,artcast-settings,web-settings,metrics,log-events,buffers,commands,exit-codes}.md and docs/layers.svg anew"
	@echo "make release   checks, builds wheel and source archive, tries the wheel in an empty environment, sets the tag"
	@echo "make clean     removes what the others made"

demo: $(VENV)/run.stamp
	@exec $(BIN)/python -m demo $(if $(LISTEN),--listen $(LISTEN))

test: $(VENV)/dev.stamp $(VENV)/audit.stamp servers $(NODE_MODULES)
	@exec $(BIN)/python -m tests $(ARGS)

chaos: $(VENV)/dev.stamp servers
	@exec $(BIN)/python -m tests.chaos $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) \
	    $(if $(BROKERS),--broker-nodes $(BROKERS))

simulate: $(VENV)/dev.stamp
	@exec $(BIN)/python -m tests.simulation $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) \
	    $(if $(JOBS),--jobs $(JOBS))

attacks: $(VENV)/dev.stamp servers
	@exec $(BIN)/python -m tests.attacks

fuzz: $(VENV)/fuzz.stamp
	@exec $(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

soak: $(VENV)/dev.stamp
	@exec $(BIN)/python -m tests.soak $(if $(SECONDS),--seconds $(SECONDS))

check: $(VENV)/dev.stamp $(VENV)/audit.stamp
	$(BIN)/python -m pip --disable-pip-version-check check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.plain_english
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml deploy/compose/*.yml
	$(BIN)/yamllint --strict docker-compose.yml .yamllint deploy
	@.ci/audit $(BIN) requirements.txt requirements-dev.txt

audit: $(VENV)/audit.stamp
	@AUDIT=required .ci/audit $(BIN) requirements.txt requirements-dev.txt

lock: $(VENV)/run.stamp
	$(BIN)/python -m tools.lock_requirements > requirements.lock.new
	mv requirements.lock.new requirements.lock

pin-images: $(VENV)/bin/python
	$(BIN)/python -m tools.pin_images

# Minutes each; it wants the machine for itself.
bench-%: $(VENV)/dev.stamp servers
	@$(BIN)/python -m bench.$*

settings: $(VENV)/dev.stamp
	$(BIN)/python -m radiovis.settings config > config.py.dist
	$(BIN)/python -m radiovis.settings reference > docs/settings.md
	$(BIN)/python -m artcast.settings > docs/artcast-settings.md
	$(BIN)/python -m webserver.site_config > docs/web-settings.md
	$(BIN)/python -m radiovis.admin.metrics > docs/metrics.md
	$(BIN)/python -m radiovis.commands.command_reference > docs/commands.md
	$(BIN)/python -m radiovis.commands.command_reference exit-codes > docs/exit-codes.md
	$(BIN)/python -m tools.log_events > docs/log-events.md
	$(BIN)/python -m tools.buffers > docs/buffers.md
	$(BIN)/python -m tools.draw_layers > docs/layers.svg

release: check
	$(BIN)/python -m tools.release

clean:
	rm -rf .venv .venv-* bench/build tests/node/node_modules .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What the tests start private ones of, or ask: brokers, caches, load balancers, Prometheus' checks, a browser.
.PHONY: servers
servers:
	@test -x /usr/lib/rabbitmq/bin/rabbitmq-server || .ci/install rabbitmq-server
	@command -v memcached > /dev/null || .ci/install memcached
	@command -v sqlite3 > /dev/null || .ci/install sqlite3
	@command -v ip > /dev/null || .ci/install iproute2
	@test -x /usr/sbin/haproxy || .ci/install haproxy
	@test -e /usr/lib/nginx/modules/ngx_stream_module.so || .ci/install nginx-light libnginx-mod-stream
	@command -v promtool > /dev/null || .ci/install prometheus
	@test -x /usr/bin/chromium -a -x /usr/bin/chromedriver || .ci/install chromium chromium-driver fonts-dejavu-core

# The STOMP client of browsers, and Node to run it.
$(NODE_MODULES): tests/node/package-lock.json
	@command -v node > /dev/null && command -v npm > /dev/null || .ci/install nodejs npm
	cd tests/node && npm ci --silent --no-audit --no-fund
	@touch $@

$(VENV)/bin/python:
	@command -v $(PYTHON) > /dev/null || .ci/install python3
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is too old: Python 3.11 or later is needed, see PYTHON in the Makefile" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || .ci/install python3-venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/audit.stamp: requirements-audit.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-audit.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/run.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(VENV)/fuzz.stamp: requirements-fuzz.txt $(VENV)/dev.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-fuzz.txt
	@touch $@
