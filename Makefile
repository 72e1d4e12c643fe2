# One command for each thing to do; `make` alone lists them.
#
#   PYTHON  the interpreter to use, 3.11 or 3.12
#   ARGS    further arguments of pytest: make test ARGS="-k target"

PYTHON ?= python3
ARGS ?=

VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV := .venv-$(VERSION)
RUN := $(VENV)/bin/
STAMP := $(VENV)/.installed
BENCHMARKS := startup agent_overhead runtime_tool false_alarms push devices repeatability \
	conversion_overhead c_array emotion mobilenet fashion onnx_chain sensitivity microcontrollers \
	compare channels sparse_speed lowrank deep_compression distill lora low_bits multiples
# Its ONNX model needs onnx2tf 2, which starts with that version.
BENCHMARKS += $(if $(filter 3.12,$(VERSION)),formats)

ifneq ($(filter-out help clean,$(or $(MAKECMDGOALS),help)),)
ifeq ($(filter 3.11 3.12,$(VERSION)),)
$(error edgepack needs Python 3.11 or 3.12, but $(PYTHON) is $(or $(VERSION),not there); \
type: make $(MAKECMDGOALS) PYTHON=python3.11)
endif
endif

.PHONY: help demo lab test test-all check format benchmarks clean
.DELETE_ON_ERROR:

help:  ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(STAMP)  ## compress, convert, verify and time a model on embedded data
	$(RUN)edgepack demo

lab: $(STAMP)  ## bench the demo's bundle on a virtual Raspberry Pi over SSH; needs QEMU and root
	$(RUN)python tests/lab/bench_demo.py

test: $(STAMP)  ## the tests, without the large matrices
	$(RUN)pytest -m 'not slow' $(ARGS)

test-all: $(STAMP)  ## all tests
	$(RUN)pytest $(ARGS)

check: $(STAMP)  ## format, lint, types, architecture
	$(RUN)ruff format --check .
	$(RUN)ruff check .
	$(RUN)mypy
	$(RUN)pytest -q tests/test_architecture.py

format: $(STAMP)  ## put the source into its format
	$(RUN)ruff format .
	$(RUN)ruff check --fix .

benchmarks: $(STAMP)  ## measure what the README shows; many hours, EDGEPACK_MODELS set
	@for name in $(BENCHMARKS); do \
		echo "benchmarks/$$name.py"; $(RUN)python "benchmarks/$$name.py" || exit 1; done
	$(RUN)python benchmarks/tables.py

clean:  ## remove all that these commands made
	rm -rf .venv-3.* .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build *.egg-info

# Without its stamp an environment was never finished, so it is made anew.
$(STAMP): pyproject.toml constraints-$(VERSION).txt
	@test -e $@ || $(PYTHON) -m venv --clear $(VENV)
	@rm -f $@
	$(RUN)python -m pip install --disable-pip-version-check \
		-c constraints-$(VERSION).txt -e '.[build,dev,mcu,onnx,quantize]'
	@touch $@
