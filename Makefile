# SPDX-License-Identifier: Apache-2.0
# make demo    sample bag through the live node, on real ROS 2, without a ROS distribution
# make test    everything: lint, format, types, tests, colcon build and test
# make check   lint, format and types only
# make bench   measure this machine; needs what `make test` installs
# make soak    the node among random faults for half an hour
#
# PYTHON=python3.12          another interpreter (3.10 to 3.14), for new environments
# TORCH_SPEC='torch==2.9.1'  another torch, e.g. a CPU build together with PIP_EXTRA_INDEX_URL

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
TORCH_SPEC ?= torch==2.15.0

RUN := .venv
DEV := .venv-test
RUN_EXTRAS := ros,onnx,bags,evaluate,plot
DEV_EXTRAS := $(RUN_EXTRAS),openvino,quantise,sim,train,test,dev
BENCH_MODELS := 'tiny --input 256x320' 'random:small --input 480x640'
BENCH_PROGRAMS := bench bench.ceiling bench.decoding bench.growth bench.gpu bench.pairing bench.registration \
  bench.node_overhead bench.pretraining bench.thermal bench.training bench.transport bench.world
PIP_INSTALL := -m pip install --quiet --prefer-binary

define CHECK_PYTHON
$(PYTHON) -c 'import sys; v = sys.version_info; (3, 10) <= v < (3, 15) or sys.exit( \
  f"$(PYTHON) is Python {v[0]}.{v[1]}, expected 3.10 to 3.14; name another: make PYTHON=python3.12")'
endef

# Only this machine, and a domain where no other program is. A sourced ROS distribution must not
# reach into the environments made here: they have a ROS of their own.
export ROS_DOMAIN_ID := $(or $(ROS_DOMAIN_ID),$(shell echo $$((1 + RANDOM % 100))))
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
unexport AMENT_PREFIX_PATH COLCON_PREFIX_PATH PYTHONPATH VIRTUAL_ENV _ROS_WHEELS_BOOTSTRAP_COMPLETE

FOLDERS := $(wildcard rgbt_models rgbt_perception launch config bags resource)
INSTALLED := $(shell find $(FOLDERS) -type f -not -path '*/__pycache__/*') package.xml setup.py setup.cfg
PIP_ROS := $(wildcard tools/pip_ros/*.py tools/pip_ros/interfaces/*/*.xml tools/pip_ros/interfaces/*/msg/*)

.PHONY: demo test check pytest colcon bench soak clean
demo: $(RUN)/.installed
	$(RUN)/bin/rgbt demo

test: check pytest colcon

check: $(DEV)/.requirements
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy

# The models in the tests are small: one thread each is fastest, above all beside other work.
pytest colcon: export OMP_NUM_THREADS := 1

pytest: $(DEV)/.installed
	$(DEV)/bin/python -m pytest --durations=10 -n 2 --dist loadfile test/models
	$(DEV)/bin/python -m pytest --durations=10 --ignore=test/models

colcon: $(DEV)/.installed
	$(DEV)/bin/python tools/colcon_check.py

# One that breaks its bounds does not keep the others from running.
bench: $(DEV)/.installed
	@status=0; \
	for model in $(BENCH_MODELS); do \
	  $(DEV)/bin/rgbt bench $$model || status=1; \
	  $(DEV)/bin/python -m bench.node_load $$model || status=1; \
	done; \
	for program in $(BENCH_PROGRAMS); do \
	  $(DEV)/bin/python -m $$program || status=1; \
	done; \
	exit $$status

soak: $(DEV)/.installed
	$(DEV)/bin/python -m bench.soak

clean:
	rm -rf $(RUN) $(DEV) build install log *.egg-info .mypy_cache .pytest_cache .ruff_cache

# Runtime: no torch.
$(RUN)/.requirements: setup.py constraints/runtime.txt $(PIP_ROS)
	@$(CHECK_PYTHON)
	$(PYTHON) -m venv $(RUN)
	rm -rf build
	$(RUN)/bin/python $(PIP_INSTALL) -c constraints/runtime.txt '.[$(RUN_EXTRAS)]'
	$(RUN)/bin/python tools/pip_ros/install_vision_msgs.py
	touch $@

$(RUN)/.installed: $(RUN)/.requirements $(INSTALLED)
	rm -rf build
	$(RUN)/bin/python $(PIP_INSTALL) --no-deps --force-reinstall .
	touch $@

# Tests: everything, and the package editable, so that what is tested is the tree.
$(DEV)/.requirements: setup.py constraints/dev.txt constraints/tensorrt_bindings.txt $(PIP_ROS)
	@$(CHECK_PYTHON)
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python $(PIP_INSTALL) -c constraints/dev.txt '$(TORCH_SPEC)' -e '.[$(DEV_EXTRAS)]'
	$(DEV)/bin/python tools/pip_ros/install_vision_msgs.py
	$(DEV)/bin/python tools/tensorrt_stub/fetch_bindings.py
	touch $@

$(DEV)/.installed: $(DEV)/.requirements $(INSTALLED)
	$(DEV)/bin/python $(PIP_INSTALL) --no-deps --force-reinstall -e .
	touch $@
