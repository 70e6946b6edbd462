# One competitor's day: make data, folds, look, fold=0 train, submit. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

config ?= configs/unet-resnet34.yaml
competition ?= tgs-salt
fold ?= 0
folds ?= 0 1 2 3 4
# How many trainings make runs at once: from -jN, which it passes down in MAKEFLAGS.
jobs = $(or $(patsubst -j%,%,$(filter -j%,$(MAKEFLAGS))),1)
python ?= python3
venv := .venv
run := $(venv)/bin/python -m segfold
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: help setup demo settings test test-slow test-browser chromium check data folds look bench bench-full zoo deconvnet train cv predict submit check-csv score compare upload sync record audit bundle expect board watch query pictures soup clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1 — /'

setup: $(venv)/.ready ## the virtual environment alone
# pip speaks up where something fails; else a line says what takes the minutes.
pip := $(venv)/bin/python -m pip install --quiet --disable-pip-version-check
$(venv)/.ready: requirements.txt requirements-dev.txt requirements-bench.txt pyproject.toml
	@$(python) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "segfold needs Python 3.11 or newer")'
	@test -x $(venv)/bin/python || { echo "installing into $(venv): some minutes, about 6 GB" && $(python) -m venv $(venv); }
	@$(pip) --upgrade pip
	@$(pip) -r requirements.txt -r requirements-dev.txt
	@# Both OpenCV wheels write cv2/; the one with more modules goes last, at the version of the other.
	@$(venv)/bin/python -c 'import cv2; cv2.ximgproc' 2>/dev/null || $(pip) --force-reinstall --no-deps \
	  "opencv-contrib-python-headless==$$($(venv)/bin/python -c 'from importlib.metadata import version; print(version("opencv-python-headless"))')"
	@$(pip) --no-deps --editable .
	@touch $@

demo: setup ## the whole road on an embedded data set, with its score against the known answer
	@$(run) demo

settings: setup ## docs/settings.md from the code
	@$(run) explain --markdown >docs/settings.part && mv docs/settings.part docs/settings.md || { rm -f docs/settings.part; exit 1; }

test: setup ## the test suite
	@OMP_NUM_THREADS=1 $(venv)/bin/python -m pytest -n 2 --dist loadfile -m "not slow and not browser"

test-slow: setup ## the tests that take minutes
	@OMP_NUM_THREADS=1 $(venv)/bin/python -m pytest -n 2 -m slow

test-browser: setup chromium $(venv)/.browser ## the tests of the board in Chromium: SEGFOLD_CHROMIUM names one that is not on the path
	@SEGFOLD_CHROMIUM="$(chromium)" SEGFOLD_BROWSER=required OMP_NUM_THREADS=1 $(venv)/bin/python -m pytest -n 2 --dist loadfile -m browser tests/browser

chromium = $(or $(SEGFOLD_CHROMIUM),$(firstword $(shell command -v chromium chromium-browser google-chrome)))
chromium:
	@test -n "$(chromium)" && command -v "$(chromium)" >/dev/null || { echo "no Chromium $(SEGFOLD_CHROMIUM): install it (Debian and Ubuntu: apt-get install chromium), or name it in SEGFOLD_CHROMIUM" >&2; exit 2; }

# Beside what the tests of Python need: what drives the browser, and the rules of accessibility, which stay out of git.
axe := axe-core@4.14.1
$(venv)/.browser: requirements-browser.txt Makefile $(venv)/.ready
	@$(pip) -r requirements-browser.txt
	@command -v npm >/dev/null || { echo "no npm, which fetches $(axe) for the test: install it (Debian and Ubuntu: apt-get install npm)" >&2; exit 2; }
	@npm install --prefix $(venv)/axe --no-save --no-audit --no-fund --loglevel=error $(axe) >/dev/null
	@touch $@

bench: setup ## every figure that the README quotes, against its peers: make bench, make bench only=NAME
	@BENCH_SCALE=$(or $(BENCH_SCALE),0.5) $(venv)/bin/python -m benchmarks $(if $(only),--only "$(only)")

bench-full: ## the same at full size, which takes long for large images: make bench-full only=tiles
	@$(MAKE) --no-print-directory bench BENCH_SCALE=1 $(if $(only),only="$(only)")

zoo: override competition := $(competition:camvid-voc=camvid)
zoo: setup ## systems trained alike on real data: of TGS 4 minutes each, competition=camvid 10; weights=PATH only=NAME probe=1 epochs=60
	@test -d data/$(competition) || { echo "no data/$(competition): make data competition=$(competition) from=PATH first" >&2; exit 2; }
	@$(venv)/bin/python -m benchmarks.zoo --competition $(competition) $(if $(epochs),--epochs $(epochs)) $(if $(size),--size $(size)) \
	  $(if $(encoder),--encoder $(encoder)) $(if $(weights),--weights "$(weights)") $(if $(minutes),--minutes $(minutes)) \
	  $(if $(probe),--probe) $(if $(only),--only $(only)) $(if $(join),--join)

deconvnet: setup ## DeconvNet's road scored after each part, on CamVid and a made set: weights=FOLDER only=scales size=96 images=20000 set="model.width=16"
	@$(venv)/bin/python -m benchmarks.zoo.deconvnet $(if $(only),--only $(only)) $(if $(weights),--weights "$(weights)") \
	  $(if $(size),--size $(size)) $(if $(images),--images $(images)) $(if $(name),--name $(name)) $(set)

check: setup ## formatting, lint, types, import direction
	@$(venv)/bin/ruff format --check .
	@$(venv)/bin/ruff check .
	@$(venv)/bin/mypy
	@$(venv)/bin/python -m pytest tests/test_imports.py

data: setup ## the competition's data: from Kaggle, or from=PATH of a folder or zip; guess=PATH prints a competition file for it
	@$(run) data $(if $(guess),--guess "$(guess)",--competition $(competition) $(if $(from),--from "$(from)") $(if $(force),--force))

folds: setup ## folds/<competition>-5.csv
	@$(run) folds --competition $(competition)

look: setup ## a PNG sheet of augmented images with masks, before any training
	@$(run) look --config $(config) $(set)

audit: setup ## shift to the test set, near-duplicates and, with runs="runs/a runs/b", suspicious labels; files in audit/
	@$(run) audit $(runs) $(if $(runs),,--competition $(competition)) $(if $(alike),--alike $(alike))

train: setup ## one fold: make fold=0 train config=configs/quick.yaml
	@$(run) train --config $(config) --fold $(fold) $(if $(name),--run $(name)) $(set)

cv: $(folds:%=fold-%) ## all folds, then mean and standard error; make -j2 cv trains two at a time
	@$(run) cv --config $(config) --summary $(if $(name),--run $(name)) $(set)

fold-%: setup
	@$(run) train --config $(config) --fold $* --jobs $(jobs) $(if $(name),--run $(name)) $(set)

predict: setup ## what a submission of runs/* needs, or a share of it: make predict shard=1/4 runs=runs/x
	@$(run) predict $(or $(runs),runs/*) $(if $(shard),--shard $(shard))

soup: setup ## average the weights of runs, fold by fold: make soup runs="runs/a runs/b" name=NAME
	@$(run) soup $(runs) --run "$(name)"

submit: setup ## blend runs/* into a checked CSV
	@$(run) submit --ensemble runs/*

upload: setup ## send a CSV to Kaggle: make upload csv=submissions/x.csv message="…"
	@$(run) upload "$(csv)" --competition $(competition) $(if $(message),--message "$(message)") $(if $(wait),--wait $(wait))

sync: setup ## scores from Kaggle of all that was sent; shows the ledger
	@$(run) sync

record: setup ## a score by hand: make record csv=submissions/x.csv public=0.871 private=0.868
	@$(run) record "$(csv)" --competition $(competition) $(if $(public),--public $(public)) $(if $(private),--private $(private))
bundle: setup ## a recipe for a notebook without internet: make bundle recipe=submissions/x.recipe.yaml limit=9h
	@$(run) bundle "$(recipe)" $(if $(limit),--limit $(limit)) $(if $(images),--images $(images))

check-csv: setup ## check a CSV: make check-csv csv=submissions/x.csv
	@$(run) check-csv "$(csv)" --competition $(competition)

score: setup ## score a CSV against known masks: make score csv=… truth=…
	@$(run) score "$(csv)" --truth "$(truth)" --competition $(competition)

compare: setup ## which of two runs or recipes is better, how sure that is, and where: make compare a=runs/x b=runs/y
	@$(run) compare "$(a)" "$(b)" $(if $(nested),--nested) $(if $(plain),--plain)

expect: setup ## public and private score to be expected, with interval and medal lines: make expect csv=submissions/x.csv
	@$(run) expect "$(csv)"

board: setup ## runs/board.html: runs, scores, curves and every image in one page that opens from disk
	@$(run) board

watch: setup ## the same board while training runs, at http://127.0.0.1:8000; host= port=
	@$(run) watch $(if $(host),--host "$(host)") $(if $(port),--port "$(port)")

query: setup ## a question in SQL: make query sql="select run, avg(score) from folds group by run"; format=csv or json
	@$(run) query $${sql:+"$$sql"} $(if $(format),--format $(format))

pictures: setup chromium $(venv)/.browser ## the pictures of the board in docs/, of made-up data
	@SEGFOLD_CHROMIUM="$(chromium)" $(venv)/bin/python -m benchmarks.board_pictures

clean: ## remove the environment and caches; data, folds, runs and submissions stay
	rm -rf $(venv) .pytest_cache .mypy_cache .ruff_cache .hypothesis
