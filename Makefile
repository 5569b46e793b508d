# Two commands: `make demo` and `make test`. Both install what is missing, and only then build.
BUILD ?= build
HOST := $(BUILD)/stage/bin/host
DEMO := $(BUILD)/demo

# make CUDA=1 ...: the CUDA parts, too, with a compiler out of wheels instead of an installed toolkit.
with_cuda = cuda=;
ifeq ($(CUDA),1)
with_cuda = set -e; toolkit=$$(cmake/bootstrap.sh cuda); export CUDACXX=$$toolkit/cu13/bin/nvcc; \
  cuda="-DEspalier_CUDA=ON -DCMAKE_CUDA_COMPILER=$$CUDACXX -DEspalier_NCCL_INCLUDE=$$toolkit/nccl/include";
endif

.PHONY: demo test setup build package package-gpu-tests lint clean

demo: build
	$(BUILD)/stage/bin/draw_leaves $(DEMO)/leaves
	rm -rf $(DEMO)/run
	$(HOST) run --plugin=libddp.so --nproc=2 --data.path=$(DEMO)/leaves -c bench/demo.toml --out=$(DEMO)/run
	$(HOST) bench bench/sweeps/strategies.toml --data.path=$(DEMO)/leaves --out=$(DEMO)/strategies
	@echo "The trained model is in $(DEMO)/run/model; score it with:"
	@echo "  $(HOST) eval --model.weights=$(DEMO)/run/model --data.path=$(DEMO)/leaves --data.split=test"
	@echo "Reports to open in a browser: $(DEMO)/run/report.html, $(DEMO)/strategies/report.html"

# Building as it was configured the last time; the first time without the tests.
build:
	@cmake/bootstrap.sh build
	@$(with_cuda) { [ -f $(BUILD)/build.ninja ] && [ -z "$$cuda" ]; } || cmake -S . -B $(BUILD) -G Ninja -DEspalier_TESTS=OFF $$cuda
	cmake --build $(BUILD)

test:
	@cmake/bootstrap.sh test
	@$(with_cuda) cmake -S . -B $(BUILD) -G Ninja -DEspalier_TESTS=ON $$cuda
	cmake --build $(BUILD)
	cd $(BUILD) && ctest --parallel 2 --output-on-failure --label-exclude slow

setup:
	@cmake/bootstrap.sh build

package: build
	cd $(BUILD) && cpack -G TGZ

# The same and, beside it, what checks and measures it on a machine with GPUs. Needs nvcc, or CUDA=1.
package-gpu-tests:
	@cmake/bootstrap.sh test
	@$(with_cuda) cmake -S . -B $(BUILD) -G Ninja -DEspalier_TESTS=ON $$cuda
	cmake --build $(BUILD) --target package_gpu_tests

lint:
	@cmake/bootstrap.sh test
	cmake -DSOURCE=$(CURDIR) -P cmake/CheckFormat.cmake

clean:
	rm -rf $(BUILD)
