# Everything that can be done with a checkout. Needed: Python 3.11 or newer with venv and pip, and make.
#
#   make demo    the whole way, from data to predictions, in about a minute; stops by itself
#   make up      a server on this machine until Ctrl-C
#   make test    all tests, two at a time (PYTEST="tests/house" for some, one at a time)
#   make check   format, lint, types, import rule, contract
#   make bench   every speed figure (BENCH="predicting" for some; PEERS=1 beside KServe, which it installs)
#   make proto   generated code from proto/
#   make soak    the fuzz of routes and readers at length, then faults at length (hours; FAULTS="--kills 40 --loss-s 60
#                --minutes 10" for less): counts, exit code 1 for anything found
#   make test-gpu   the tests that want a GPU, where there is one (torch must be its CUDA build)
#
# TORCH_PIP holds options for pip where torch is installed, for instance the index of its CPU builds (smaller by
# gigabytes): make demo TORCH_PIP="--index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
TORCH_PIP ?=
PEERS ?=
BENCH ?=
# Two tests at a time, file by file; those marked `alone` wait for the room to be empty.
PYTEST ?= -n 2 --dist loadfile --no-loadscope-reorder
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo up test test-gpu soak check bench proto clean

.venv/server: pyproject.toml constraints.txt
	@echo "making the environment in .venv (torch and the server; some minutes the first time)"
	@$(PYTHON) -c 'import sys; sys.exit("traind needs Python 3.11 or newer; set PYTHON=") if sys.version_info < (3, 11) else 0'
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@$(PIP) $(TORCH_PIP) "$$(grep '^torch==' constraints.txt)"
	@$(PIP) --editable '.[worker]'
	@touch $@

.venv/dev: .venv/server
	@echo "adding what tests and checks need"
	@$(PIP) --editable '.[worker,dev]'
	@touch $@

.venv/bench: .venv/dev
	@echo "adding what the figures are measured against"
	@$(PIP) --editable '.[worker,dev,bench]'
	@touch $@

.venv/soak: .venv/dev
	@echo "adding the fuzzer of the readers"
	@$(PIP) --editable '.[worker,dev,soak]'
	@touch $@

.venv-proto/ready: Makefile
	@echo "making the environment of the code generators in .venv-proto"
	@test -x .venv-proto/bin/python || $(PYTHON) -m venv .venv-proto
	@.venv-proto/bin/python -m pip install --quiet --disable-pip-version-check \
	  grpcio-tools==1.81.1 mypy-protobuf==5.1.0 protovalidate==2.1.0 googleapis-common-protos==1.76.0
	@touch $@

# The contract with its imports, as descriptors: what generators of other languages take.
build/api.binpb: .venv-proto/ready $(wildcard proto/traind/v1/*.proto)
	@.venv-proto/bin/python proto/generate.py build/contract
	@cp build/contract/build/api.binpb $@

# Stock clients of the Open Inference Protocol and of gRPC, each in an environment of its own, for tests/interop.
.venv-clients/ready: Makefile pyproject.toml build/api.binpb $(wildcard examples/services/node/*)
	@echo "making the environments of other people's clients in .venv-clients"
	@for name in triton kserve fastapi; do \
	  test -x .venv-clients/$$name/bin/python || $(PYTHON) -m venv .venv-clients/$$name; done
	@.venv-clients/triton/bin/python -m pip install --quiet --disable-pip-version-check \
	  tritonclient==2.73.0 geventhttpclient==2.6.1 aiohttp==3.14.5 packaging grpcio==1.85.3 protobuf==7.36.2
	@.venv-clients/kserve/bin/python -m pip install --quiet --disable-pip-version-check kserve==0.21.0
	@.venv-clients/fastapi/bin/python -m pip install --quiet --disable-pip-version-check \
	  --requirement examples/services/fastapi/requirements.txt .
	@rm -rf .venv-clients/node && mkdir -p .venv-clients/node && cp examples/services/node/*.* .venv-clients/node
	@if command -v npm > /dev/null; then cd .venv-clients/node && npm ci --silent --no-audit --no-fund && \
	  npm exec -- buf generate ../../build/api.binpb; \
	  else echo "no npm: the test of the Node.js example is left out"; fi
	@touch $@

# For `make bench PEERS=1`.
.venv-clients/kserve-torch: .venv-clients/ready
	@echo "adding torch to KServe's environment"
	@.venv-clients/kserve/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH_PIP) \
	  "$$(grep '^torch==' constraints.txt)"
	@touch $@

demo: .venv/server
	@.venv/bin/python examples/demo.py

up: .venv/server
	@TRAIND_DATA_DIR="$${TRAIND_DATA_DIR:-.traind}" .venv/bin/python -m service up

test: .venv/dev .venv-clients/ready
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest $(PYTEST)

test-gpu: .venv/dev
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m gpu $(PYTEST)

soak: .venv/soak
	OMP_NUM_THREADS=1 .venv/bin/python -m tests.fuzz $(SOAK)
	OMP_NUM_THREADS=1 .venv/bin/python -m tests.faults $(FAULTS)

bench: .venv/bench
	OMP_NUM_THREADS=1 PEERS=$(PEERS) .venv/bin/python -m bench $(BENCH)

proto: .venv-proto/ready .venv/dev
	.venv/bin/buf format -w proto
	.venv-proto/bin/python proto/generate.py
	.venv/bin/buf lint build/api.binpb --config proto/buf.yaml
	.venv/bin/python proto/unasync_client.py

check: .venv/dev .venv-proto/ready
	.venv/bin/ruff format --check --quiet
	.venv/bin/ruff check --quiet
	.venv/bin/mypy --no-error-summary
	.venv/bin/lint-imports --no-logo
	.venv/bin/buf format -d --exit-code proto
	@rm -rf build/fresh && mkdir -p build/fresh
	.venv-proto/bin/python proto/generate.py build/fresh
	.venv/bin/buf lint build/fresh/build/api.binpb --config proto/buf.yaml
	.venv/bin/python proto/unasync_client.py build/fresh
	@for path in clients/traind/v1 clients/buf service/rpc/oip/open_inference_pb2.py service/rpc/oip/open_inference_pb2.pyi \
	    clients/traind/{client,datasets,jobs,listing,models,uploading,watching}.py; do \
	  diff -r --brief -x __init__.py -x __pycache__ "$$path" "build/fresh/$$path" || \
	    { echo "$$path is not what make proto writes: run it and commit"; exit 1; }; \
	done
	@echo "check: all green"

clean:
	rm -rf .venv .venv-proto .venv-clients .traind build .hypothesis *.egg-info clients/*.egg-info .mypy_cache .pytest_cache .ruff_cache
