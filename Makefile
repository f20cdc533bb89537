# Two commands do everything on a fresh machine: `make demo` and `make test`.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 2
unexport PYTHONDONTWRITEBYTECODE  # each process would compile all of torch anew

WIDE := --search.study runs/demo-search --search.trials 8 --search.pick '{at_most: {membership_calibrated: 0.58}}'

.PHONY: demo demo-full docs test test-whole campaign bench setup lock lint base clean

demo: setup  ## Search methods and masks on phantoms of a site that the base has never seen, fit the picked one, and audit it
	$(BIN)/python train.py search --config demo.yaml --config search/demo.yaml --config search/wide.yaml $(WIDE)
	$(BIN)/python train.py fit --config demo.yaml --config runs/demo-search/best.yaml
	$(BIN)/python train.py audit --config demo.yaml --config audit/demo.yaml --ckpt_path runs/demo --output runs/audit \
		|| test $$? -ge 3  # what a leak, or too little to say, ends with

demo-full: demo  ## Full fine-tuning with as many trials, and the audit of both side by side (ten minutes more)
	$(BIN)/python train.py search --config demo.yaml --config search/demo.yaml --config search/demo_full.yaml
	$(BIN)/python train.py fit --config demo.yaml --config adapter/full.yaml --config runs/demo-full-search/best.yaml --trainer.logger.init_args.name demo-full
	$(BIN)/python train.py audit --config demo.yaml --config audit/demo.yaml --ckpt_path runs/demo runs/demo-full --output runs/audit-full || test $$? -ge 3

PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder --durations 30

test: export OMP_NUM_THREADS := 1
test: setup  ## Run the tests, in two processes
	$(PYTEST)

test-whole: export OMP_NUM_THREADS := 1
test-whole: setup  ## Run what takes longer: whole studies, comparisons and audits, and further cases (fifteen minutes)
	$(PYTEST) -m 'whole and not slow and not gpu'

campaign: export OMP_NUM_THREADS := 1
campaign: setup  ## Run all hostile configs and files and all bad inputs (about twenty minutes); the tests run a sample
	$(BIN)/python -m tests.security.campaign --verbose

bench: export PYTHONPATH := .
bench: export OMP_NUM_THREADS := 1
bench: setup  ## Print the figures of benchmarks/ (about fifteen minutes), see benchmarks/RESULTS.md for the long ones
	MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=68719476736 $(BIN)/python benchmarks/step.py --size tiny --latents 8 --batch 16
	$(BIN)/python benchmarks/loop.py --steps 20
	$(BIN)/python benchmarks/layouts.py
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/trial.py --steps 40 --images 32
	$(BIN)/python benchmarks/table.py --rows 10000
	$(BIN)/python benchmarks/neighbours.py
	$(BIN)/python benchmarks/proposers.py --seeds 3
	$(BIN)/python benchmarks/halving.py --seeds 2

lint: setup  ## Check style, types, and which room imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: export NO_MKDOCS_2_WARNING := 1
docs: setup  ## Build the documentation into site/; a broken link or name fails
	$(BIN)/mkdocs build --quiet

setup: $(VENV)/.done  ## Install; nothing to do when it is current

$(VENV)/.done: pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --no-build-isolation --editable .
	touch $@

lock:  ## Choose the newest versions that pyproject.toml allows, and write them with their hashes
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra dev --generate-hashes \
		--no-annotate --no-header --output-file requirements.lock pyproject.toml

base: setup  ## Make the embedded base anew (about half an hour on two cores)
	$(BIN)/python tools/make_autoencoder.py base-parts
	$(BIN)/python train.py fit --config base.yaml
	$(BIN)/python train.py export --ckpt_path runs/base/version_0 --output memcontrol/assets/phantom-sd --dtype float16

clean:
	rm -rf $(VENV) runs base-parts site
