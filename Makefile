# This needs make, Python 3.11 or newer and a package index. Everything else is installed into $(VENV).

SHELL = /bin/sh
.DEFAULT_GOAL = help
.DELETE_ON_ERROR:

VENV ?= .venv
PYTHON ?=
ARGS =
TOOLS = .venv-tools
# What the installation fetches for the page at /ui/, by hatch_build.py.
PAGE = hatch_build.py queuey/api/ui/package-lock.json

BIN = $(VENV)/bin
PIP_FLAGS = --disable-pip-version-check --quiet
PIP = $(BIN)/python -m pip $(PIP_FLAGS)

help: ## List the targets
	@echo 'usage: make TARGET [PYTHON=python3.13] [VENV=.venv] [ARGS="more flags"]'
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.run ## Start Queuey with its own store on 127.0.0.1:8000 (ARGS: flags of `queuey serve`)
	@exec $(BIN)/queuey serve $(ARGS)

test: $(VENV)/.dev ## Run the tests on all cores (ARGS: flags of pytest; ARGS=-n0: one after another)
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

stress: $(VENV)/.dev ## Run the heavy tests, which take minutes (ARGS: flags of pytest)
	$(BIN)/python -m pytest -m stress -o session_timeout=3600 $(ARGS)

check: $(VENV)/.dev ## Run the linter, the format check and the type checkers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@if command -v npm >/dev/null || [ "$$CI" = true ]; then $(MAKE) --no-print-directory check-page; \
	    else echo 'npm is missing: the types of the page are not checked'; fi

check-page: tests/ui/types/node_modules/.package-lock.json ## Check the types of the page's modules
	cd tests/ui/types && npm run --silent check

format: $(VENV)/.dev ## Format the code and apply the fixes of the linter
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

smoke: $(VENV)/.run ## Start a server on a free port, call the main routes with curl, stop it
	@PYTHON=$(BIN)/python QUEUEY=$(BIN)/queuey sh scripts/smoke.sh

demo: $(VENV)/.demo ## Make thumbnails of 300 pictures (KILL=server or KILL=store: kill it half-way)
	@exec $(BIN)/python -m examples.demo $(if $(KILL),--kill $(KILL)) $(ARGS)

bench: $(VENV)/.dev ## Measure speed and memory (CHECK=1: fail below the floors; ARGS="--only pauses --minutes 10")
	@exec $(BIN)/python -m bench $(if $(filter 1,$(CHECK)),--check) $(ARGS)

bench-peers: $(VENV)/.dev ## Compare Queuey with other job queues, in 25 minutes (ARGS="--only bunqueue,queuey --runs 1")
	@exec $(BIN)/python -m bench.peers $(ARGS)

bench-schedulers: $(VENV)/.dev ## Compare how late 10,000 schedules run with other job queues, in 8 minutes
	@exec $(BIN)/python -m bench.peers.schedulers $(ARGS)

bench-publish: $(VENV)/.dev ## Put the last results of bench and bench-peers into docs, as tables and pictures
	@exec $(BIN)/python -m bench.publish $(ARGS)

bench-profile: $(VENV)/.dev ## Show where the time goes under a load (LOAD=single|batch|drain|pull)
	@exec $(BIN)/python -m bench.profile $(or $(LOAD),single) $(ARGS)

bench-limits: $(VENV)/.dev ## Measure the limits of this machine, and how close Queuey comes (ARGS="--runs 5")
	@exec $(BIN)/python -m bench.limits $(ARGS)

bench-against: $(VENV)/.dev ## Compare speed and memory with a commit, in 8 minutes (REV=HEAD~1; ARGS=--quick)
	@exec $(BIN)/python -m bench.against --rev "$(REV)" $(ARGS)

load: $(VENV)/.dev bench/load/node_modules/.package-lock.json ## Run a load test with thresholds, by npm's loadtest (SCENARIO=submit|ramp|soak SECONDS=30)
	@exec $(BIN)/python -m bench.load $(or $(SCENARIO),submit) $(if $(SECONDS),--seconds "$(SECONDS)") $(ARGS)

check-k6: bench/k6/node_modules/.package-lock.json ## Check the types of the k6 scripts
	cd bench/k6 && npm run --silent check

dashboard: $(TOOLS)/.deploy ## Write deploy/grafana/queuey.json from deploy/grafana/dashboard.py
	$(TOOLS)/bin/python deploy/grafana/dashboard.py >deploy/grafana/queuey.json

check-deploy: check-alerts check-templates ## Check all files in deploy/: runs the next two targets

check-alerts: ## Check the configuration of Prometheus and test the alert rules (needs promtool)
	promtool check config deploy/prometheus/prometheus.yml
	promtool test rules deploy/prometheus/alerts_test.yml

check-templates: $(TOOLS)/.deploy ## Check the dashboard, the ECS template and the Kubernetes manifests
	$(TOOLS)/bin/python deploy/grafana/dashboard.py | cmp - deploy/grafana/queuey.json
	$(TOOLS)/bin/cfn-lint deploy/ecs/queuey.yaml
	$(TOOLS)/bin/kubernetes-validate --strict deploy/k8s/queuey.yaml

docker-test: ## Build and test the image: alone, killed, and behind a load balancer (CONTAINER_TOOLS=FOLDER)
	@CONTAINER_TOOLS="$(CONTAINER_TOOLS)" bash scripts/docker_test.sh

faults: $(VENV)/.dev ## Inject faults into the real system and check the invariants (ROUNDS=20 SEED=7 FAULT=kill-store SHARDS=4)
	@exec $(BIN)/python -m tests.faults --rounds "$(ROUNDS)" --seed "$(SEED)" --shards "$(SHARDS)" --fault "$(FAULT)" $(ARGS)

faults-long: $(VENV)/.dev ## Inject every fault six times, in 45 minutes, for the figures of docs/reliability.md (SEED=7)
	@exec $(BIN)/python -m tests.faults --long --each 6 --seed "$(SEED)" --shards "$(SHARDS)" $(ARGS)

faults-controls: $(VENV)/.dev ## Disable one safeguard at a time; passes only if the invariants fail each time
	@exec $(BIN)/python -m tests.faults.controls $(if $(SEED),--seed "$(SEED)") $(ARGS)

accept: $(VENV)/.dev ## Run the commands of an issue in docs/acceptance.md (N=2)
	@exec $(BIN)/python -m scripts.accept $(N) $(ARGS)

wheel: $(VENV)/.dev ## Build the wheel into dist/
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

binary: $(TOOLS)/.binary-build ## Build dist/queuey, one file with Python, Queuey and Valkey inside
	$(TOOLS)/bin/python -m scripts.binary dist/queuey

binary-python: $(TOOLS)/.lock ## Install a Python that may be moved, for `make binary`, and name it in .binary-python (needs GitHub)
	$(TOOLS)/bin/uv python install 3.13
	$(TOOLS)/bin/uv python find --managed-python --no-project 3.13 >.binary-python

binary-test: binary ## Build dist/queuey, and use it in a root file system without Python (needs root and busybox)
	$(TOOLS)/bin/python -m scripts.binary.try_it dist/queuey

publish: $(TOOLS)/.lock ## Publish dist/ on PyPI, as the release workflow does (trusted publishing)
	$(TOOLS)/bin/uv publish --trusted-publishing always

lock: $(TOOLS)/.lock ## Write the lock files (ARGS=--upgrade: use the newest releases)
	@UV=$(TOOLS)/bin/uv sh scripts/lock.sh $(ARGS)

check-workflows: $(TOOLS)/.workflows ## Check the CI files
	$(TOOLS)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(TOOLS)/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(TOOLS)/bin/zizmor --offline --no-progress .github

audit: $(TOOLS)/.audit ## Check the locked packages for known vulnerabilities (ARGS=--dry-run: only list them)
	$(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
	    $(patsubst %,-r %,$(sort $(wildcard requirements/*.txt))) $(ARGS)

clean: ## Remove everything that make has built
	rm -rf .venv .venv-* .bench .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist bench/*/node_modules queuey/api/ui/vendor tests/ui/*/node_modules
	find queuey tests bench examples scripts -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

.PHONY: help run test stress check check-page format smoke demo bench bench-peers bench-schedulers bench-publish bench-profile bench-limits bench-against load check-k6 faults faults-long faults-controls docker-test dashboard check-deploy check-alerts check-templates accept wheel binary binary-python binary-test publish lock check-workflows audit clean

# A stamp in a virtual environment records an installation. It is older than the lock file if that has changed.

$(VENV)/.made $(TOOLS)/.made:
	@python=$$(sh scripts/find_python.sh $(if $(PYTHON),"$(PYTHON)")) && \
	    echo "Building $(@D) with $$("$$python" --version) ($$python)" && \
	    "$$python" -m venv $(@D)
	@touch $@

$(VENV)/.run: requirements/runtime.txt requirements/build.txt pyproject.toml $(PAGE) | $(VENV)/.made
	@echo "Installing Queuey into $(VENV)"
	@$(PIP) install --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# dev.txt includes runtime.txt and build.txt.
$(VENV)/.dev: requirements/dev.txt pyproject.toml $(PAGE) | $(VENV)/.made
	@echo "Installing Queuey, the tests' packages and the linters into $(VENV)"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.run $@

$(VENV)/.demo: requirements/demo.txt | $(VENV)/.run
	@$(PIP) install --require-hashes -r requirements/demo.txt
	@touch $@

tests/ui/types/node_modules/.package-lock.json: tests/ui/types/package-lock.json
	@command -v npm >/dev/null || { echo 'npm is missing: install Node.js 20 or newer' >&2; exit 1; }
	@cd tests/ui/types && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

bench/%/node_modules/.package-lock.json: bench/%/package-lock.json
	@command -v npm >/dev/null || { echo 'npm is missing: install Node.js 20 or newer' >&2; exit 1; }
	@cd bench/$* && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

$(TOOLS)/.%: requirements/%.txt | $(TOOLS)/.made
	@$(TOOLS)/bin/python -m pip $(PIP_FLAGS) install --require-hashes -r $<
	@touch $@
