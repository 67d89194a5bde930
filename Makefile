# Everything from a fresh clone: `make demo` trains, `make network-demo` does so over the network with processes of their
# own, `make test` checks, `make test-long` too what takes minutes by nature. All set up .venv on their own.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo
NETWORK_DEMO := runs/network-demo

.PHONY: demo network-demo test test-long lint clean

demo: $(VENV)/.ready
	@rm -rf $(DEMO)-before
	@if [ -d $(DEMO) ]; then mv $(DEMO) $(DEMO)-before; echo "The earlier demo is now in $(DEMO)-before."; fi
	$(BIN)/fmtl run --strategy local --scenario default --out-dir $(DEMO)/local
	$(BIN)/fmtl run --strategy fedhca2 --scenario default --out-dir $(DEMO)/fedhca2
	$(BIN)/fmtl compare $(DEMO)/local $(DEMO)/fedhca2

network-demo: $(VENV)/.ready
	@rm -rf $(NETWORK_DEMO)-before
	@if [ -d $(NETWORK_DEMO) ]; then mv $(NETWORK_DEMO) $(NETWORK_DEMO)-before; \
	  echo "The earlier demo is now in $(NETWORK_DEMO)-before."; fi
	$(BIN)/fmtl rehearse --scenario network_demo --strategy local --strategy fedhca2 --num-server-rounds 2 --out $(NETWORK_DEMO)

# One thread for each process: more would wait for each other. Three for two cores, as one mostly waits for a network.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile

test-long: $(VENV)/.ready-for-tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m long

lint: $(VENV)/.ready-for-tests
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy --strict

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is newer than what it was made from, so that set-up is repeated when the dependencies change, and only then.
$(VENV)/.ready: pyproject.toml tools/set_up.py
	$(call set-up,)

$(VENV)/.ready-for-tests: pyproject.toml tools/set_up.py
	$(call set-up,--test)

define set-up
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "Error: there is no $(PYTHON); install Python 3.11 or newer, or name one: make PYTHON=/path/to/python." >&2; \
	  exit 1; }
	@"$(PYTHON)" tools/set_up.py "$(VENV)" $(1)
	@touch $@
endef
