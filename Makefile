# Every target sets up what it needs in .venv first; that is instant when nothing changed (tools/setup.sh).
# Settings: PYTHON=python3.12  the interpreter that makes .venv
#           TORCH_INDEX=URL    the index that pip takes torch from
#           JOBS=4             test processes (default: one per core, at most 4)

PYTHON ?=
TORCH_INDEX ?=
JOBS ?= auto
export PYTHON TORCH_INDEX

PY := .venv/bin/python
SETUP := bash tools/setup.sh
COVERED := functional state data training
OWN := $(foreach part,$(COVERED),tests/$(part) src/accord/$(part))
PYTEST = OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --maxprocesses 4 --dist loadfile

.PHONY: help demo printed test lint bench comparison claims docs clean

help:  ## what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo:  ## train on noisy web labels, compare, search with words, write a report
	@$(SETUP) weights,serve
	@bash tools/demo.sh

printed:  ## after make demo: every command of the tutorial and the README as it is printed
	@$(SETUP) weights
	$(PY) tools/printed.py

test:  ## every test and docstring example; of the parts that all stand on, how much their own tests cover
	@$(SETUP) dev
	$(PYTEST) $(OWN) --cov --cov-report=
	@for part in $(COVERED); do \
	    echo "coverage of accord.$$part"; \
	    $(PY) -m coverage report --include="src/accord/$$part/*" --skip-covered --fail-under=90 || exit 1; \
	done
	$(PYTEST) $(OWN:%=--ignore=%)

lint:  ## ruff, mypy and the import order
	@$(SETUP) dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports

bench:  ## measure, and write benchmarks/results
	@$(SETUP) dev,bench
	$(PY) benchmarks/import_time.py
	$(PY) benchmarks/losses.py
	$(PY) benchmarks/alignment.py
	$(PY) benchmarks/banzhaf.py
	$(PY) benchmarks/peers_views.py
	$(PY) benchmarks/peers_graph.py
	$(PY) benchmarks/index.py
	$(PY) benchmarks/serving.py
	$(PY) benchmarks/plane.py
	$(PY) benchmarks/scale.py
	$(PY) benchmarks/verbs.py
	$(PY) benchmarks/mixtures.py
	$(PY) benchmarks/geodesic.py
	$(PY) benchmarks/discover.py
	$(PY) benchmarks/clean.py
	$(PY) benchmarks/clean_size.py
	$(PY) benchmarks/agreement.py
	$(PY) benchmarks/clips.py

comparison:  ## all image-text methods on the same data and budget: accuracy, step time, memory (about an hour)
	@$(SETUP) dev,bench,weights
	$(PY) benchmarks/methods.py

claims:  ## measure every claim (hours; goes on where it was stopped), and write claims/results
	@$(SETUP) dev,bench
	@for claim in claims/*.py; do .venv/bin/accord claims run "$$(basename "$$claim" .py)" || exit 1; done
	$(PY) tools/verdicts.py

docs:  ## build the documentation into site/
	@$(SETUP) dev,docs
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict
	@echo "read it: $(PY) -m http.server --directory site"

clean:  ## remove everything made here except runs/
	rm -rf .venv site dist .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests tools benchmarks claims docs -name __pycache__ -type d -prune -exec rm -rf {} +
