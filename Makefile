# The same two commands as in the README, for those who have make.
.PHONY: run test
run: .venv/.ready
	.venv/bin/python scripts/run.py
test: .venv/.ready
	.venv/bin/python -m pytest
.venv/.ready: pyproject.toml constraints.txt
	python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e '.[dev]' && touch $@
