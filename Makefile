# make demo: reconstruct the bundled example. make test: checks and tests. make extension: the zip,
# and the index of a repository that serves it. make test-window: a windowed Blender, photographed.
# Another interpreter for .venv: make demo PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)
# What `import bpy` loads, and software OpenGL for its pictures.
BPY_LIBRARIES := libx11-6 libxrender1 libxfixes3 libxi6 libxkbcommon0 libsm6 \
	libgl1 libegl1 libegl-mesa0 libgl1-mesa-dri
BPY_SCRIPTS := $(VENV)/lib/python3.11/site-packages/bpy/4.5/scripts
EXTENSION_TOOL := $(BIN)/python $(BPY_SCRIPTS)/addons_core/bl_pkg/cli/blender_ext.py
EXTENSION_TAGS := --valid-tags $(BPY_SCRIPTS)/modules/_bpy_internal/extensions/tags.py
# Beside the one in .venv; each lies in a folder of its own and is found before that one.
OTHER_BPY := 4.2.23 5.0.1

# For make test-window: any command that starts Blender 4.3 or later, and where the pictures go.
BLENDER ?= blender
PICTURES ?= out/window

.PHONY: demo test test-blender test-window extension bpy-libraries
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	@mkdir -p out
	$(BIN)/python -m backend reconstruct examples/quickstart -o out/demo.glb \
		--texture uv --preview out/demo.png
	@echo "Mesh: $(CURDIR)/out/demo.glb"
	@echo "Preview picture: $(CURDIR)/out/demo.png"

test: $(VENV)/installed-test bpy-libraries
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/python -m pytest
	$(MAKE) test-blender

# The add-on's tests again, in the oldest and the newest Blender that has a module.
test-blender: $(VENV)/installed-test bpy-libraries
	@test -d $(BPY_SCRIPTS) || exit 0; set -e; for version in $(OTHER_BPY); do \
		folder=$(CURDIR)/build/bpy-$$version; \
		test -f $$folder/installed || { rm -rf $$folder; \
			$(BIN)/pip install --quiet --no-deps --target $$folder bpy==$$version; \
			touch $$folder/installed; }; \
		PYTHONPATH=$$folder $(BIN)/python -m pytest -m blender tests/blender_addon; \
	done

test-window: extension
	$(BIN)/python tests/window/take_pictures.py --blender '$(BLENDER)' --archive dist/*.zip \
		--python $(BIN)/python --pictures $(PICTURES)

extension: $(VENV)/installed-test
	@test -d $(BPY_SCRIPTS) || { echo "Building needs Blender's builder, which make installs on \
	Python 3.11 only; with Blender itself: blender --command extension build" >&2; exit 1; }
	@mkdir -p dist
	@rm -f dist/*.zip
	$(EXTENSION_TOOL) build --source-dir . --output-dir dist $(EXTENSION_TAGS)
	$(EXTENSION_TOOL) validate dist/*.zip $(EXTENSION_TAGS)
	$(EXTENSION_TOOL) server-generate --repo-dir dist --html

$(VENV)/installed: pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/pip install --editable .
	@touch $@

$(VENV)/installed-test: pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/pip install --editable '.[test,blender]'
	@touch $@ $(VENV)/installed

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "Python 3.11 or newer is \
	needed; '$(PYTHON) --version' says: $$($(PYTHON) --version 2>&1 | tail -n 1). Name another: make \
	$(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(call apt_install,$$($(PYTHON) -c \
		'import sys; print("python%d.%d-venv" % sys.version_info[:2])'))
	$(PYTHON) -m venv $(VENV)

bpy-libraries: $(VENV)/installed-test
	@test -d $(BPY_SCRIPTS) || { echo "Blender's module exists for Python 3.11 only: the tests \
	marked 'blender' are left out. To run them: rm -r $(VENV); make test PYTHON=python3.11"; exit 0; }; \
	command -v dpkg-query >/dev/null || exit 0; \
	missing=$$(for name in $(BPY_LIBRARIES); do \
		dpkg-query -W -f '$${db:Status-Status}' $$name 2>/dev/null | grep -qx installed || echo $$name; \
	done); test -z "$$missing" || $(call apt_install,$$missing)

# Failing only says so: what needs the packages then fails with its own words.
apt_install = { $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
	apt-get install -y -qq --no-install-recommends $(1); } || \
	echo "Debian packages could not be installed; please install by hand:" $(1) >&2
