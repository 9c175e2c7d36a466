PYTHON ?= python3
PORT ?= 3000
MODEL ?= models/alexnet-cifar10
RECIPE ?= alexnet-bn
DATA ?= cifar10
DATA_DIR ?= data
RUN ?= runs/$(RECIPE)
CHECKPOINT ?= $(RUN)/checkpoint.safetensors
BACKEND ?= docker
FLAVOUR ?= gpu
FALLBACK ?=
OPENVINO ?=

PY := .venv/bin/python
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
# An NVIDIA driver brings its own tool, and its version under /proc.
DRIVER := $(shell command -v nvidia-smi || ls /proc/driver/nvidia/version 2>/dev/null)
SERVING := .venv/serving-$(if $(DRIVER),cuda,cpu)

.DEFAULT_GOAL := help
.PHONY: help serve test setup train export bento image image-test bench check

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(SERVING) ## serve a bundle on PORT (MODEL=DIR or TAG, default: the shipped one)
	@$(PY) -m service serve --model '$(MODEL)' --port '$(PORT)'

test: .venv/everything check ## install what tests need, lint, check types, run every test
	$(PY) -m pytest

check: .venv/everything ## lint and check types
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

setup: .venv/everything ## install everything: serving, training, export, tests

train: .venv/everything ## train RECIPE on DATA from DATA_DIR into RUN (more options in ARGS)
	$(PY) -m training train --recipe '$(RECIPE)' --data '$(DATA)' --data-dir '$(DATA_DIR)' --out '$(RUN)' $(ARGS)

export: .venv/everything ## CHECKPOINT through the parity gate to build/bundle and the store
	$(PY) -m export '$(CHECKPOINT)' --out build/bundle --store alexnet $(ARGS)

bento: .venv/everything ## build a Bento with MODEL inside (FLAVOUR=gpu or cpu; FALLBACK=torch, OPENVINO=1 add to it)
	$(PY) -m service bento --model '$(MODEL)' --flavour '$(FLAVOUR)' --fallback '$(FALLBACK)' --openvino '$(OPENVINO)'

image: .venv/everything ## build a container image of it (BACKEND=docker, podman or buildah)
	$(PY) -m service image --model '$(MODEL)' --flavour '$(FLAVOUR)' --fallback '$(FALLBACK)' --openvino '$(OPENVINO)' --backend '$(BACKEND)'

image-test: .venv/everything ## build the image for the CPU, run it in a container, ask it and look at it (BACKEND=...)
	$(PY) -m benchmarks.image --model '$(MODEL)' --backend '$(BACKEND)'

bench: .venv/everything ## compare engines on MODEL, and ways of training, each in one run
	$(PY) -m benchmarks.inference --model '$(MODEL)'
	$(PY) -m benchmarks.training

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

.venv/serving-cpu: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALL) .
	@touch $@

.venv/serving-cuda: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALL) '.[cuda,torch]'
	@touch $@

.venv/everything: $(SERVING)
	$(INSTALL) '.[test]'
	@touch $@
