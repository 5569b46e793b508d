// What a part of the kit is given in its tests: a rank's host, as a strategy sees it.
#pragma once

#include <espalier/host.hpp>
#include <espalier/strategy.hpp>
#include <string>
#include <vector>

#include "toy_run.hpp"

class KitHost {
 public:
  explicit KitHost(MockWorld& world, int rank = 0, const MockUpdate& update = MockUpdate(),
                   uint32_t mode = ESP_MODE_TRAIN, uint32_t precision = ESP_PRECISION_DEFAULT)
      : mock(world, rank, update) {
    run_.struct_size = sizeof run_;
    run_.mode = mode;
    run_.rank = rank;
    run_.precision = precision;
    run_.world = world.size();
    run_.device_kind = ESP_CPU;
    run_.n_micro = run_.n_passes_max = 1;
  }

  esp_step step_at(uint32_t pos, uint32_t flags = 0) {
    esp_step step{};
    step.struct_size = sizeof step;
    step.flags = flags;
    step.pos = pos;
    step.compute = mock.compute();
    step.grads = mock.grads();
    return step;
  }

  // Operations of a name, by their number.
  std::vector<size_t> ops(const std::string& what) const {
    std::vector<size_t> found;
    for (size_t i = 0; i < mock.ops.size(); ++i) {
      if (mock.ops[i].what == what) found.push_back(i);
    }
    return found;
  }

  MockHost mock;

 private:
  esp_run run_{};
  const esp_config config_{sizeof(esp_config), 0, nullptr, &run_, nullptr, 0, 0};

 public:
  const esp::Host host{mock.host(), config_};
  const esp::Binder binder{mock.binder()};
};
