# The table of contents of the work. `just` lists it; without just, type what stands below a name.

_list:
    @just --list --unsorted

# A virtual environment with all that the work needs
setup:
    python3 -m venv .venv && .venv/bin/pip install -e '.[dev]'

# Everything that must pass before a change lands
ci:
    .ci/run

# The tests, or some of them: just test tests/test_store.py
test *which:
    .venv/bin/pytest -q {{which}}

# Lint and types
lint:
    .venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy --strict connector tests benchmarks

# Put the code into its usual form
format:
    .venv/bin/ruff format . && .venv/bin/ruff check --fix .

# JSON Schemas and the tables in docs/, made from the code
generate:
    .venv/bin/python -m tools.generate

# requirements.lock for the container, after a change in pyproject.toml
lock:
    .venv/bin/python -m tools.lock

# The same with the newest versions
upgrade:
    .venv/bin/python -m tools.lock --upgrade

# The figures of docs/performance.md: just benchmark ingest, or all
benchmark name:
    .venv/bin/python -m benchmarks {{name}}

# Build the container's image and run it; needs root and Debian's buildah, debootstrap, bubblewrap, but no engine
container:
    .venv/bin/python -m tools.container

# Start the connector in a container, with the example configuration
up:
    docker compose up --build --detach
