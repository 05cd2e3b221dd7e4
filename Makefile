# make demo   see it work: set up, train on real digits, say where the pictures are
# make run    keep everything running in this terminal; Ctrl-C stops it
# make test   set up and pass the tests; what needs strace or root is skipped where that is missing
# make quick  those of them that take milliseconds, while one works on it: under a minute in all
# make prove  try promises that are hard to keep on every case: needs strace and root, and 2 hours
# make prove-the-proofs  take one guard after the other out, and see that its proofs notice: half an hour.
#             ONLY="true_png kill" for these proofs alone
# make lint   ruff and mypy
# make bench  measure, beside other tools; half an hour. QUICK=1 or ONLY="product chain" make it shorter
# make containers-test  build the image, bring all up, drop, kill, take down: needs Docker or podman, root,
#             hadolint and docker-compose; minutes
# make docs   write the options into docs/reference.md, as --help says them

PYTHON ?= python3
BIN := .venv/bin
INSTALL := -m pip install --quiet --disable-pip-version-check

.PHONY: demo run test quick prove prove-the-proofs lint format bench clean

demo: .venv/installed
	@$(BIN)/python -m pipeline.demo

# Unbuffered: honcho prints in its signal handler, which Python refuses within the write of a buffer.
run: .venv/installed
	@PYTHONUNBUFFERED=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/honcho start

test: .venv/installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal $(if $(CI),--cov)

quick: .venv/installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow and not prove and not root"

prove: .venv/installed-prove
	$(BIN)/python -m prove

prove-the-proofs: .venv/installed-dev
	$(BIN)/python -m prove.mutate $(ONLY)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/installed: requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11. Name a newer one: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 14))' || \
	  echo "$(PYTHON) is newer than 3.13: TensorFlow may not be built for it. If so: make clean, make PYTHON=python3.13 ..."
	@echo "setting up .venv (once; downloads about 700 MB)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python $(INSTALL) -c constraints.txt -r requirements.txt
	@touch $@

.venv/installed-dev: requirements-dev.txt requirements-export.txt .venv/installed
	@$(BIN)/python $(INSTALL) -c constraints.txt -r requirements-dev.txt -r requirements-export.txt
	@touch $@

.venv/installed-prove: requirements-prove.txt .venv/installed-dev
	@$(BIN)/python $(INSTALL) -c constraints.txt -r requirements-prove.txt
	@touch $@

bench: benchmarks/.venv/installed
	benchmarks/.venv/bin/python benchmarks/results.py $(ONLY)

benchmarks/.venv/installed: requirements.txt benchmarks/requirements.txt
	@echo "setting up benchmarks/.venv, with the tools to compare with (once)"
	@$(PYTHON) -m venv benchmarks/.venv
	@benchmarks/.venv/bin/python $(INSTALL) $(^:%=-r %)
	@touch $@

.PHONY: containers-test
containers-test:
	$(PYTHON) deploy/containers_test.py

.PHONY: docs
docs: .venv/installed
	$(BIN)/python docs/write_reference.py

clean:
	rm -rf .venv benchmarks/.venv
