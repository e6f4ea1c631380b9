# Aval: `make` alone lists what can be asked for. Each target does the set-up that it needs, from a clean clone too, and
# is quick when nothing has changed.

VENV := .venv
PYTHON := $(VENV)/bin/python
BIN := $(VENV)/bin

# The first interpreter that answers and is recent enough; a pyenv shim may be there and answer nothing.
FIND_PYTHON = for python in python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done

# FINESS of the demonstration's establishments.
HOUSES = $(shell sed -n 's/^finess = "\(.*\)"/\1/p' adapters/aval/adapters/demo/ge-10.toml)

.DEFAULT_GOAL := help
.PHONY: help demo demos test fuzz hunt simulate mutants claims bench lint proto clean setup lock
.DELETE_ON_ERROR:

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## Run the territory and its story on this machine (SEED=7, SITES=8, ONCE=1 to stop it at the end)
	@$(BIN)/aval demo up $(if $(SEED),--seed $(SEED)) $(if $(SITES),--sites $(SITES)) $(if $(ONCE),--once)

demos: setup ## Play the story without each establishment in turn (WITHOUT="540001138 540003043": those only; an hour)
	@mkdir -p build; for finess in $(or $(WITHOUT),$(HOUSES)); do \
		$(BIN)/aval demo up --once --without $$finess >build/demo.log 2>&1 && tail -2 build/demo.log | head -1 \
			|| { cat build/demo.log; exit 1; }; done

test: lint ## Check everything: lint, then the whole test suite
	$(PYTHON) -m pytest -n 3 --dist loadfile

fuzz: setup ## Fuzz each parser of what strangers send (COUNT=100000 SEED=1 ONLY=hl7v2)
	@$(PYTHON) -m tests.fuzz --count $(or $(COUNT),100000) --seed $(or $(SEED),1) --only "$(ONLY)"

hunt: setup ## Try each property with other examples than the tests do (ROUNDS=10); a failure is told with its example
	@for round in $$(seq $(or $(ROUNDS),10)); do \
		AVAL_EXAMPLES=hunt $(PYTHON) -m pytest -m hypothesis -n 2 || exit 1; done

simulate: setup ## Run simulated territories under faults (SEEDS=1-200 STEPS=300 HUBS=1..3); a failure tells its trace
	@$(PYTHON) -m tests.simulation --seeds $(or $(SEEDS),1-200) --steps $(or $(STEPS),300) --hubs $(or $(HUBS),1)

mutants: setup ## Show that the simulation finds each bug that it is said to find (some minutes)
	@$(PYTHON) -m tests.simulation.mutants

claims: setup ## Ask for the last bed, 2, 8 and 64 at once, a hundred rounds each (ROUNDS=100; some minutes)
	@AVAL_CLAIMS_ROUNDS=$(or $(ROUNDS),100) $(PYTHON) -m pytest tests/scenarios/test_claims.py -p no:xdist

bench: setup ## Measure, and compare with the floors (tests/bench; not part of `make test`)
	$(PYTHON) -m pytest tests/bench -s -p no:xdist

lint: setup ## Check style, types, the contract and who imports whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(PYTHON) -m mypy
	$(BIN)/buf lint
	$(BIN)/lint-imports

proto: $(VENV)/.project ## Build the contract's Python code, if a .proto file has changed
	@$(PYTHON) proto/hatch_build.py

setup: proto ## Make the environment in .venv, exactly as requirements.lock says

lock: $(VENV)/.lock ## Choose the versions anew from pyproject.toml, with their hashes, into requirements.lock
	CUSTOM_COMPILE_COMMAND="make lock" $(PYTHON) -m piptools compile --quiet --strip-extras --allow-unsafe \
		--generate-hashes --extra test --all-build-deps --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --no-emit-options --output-file requirements.lock pyproject.toml

clean: ## Remove all that is made from the tracked files, save the environment
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache proto/.generated
	find proto node hub adapters tests \( -name '*_pb2*.py*' -o -name __pycache__ \) -prune -exec rm -rf {} +

$(PYTHON):
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then \
		echo "Aval needs Python 3.11 or newer, and neither python3.11 nor python3 is that here." >&2; \
		echo "Install it, then run make again." >&2; \
		exit 1; \
	fi; \
	echo "Making the environment in $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV)

$(VENV)/.lock: requirements.lock | $(PYTHON)
	@echo "Installing what requirements.lock names (about a minute)"
	@$(PYTHON) -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.project: $(VENV)/.lock pyproject.toml proto/hatch_build.py
	@$(PYTHON) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
