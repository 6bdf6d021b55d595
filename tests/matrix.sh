#!/usr/bin/env bash
# A smoke suite on every Python and JAX that the package is for, and on the oldest of what it depends on.
# Each has an environment of its own in .matrix; a Python that is not installed is named and left out.
set -euo pipefail
cd "$(dirname "$0")/.."

smoke=(tests/core/test_core.py tests/flatten/test_files.py tests/training/test_fit.py tests/solvers/ode/test_neural_ode.py tests/solvers/deq/test_deq.py)
lowest=(jax==0.10.0 diffrax==0.7.2 equinox==0.13.3 numpy==2.0.2 optax==0.2.5 scipy==1.14.0 safetensors==0.5.0)

check() { # python, name, requirements
    local python=$1 name=$2 environment=.matrix/$2
    shift 2
    if ! command -v "$python" >/dev/null || ! "$python" -c ''; then
        echo "$name: no $python here"
        return
    fi
    "$python" -m venv "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[tests]' "$@"
    echo "$name: $("$environment/bin/python" -c 'import jax, equinox, sys; print(f"Python {sys.version.split()[0]}, JAX {jax.__version__}, equinox {equinox.__version__}")')"
    "$environment/bin/python" -m pytest -n auto --dist loadgroup -m "not slow" -o cache_dir="$environment/.cache" "${smoke[@]}"
}

check python3.11 lowest "${lowest[@]}"
for python in python3.11 python3.12 python3.13; do
    check "$python" "$python-jax-0.10" 'jax==0.10.*'
done
check python3.12 python3.12-jax-0.11 'jax==0.11.*'
check python3.13 python3.13-jax-0.11 'jax==0.11.*'
