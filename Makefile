PYTHON ?= python3
BIN = .venv/bin

.PHONY: docs pages demo test long test-versions matrix models test-llm benchmark-detection benchmark-estimate benchmark-serving benchmark-monitoring benchmark-scale benchmark-quick faults attack conformance check style types contracts fix lock clean

demo: .venv/ready  ## a degradation and its recovery on real data, on SQLite; seconds
	$(BIN)/stillsafe demo

test: check  ## every check and every test; half an hour
	scripts/ensure-debian-packages chromium cron faketime nginx openssl prometheus
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 4 --dist worksteal -m "not serial and not long"
	$(BIN)/pytest -m serial

long: .venv/ready  ## the tests of the benchmarks, the tour, and further stores, cases and kills; not timed
	scripts/ensure-debian-packages chromium cron faketime nginx openssl prometheus
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 -m long

docs: .venv/ready  ## the site of the documentation, in .cache/site; strict; seconds
	$(BIN)/python -m scripts.build_site

pages: .venv/ready  ## the tests of the pages that start no service; a minute
	OMP_NUM_THREADS=1 $(BIN)/pytest -q tests/docs/test_signals_page.py tests/docs/test_architecture_page.py \
		tests/docs/test_documentation.py -k "not tutorial and not recipes and not operations and not cron and not observer"

benchmark-detection: .venv/ready  ## detection rates beside peers; an hour or two
	$(BIN)/python -m benchmarks.detection
	$(BIN)/python -m benchmarks.detection life --half both --peers --jobs 2

benchmark-estimate: .venv/ready  ## the estimated loss beside NannyML's, against labels; hours
	$(BIN)/python -m benchmarks.estimate

benchmark-serving: .venv/ready  ## speed of logged answers, beside peers that log nothing; an hour
	scripts/ensure-debian-packages wrk
	$(BIN)/python -m benchmarks.serving

benchmark-monitoring: .venv/ready  ## cost of a run over a large window, beside peers; half an hour
	$(BIN)/python -m benchmarks.monitoring

benchmark-scale: .venv/ready  ## how costs grow with rows, features, categories, connections, workers, versions, incidents; hours
	scripts/ensure-debian-packages wrk
	$(BIN)/python -m benchmarks.scale

benchmark-quick: .venv/ready  ## five ratios beside their last record: what got slower; two minutes
	scripts/ensure-debian-packages wrk
	$(BIN)/python -m benchmarks.quick

faults: .venv/ready  ## kills, outages and full disks, repeated, with the figures; an hour
	scripts/ensure-debian-packages cron faketime
	STILLSAFE_FAULTS=long STILLSAFE_TEST_HISTORIES=1000 $(BIN)/pytest -n 2 tests/faults \
		tests/monitoring/test_same_on_both_stores.py tests/store/test_window_cost.py
	$(BIN)/python -m benchmarks.monitoring history --rows 100000 --rounds 3

attack: .venv/ready  ## hostile clients, pages, operators and days, at length, with the figures; an hour
	scripts/ensure-debian-packages chromium nginx openssl prometheus
	STILLSAFE_ATTACK=long $(BIN)/pytest tests/attack tests/docs/test_examples.py tests/docs/test_security_page.py

test-versions:  ## the tests that touch libraries, on the oldest and on the newest versions; needs uv; half an hour each
	scripts/test-versions oldest $(PYTHON)
	scripts/test-versions newest $(PYTHON)

conformance: .venv/ready .cache/clients/ready  ## foreign clients of the Open Inference Protocol, and promtool; a minute
	scripts/ensure-debian-packages prometheus
	$(BIN)/python -m tests.dashboard.rules_conformance
	$(BIN)/python -m tests.serving.inference_conformance .cache/clients/bin/python

.cache/clients/ready:
	$(PYTHON) -m venv --clear .cache/clients
	.cache/clients/bin/pip install --quiet "tritonclient[http]" mlserver
	touch $@

matrix: .venv/ready  ## every pair of traffic conditions, healthy, broken and mended; prints the table; a quarter of an hour
	$(BIN)/python -m tests.matrix

models: .venv/ready  ## every estimator with every kind of table and file format, through a whole life; half an hour
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.models

test-llm: .venv/ready .cache/llm/ready  ## a real small language model explains the demo's incident; minutes
	$(BIN)/pytest -s tests/observer/real_model.py

.cache/llm/ready: scripts/prepare-llm
	scripts/prepare-llm .cache/llm $(PYTHON)

check: .venv/ready  ## static checks: format, lint, types, contracts, budgets; a minute
	$(MAKE) --no-print-directory --jobs 2 --output-sync style types contracts

style: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/ready
	$(BIN)/mypy

contracts: .venv/ready
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m scripts.check_contracts
	$(BIN)/python -m scripts.measure_code

fix: .venv/ready  ## apply automatic fixes, regenerate the reference and the picture
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m scripts.write_reference
	$(BIN)/python -m scripts.draw_architecture
	$(BIN)/python -m scripts.draw_states

lock:  ## pin the newest versions; needs uv
	uv pip compile --quiet --universal --generate-hashes --upgrade --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf .venv stillsafe-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@
