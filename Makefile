# make demo    the full pipeline on a synthetic dataset, with a report at the end
# make test    every check: style, types, import contracts, spelling, tests
# make bench   the benchmarks
# make docs    the documentation site, in site/, from docs/ and the docstrings
# make house   figures about the code: layout, sizes, docstrings, wording; FLAGS=--verbose says where
# make lint    the checks without the tests
# make lock    choose versions anew; commit what changes
# make setup   only build .venv, exactly as the lock files say

PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
UV := $(BIN)/uv
LOCKS := requirements-setup.lock requirements.lock requirements-source.lock
READY := .venv/ready

# Twenty seconds a video at 3 Hz: as long as at 5 Hz for the behaviour, two fifths less for two cores to do.
DEMO_MEADOW = $(BIN)/python -m jobs.meadow --root runs/meadow --meadow.scene.num-frames 60 --meadow.scene.fps-hz 3
DEMO_STUDY = $(BIN)/python -m jobs.study meadow --out runs/study
TESTS ?= tests

.PHONY: setup demo test bench docs house lint lock
.DELETE_ON_ERROR:

setup: $(READY)

# pip brings uv, uv brings the rest. Sources (iopath, antlr4, sam2) are built with the setuptools pinned in the first file;
# sam2 looks at torch while it is built, so it comes last, without its optional CUDA kernel.
$(READY): $(LOCKS)
	@test -n "$(PYTHON)" || { echo "sheep needs Python 3.11 or 3.12, and found neither (python3, python3.12, python3.11)." \
		"Install one, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v not in ((3, 11), (3, 12)) and \
		f"sheep needs Python 3.11 or 3.12, and $(PYTHON) is {v[0]}.{v[1]}. Name another: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-setup.lock
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --no-build-isolation -r requirements.lock
	SAM2_BUILD_CUDA=0 $(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --no-build-isolation --no-deps \
		-r requirements-source.lock
	@touch $@

demo: $(READY)
	test -e runs/meadow/cohort.csv || $(DEMO_MEADOW)
	$(DEMO_STUDY)

test: lint
	$(BIN)/python -m pytest -q $(TESTS)

bench: $(READY)
	@for file in $(wildcard benchmarks/*.py); do echo "== $$file"; $(BIN)/python -m "benchmarks.$$(basename "$$file" .py)" || exit 1; done

# The variable silences the theme's announcement of its successor.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

house: $(READY)
	$(BIN)/python -m benchmarks.house $(FLAGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

COMPILE := $(UV) pip compile --quiet --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 \
	--fork-strategy fewest

lock: $(READY)
	$(COMPILE) --upgrade requirements.in --output-file requirements.lock
	printf '%s\n' uv setuptools wheel | $(COMPILE) --upgrade --constraint requirements.lock - --output-file requirements-setup.lock
	printf '%s\n' sam2==1.1.0 | $(COMPILE) --no-deps --no-build-isolation --python $(BIN)/python - --output-file requirements-source.lock
