# `make demo` and `make test` need Python >= 3.11 and a network, nothing else: they make .venv and install into it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo examples test test-slow matrix oracle lint bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.examples
	$(BIN)/python examples/hare_and_lynx.py

examples: $(VENV)/.examples
	$(BIN)/python examples/flat_vector.py
	$(BIN)/python examples/digits.py
	$(BIN)/python examples/vowels.py
	$(BIN)/python examples/pendulum.py
	$(BIN)/python examples/hard_data.py
	$(BIN)/python examples/theophylline.py
	$(BIN)/python examples/three_equations.py
	$(BIN)/python examples/puromycin.py
	$(BIN)/python examples/missing_data.py
	$(BIN)/python examples/hybrid_error_bars.py
	$(BIN)/python examples/stat5.py
	$(BIN)/python examples/deq_digits.py
	$(BIN)/python examples/deq_sequence.py

test: $(VENV)/.tests lint
	$(BIN)/python -m pytest -n auto --dist loadgroup -m "not slow"

test-slow: $(VENV)/.tests $(VENV)/.oracle $(VENV)/.examples
	$(BIN)/python -m pytest -n auto --dist loadgroup

# A smoke suite on each Python from 3.11 to 3.13, on JAX 0.10 and 0.11, and on the lowest versions of pyproject.toml.
matrix:
	bash tests/matrix.sh

# Writes the figures of PyTorch that the tests compare with; test-slow checks that they are what it computes.
oracle: $(VENV)/.tests $(VENV)/.oracle
	$(BIN)/python tests/torch_oracle/record.py

lint: $(VENV)/.tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python

# PyTorch is the peer; TORCH chooses its build, such as TORCH=torch==2.13.0.
TORCH ?= torch
bench: $(VENV)/.benchmarks
	$(BIN)/python benchmarks/flatten.py
	$(BIN)/python benchmarks/segments.py
	$(BIN)/python benchmarks/products.py
	$(BIN)/python benchmarks/layers.py
	$(BIN)/python benchmarks/initialization.py
	$(BIN)/python benchmarks/initialization_layers.py
	$(BIN)/python benchmarks/neural_ode.py
	$(BIN)/python benchmarks/ode_batches.py
	$(BIN)/python benchmarks/ode_saving.py
	$(BIN)/python benchmarks/ode_lorenz.py
	$(BIN)/python benchmarks/ode_memory.py
	$(BIN)/python benchmarks/fixed_point.py
	$(BIN)/python benchmarks/fixed_point_least_squares.py
	$(BIN)/python benchmarks/estimation_starts.py
	$(BIN)/python benchmarks/deq.py
	$(BIN)/python benchmarks/deq_memory.py
	$(BIN)/python benchmarks/deq_starts.py

clean:
	rm -rf $(VENV) .matrix examples/.cache .jax_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "sciml_lux needs Python 3.11 or newer, and $(PYTHON) is older; write make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.examples $(VENV)/.tests $(VENV)/.oracle: $(VENV)/.%: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(VENV)/.benchmarks: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(TORCH)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[benchmarks]'
	@touch $@
