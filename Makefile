# make test: the whole check; make test-fast: all but the slow tests. make docs: the site. make demo: from nothing to a trained and probed network.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   := demo

# torchcodec, which the tests compare with, brings no FFmpeg: it is lent PyAV's. Where Python is told to keep no bytecode,
# each process would compile the tests again. Three processes for two cores: some tests wait for processes that they kill.
FFMPEG := LD_LIBRARY_PATH="$$($(BIN)/python -m tests.helpers.ffmpeg $(VENV)/ffmpeg)$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}"
PYTEST := PYTHONDONTWRITEBYTECODE= $(FFMPEG) \
    $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: install test pytest test-fast lint docs docs-pictures wheel demo bench-gate clean

install: $(VENV)/.installed

# The stamp is written last, so that an install that broke off starts again.
$(VENV)/.installed: setup.cfg setup.py pyproject.toml constraints.txt dali_pipelines/kernels/kernels.c
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "clipfeed needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/codespell
	$(BIN)/mypy

wheel: install
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

# Beside the tests, as mypy keeps only one core busy, and in a fresh checkout for half a minute.
test: install
	@$(MAKE) --no-print-directory -j 2 lint pytest

pytest: install
	$(PYTEST)
	@if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then $(BIN)/pytest -m gpu; fi

test-fast: install
	$(PYTEST) -m 'not slow'

# NO_MKDOCS_2_WARNING silences an announcement of the theme's makers.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "site/index.html"

# One process per GPU; without a GPU two processes share the CPU.
demo: install
	$(BIN)/python -m dali_pipelines.demo_data --out $(DEMO)/data
	$(BIN)/clipfeed preview --config configs/ctp/demo.yaml --data-dir $(DEMO)/data --out $(DEMO)/preview.png
	$(BIN)/torchrun --standalone \
	    --nproc_per_node=$$($(BIN)/python -c 'import torch; print(torch.cuda.device_count() or 2)') \
	    trainers/pretrain.py --config configs/ctp/demo.yaml --data-dir $(DEMO)/data --work-dir $(DEMO)/ctp
	$(BIN)/python trainers/probe.py --work-dir $(DEMO)/ctp --train train.txt --test test.txt --json $(DEMO)/probe.json
	$(BIN)/python trainers/report.py --work-dir $(DEMO)/ctp --probe $(DEMO)/probe.json --out $(DEMO)/loss.png
	@echo "  preview       $(DEMO)/preview.png: what the network saw, with the boxes that it has to follow"

# Whether the loader is as fast as it was, in ratios of CPU time; `make test` has only the exact counts.
bench-gate: install
	$(FFMPEG) $(BIN)/python -m bench.gate

# The pictures of the docs, from synthetic videos: docs/images/.
docs-pictures: install
	$(BIN)/python -m docs.pictures

clean:
	rm -rf $(VENV) $(DEMO) runs site
