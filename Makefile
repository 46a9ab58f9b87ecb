# Everything here sets itself up: the first run makes .venv. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := $(VENV)/.demo
EVENTS ?= 10000
VERIFY_EVENTS ?= 300000
SOAK_MINUTES ?= 60
SOAK_SEED ?= 1
SOAK_MOMENTS ?= 5
SOAK_PART ?= 1/1
# The versions that CI installs: make CONSTRAINTS=.ci/constraints.txt
CONSTRAINTS ?=
CONSTRAIN = $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
PROCESSES ?= $(shell $(PYTHON) -c 'import os; print(min(8, 2 * (os.cpu_count() or 1)))')

# Hundreds of processes import the same modules. Without their bytecode each compiles them anew, and the tests' assertions too.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo example-identity test soak contend views verify-scale drills scenarios bench lint format docs wheel lambda package-test newest terraform-test deploy-test policy clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

define install
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
  { echo "Meridian needs Python 3.11 or later; run: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
$(PYTHON) -m venv $(VENV)
$(BIN)/pip install --quiet --disable-pip-version-check $(CONSTRAIN) -e '.[$(1)]'
@touch $(2)
endef

$(READY): pyproject.toml
	$(call install,dev,$@ $(DEMO))

$(DEMO): pyproject.toml
	$(call install,demo,$@)

demo: $(DEMO)  ## Three regions, real flights, one region frozen: the drill (EVENTS=10000)
	$(BIN)/chaos drill --events $(EVENTS)

example-identity: $(READY)  ## The identity platform, step by step, in two regions
	$(BIN)/python -m examples.identity

test: $(READY)  ## All tests but the soaks, a file at a time, in twice as many processes as there are cores (8 at most)
	$(BIN)/pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

soak: $(READY)  ## kill -9 fifty times, signals at five moments (50 take a night), more seeds; then every scenario for an hour (SOAK_MINUTES=60 SOAK_SEED=1 SOAK_MOMENTS=5 SOAK_PART=1/1)
	MERIDIAN_TEST_MOMENTS=$(SOAK_MOMENTS) MERIDIAN_TEST_PART=$(SOAK_PART) $(BIN)/pytest -m soak -n 2
	mkdir -p build
	$(BIN)/chaos run all --minutes $(SOAK_MINUTES) --seed $(SOAK_SEED) --json build/soak.json --html build/soak.html

contend: $(READY)  ## 10,000 operations by 8 writers on 100 hot streams in two regions
	$(BIN)/chaos contend

views: $(READY)  ## 300,000 events in three orders into DynamoDB, PostgreSQL and memory: the same views, and what pandas says
	$(BIN)/chaos views --events 300000

verify-scale: $(READY)  ## What `replicator verify` reads over two regions of 300,000 events in 4,000 lanes (VERIFY_EVENTS=300000)
	MERIDIAN_VERIFY_EVENTS=$(VERIFY_EVENTS) $(BIN)/pytest -m soak tests/replicator/audit/test_scale.py

drills: $(READY)  ## Every kind of drill under load, one after another, with a table of RPO and RTO
	$(BIN)/chaos drill --kind all

scenarios: $(READY)  ## Every scenario, one after another: faults on a timeline, every call recorded and judged (docs/chaos.md)
	$(BIN)/chaos run all

bench: $(READY)  ## Measure against named baselines
	$(BIN)/python -m benchmarks

lint: $(READY)  ## ruff, mypy --strict, and import-linter: which way the arrows between rooms run
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY)  ## Let ruff arrange the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Where Terraform finds its provider is the machine's business: set TF_CLI_CONFIG_FILE for a mirror.
TERRAFORM := $(shell command -v terraform)
TF_WORK := build/terraform

build/docs/.ready: docs/requirements.txt
	$(PYTHON) -m venv build/docs
	build/docs/bin/pip install --quiet --disable-pip-version-check -r docs/requirements.txt
	@touch $@

docs: build/docs/.ready  ## The site, built strictly: build/site/index.html
	build/docs/bin/sphinx-build -q -W --keep-going -b html docs build/site

wheel:  ## The wheel, installed alone and with each extra in empty environments: commands and the README's example run
	PYTHON=$(PYTHON) .ci/wheel

lambda: $(READY)  ## The Lambda package: dist/meridian-lambda.zip (INCLUDE="path …" your projections, SERVICES="s3 …" that they call, ERASURE=arm64 for personal data)
	$(BIN)/python terraform/lambda/build.py $(foreach path,$(INCLUDE),--include $(path)) $(foreach name,$(SERVICES),--service $(name)) $(if $(ERASURE),--erasure $(ERASURE))

package-test:  ## The Lambda package on each Python that functions may run and that is here: built, unpacked, one event copied by it
	.ci/package

newest:  ## Clients, retries, errors and engines with the newest boto3, botocore and urllib3 (in an environment of its own)
	PYTHON=$(PYTHON) PROCESSES=$(PROCESSES) .ci/newest

terraform-test: $(READY)  ## Terraform's format, validity, its own tests with a mocked provider; then every command against the planned policies
	@test -n "$(TERRAFORM)" || { echo "terraform is missing; install Terraform 1.9 or later: developer.hashicorp.com/terraform/install" >&2; exit 1; }
	terraform fmt -check -recursive terraform
	rm -rf $(TF_WORK) && mkdir -p $(TF_WORK) && cp -r terraform/. $(TF_WORK)/
	cd $(TF_WORK) && terraform init -backend=false -input=false -no-color >/dev/null && terraform validate -no-color && terraform test -no-color
	$(BIN)/pytest -m terraform tests/terraform

deploy-test: $(READY)  ## Three regions applied to emulators, Lambdas and all; then destroyed
	@test -n "$(TERRAFORM)" || { echo "terraform is missing; install Terraform 1.9 or later: developer.hashicorp.com/terraform/install" >&2; exit 1; }
	$(BIN)/pytest -m deploy

policy:  ## checkov's policies over the Terraform (in an environment of its own: it pins its own boto3)
	test -x build/policy/bin/checkov || { $(PYTHON) -m venv build/policy && build/policy/bin/pip install --quiet --disable-pip-version-check 'checkov>=3.2,<4'; }
	build/policy/bin/checkov --directory terraform --framework terraform --compact --quiet --skip-download

clean:  ## Remove what the other targets made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis out.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
