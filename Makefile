# Five words: setup, demo, test, check, bench; and chaos for the longer promises.
PY := .venv/bin/python

.PHONY: setup servers demo test check bench chaos lock clean

setup: .venv/.ready

.venv/.ready: pyproject.toml requirements/dev.txt scripts/setup
	scripts/setup
	touch $@

servers: setup
	scripts/servers

demo: setup
	scripts/servers mosquitto
	.venv/bin/linegate demo $(if $(STAY),--stay)

test: servers
	$(PY) -m pytest tests -m "not chaos"

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: setup
	scripts/servers mosquitto
	$(PY) bench/run.py

chaos: servers
	$(PY) -m pytest tests -m chaos
	LINEGATE_DICE=anew $(PY) -m pytest tests -m "hypothesis and not chaos"

lock: setup
	scripts/lock

clean:
	rm -rf .venv run .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
