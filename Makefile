# Everything a person or CI runs. `make` alone lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The torch build: on a GPU machine pip's default wheel brings CUDA. To save its download on a CPU-only machine set
# TORCH_INDEX_URL to PyTorch's CPU wheel index.
TORCH ?= torch==2.13.0
TORCH_INDEX_URL ?=
OUT ?= out/render
SERVE_OUT ?= out/serve
REQUIRE ?=
export REQUIRE

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCK := requirements.lock

.DEFAULT_GOAL := help
.PHONY: help setup setup-test render serve test lint k8s-test k8s-server-test unit parity storage online e2e faults s3-test console-test metrics-test grafana-test screenshots chaos chaos-gangs chaos-serve bench train-nano clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL)) $(TORCH)
	@touch $@

$(VENV)/.runtime: $(VENV)/.torch pyproject.toml $(LOCK)
	$(PIP) --constraint $(LOCK) --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.runtime
	$(PIP) --constraint $(LOCK) --editable '.[test]'
	@touch $@

setup: $(VENV)/.runtime ## Make the virtual environment with what the farm needs

setup-test: $(VENV)/.test ## ... and with what its tests need

render: setup ## Render the 24 example clips with the embedded nano model into out/render
	$(BIN)/wanfarm render examples/prompts.parquet --out $(OUT) --model nano

serve: setup ## Serve the videos API and its page at http://127.0.0.1:8000 with the nano model, output in out/serve
	$(BIN)/wanfarm serve --out $(SERVE_OUT) --model nano

test: lint unit parity storage online e2e k8s-test ## Run every check and test that a bare machine can

lint: setup-test ## Format, lint, types, import floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q

unit: setup-test ## Unit tests
	$(PYTEST) tests/unit

parity: setup-test ## Parity of the model with diffusers
	$(PYTEST) tests/parity

storage: setup-test ## Storage and ledger contracts: memory, local folder, S3 emulator
	$(PYTEST) tests/storage -m "not real_s3"

online: setup-test ## The videos API and its queue in one process: clients, limits, hostile input
	$(PYTEST) tests/online

e2e: setup-test ## The render job end to end, faults included
	$(PYTEST) tests/e2e -m "not real_s3 and not slow"

k8s-test: setup-test ## Manifests for KubeRay: every overlay, and broken ones that must be refused
	$(PYTEST) tests/k8s

k8s-server-test: setup-test ## The same objects in a real kube-apiserver (see tests/services; KUBERAY_CRDS=FOLDER)
	$(PYTEST) tests/k8s_server

faults: setup-test ## Faults of whole nodes, disks, gangs and pools: ten minutes more
	$(PYTEST) tests/e2e -m slow

s3-test: setup-test ## The suites that need a real S3 server (Ceph RGW; see tests/services)
	$(PYTEST) tests/storage tests/e2e -m real_s3

console-test: setup-test ## The console in a real browser (Chromium; see tests/services)
	$(PYTEST) tests/console

metrics-test: setup-test ## Every panel, rule and alert on a farm that works and breaks, under a real Prometheus
	$(PYTEST) -s tests/metrics

grafana-test: setup-test ## The dashboards against Grafana's own types (fetched with npm)
	$(PYTEST) tests/grafana

screenshots: setup-test ## Pictures of the console for the docs (Chromium)
	$(BIN)/python tests/console/screenshots.py docs/screenshots

chaos: setup-test ## Kill things at random moments for a while
	$(PYTEST) tests/chaos/test_random_faults.py --timeout 3600

chaos-gangs: setup-test ## Kill ranks, leaders, nodes and drivers of gangs, GANG_RUNS (30) runs
	$(PYTEST) tests/chaos/test_gangs.py -p no:randomly -s --timeout 900

chaos-serve: setup-test ## Kill a server with 500 jobs in the middle, and each of its parts
	$(PYTEST) tests/chaos/test_serve_faults.py -p no:randomly -s --timeout 1200

bench: setup ## Paired speed measurements (prints ratios, asserts nothing)
	for script in benchmarks/*.py; do $(BIN)/python $$script; done

train-nano: setup ## Train the embedded model from nothing (about two hours on 2 cores)
	$(BIN)/python -m jobs.train_nano train --out out/nano

clean: ## Remove the virtual environment and rendered output
	rm -rf $(VENV) out
