// Checks of the fused executor on a GPU, without the host.
//   fused_check kernels [small]                     each kernel against a plain computation
//   fused_check step LIBRARY [small]                the whole step against itself: graphs, recomputation, padding, ...
//   fused_check dump LIBRARY FOLDER SIZE ROWS DTYPE weights, batch and gradients to files, for compare.py
//   fused_check time LIBRARY ROWS...                forward and backward as one graph, median of 30
#include <cstring>
#include <fstream>

#include "driver.hpp"

namespace esp::vit::fused::test {
namespace {

ViTConfig config_for(const std::string& size) {
  ViTConfig config = config_of_size(size == "mini" ? "tiny" : size);
  if (size == "mini") {
    config.num_hidden_layers = 3;
    config.image_size = 64;
  }
  config.labels = {"a", "b", "c"};
  config.layer_norm_eps = 1e-6;
  return config;
}

Job job_for(const std::string& size, uint32_t rows, esp_dtype dtype = ESP_BF16) {
  Job job;
  job.config = config_for(size);
  job.rows = job.eval_rows = rows;
  job.compute = job.gradients = dtype;
  return job;
}

std::string text(const Distance& d, const Driver& driver) {
  char line[200];
  std::snprintf(line, sizeof line, "whole %.2e, worst %.2e (%s)%s", d.whole, d.worst,
                driver.parameters().all()[d.worst_at].name.c_str(), d.same_bits ? ", same bits" : "");
  return line;
}

void check_step(Checks& checks, const FusedTable& table, const Job& job, const std::string& name) {
  Driver driver(job, table);
  driver.step(0);
  const auto first = driver.gradients();
  const double loss = driver.loss_sum();
  const uint64_t correct = driver.correct();
  checks.equal(name + ": loss is a number", std::isfinite(loss) && correct <= job.rows,
               std::to_string(loss / job.rows) + ", " + std::to_string(correct) + " right");
  driver.poison_gradients();
  driver.clear_metrics();
  driver.step(1);
  Distance d = distance(driver.gradients(), first);
  checks.equal(name + ": a second step is the same", d.same_bits && driver.loss_sum() == loss, text(d, driver));

  driver.poison_gradients();
  driver.replay(1);
  d = distance(driver.gradients(), first);
  checks.equal(name + ": so is its graph", d.same_bits, text(d, driver));

  driver.clear_metrics();
  const auto predicted = driver.evaluate(job.rows);
  uint64_t right = 0;
  for (uint32_t i = 0; i < job.rows; ++i) right += predicted[i] == driver.content().labels[i];
  checks.equal(name + ": evaluation agrees", driver.loss_sum() == loss && right == correct && driver.correct() == right,
               std::to_string(driver.loss_sum() / job.rows));

  // Rows that do not count: whatever is in them.
  const uint32_t valid = job.rows - job.rows / 3 - 1;
  driver.set_valid({valid});
  driver.step(2);
  const auto padded = driver.gradients();
  auto pixels = driver.content().pixels;
  for (size_t i = pixels.size() / job.rows * valid; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 31);
  driver.set_pixels(pixels);
  driver.step(3);
  d = distance(driver.gradients(), padded);
  checks.equal(name + ": padding has no effect", d.same_bits, text(d, driver));
  driver.set_valid({0});
  driver.step(4);
  double any = 0;
  for (const auto& gradient : driver.gradients()) {
    for (const float x : gradient) any += std::fabs(x) > 0 || std::isnan(x) ? 1 : 0;
  }
  checks.equal(name + ": no valid row, no gradient", any == 0, std::to_string(any) + " elements are not zero");

  for (const Keep keep : {Keep::kNoGelu, Keep::kNoGeluNorm, Keep::kInputs}) {
    Job other = job;
    other.keep = keep;
    Driver again(other, table);
    again.step(0);
    d = distance(again.gradients(), first);
    checks.equal(name + ": recompute level " + std::to_string(static_cast<int>(keep)), d.whole < 1e-3 && d.worst < 1e-2,
                 text(d, driver) + ", " + std::to_string(again.host().bytes(ESP_TAG_ACTIVATION) >> 20) + "+" +
                     std::to_string(again.host().bytes(ESP_TAG_WORKSPACE) >> 20) + " MiB");
  }
  for (const uint32_t micros : {1u, 2u}) {
    Job one = job;
    one.n_micro = micros;
    Job two = one;
    two.aside = true;
    Driver serial(one, table), parallel(two, table);
    serial.step(0);
    parallel.step(0);
    const std::string what = name + ": " + std::to_string(micros) + " micro-batches, weight gradients aside";
    const auto wanted = serial.gradients();
    d = distance(parallel.gradients(), wanted);
    checks.equal(what, d.same_bits && parallel.loss_sum() == serial.loss_sum(), text(d, driver));
    for (int i = 0; i < 3; ++i) {  // what is enqueued in another order shows as other bits, sometimes
      parallel.poison_gradients();
      parallel.replay(5);
      d = distance(parallel.gradients(), wanted);
      checks.equal(what + ", graph", d.same_bits, text(d, driver));
    }
  }
  Job scattered_job = job;
  scattered_job.side_by_side = false;
  Driver scattered(scattered_job, table);
  scattered.step(0);
  d = distance(scattered.gradients(), first);
  checks.equal(name + ": scattered query, key, value", d.whole < 3e-3 && d.worst < 2e-2, text(d, driver));

  Job twice = job;
  twice.n_micro = 2;
  twice.gradients = ESP_F32;
  Driver added(twice, table);
  added.step(0);
  auto doubled = first;
  for (auto& gradient : doubled) {
    for (float& x : gradient) x *= 2;
  }
  d = distance(added.gradients(), doubled);
  checks.equal(name + ": two micro-batches, fp32", d.whole < 5e-3 && added.loss_sum() == 2 * loss, text(d, driver));
}

void write(const std::string& path, const void* data, size_t bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
  if (!file) {
    std::printf("cannot write %s\n", path.c_str());
    std::exit(3);
  }
}

// All files are fp32 or raw bytes; layout.txt says what stands where.
void dump(const FusedTable& table, const std::string& folder, const Job& job, const std::string& size) {
  Driver driver(job, table);
  driver.step(0);
  const auto gradients = driver.gradients();
  std::ofstream layout(folder + "/layout.txt");
  layout << size << ' ' << job.config.image_size << ' ' << job.config.patch_size << ' ' << job.config.hidden_size << ' '
         << job.config.num_hidden_layers << ' ' << job.config.num_attention_heads << ' ' << job.rows << ' '
         << (job.compute == ESP_BF16 ? "bf16" : "fp16") << ' ' << driver.loss_sum() / job.rows << ' '
         << driver.correct() << '\n';
  std::ofstream weights(folder + "/weights.bin", std::ios::binary), grads(folder + "/gradients.bin", std::ios::binary);
  for (size_t i = 0; i < gradients.size(); ++i) {
    const ViTParameter& parameter = driver.parameters().all()[i];
    layout << parameter.name;
    for (const int64_t extent : parameter.shape) layout << ' ' << extent;
    layout << '\n';
    const auto bytes = static_cast<std::streamsize>(gradients[i].size() * 4);
    weights.write(reinterpret_cast<const char*>(driver.content().parameters[i].data()), bytes);
    grads.write(reinterpret_cast<const char*>(gradients[i].data()), bytes);
  }
  const Content& content = driver.content();
  write(folder + "/pixels.bin", content.pixels.data(), content.pixels.size());
  write(folder + "/flip.bin", content.flip.data(), content.flip.size());
  write(folder + "/labels.bin", content.labels.data(), content.labels.size() * 8);
}

void time_batches(const FusedTable& table, int argc, char** argv) {
  std::printf("%6s %10s %12s %12s %12s\n", "batch", "way", "ms", "samples/s", "MiB");
  for (int i = 0; i < argc; ++i) {
    const auto rows = static_cast<uint32_t>(std::atoi(argv[i]));
    struct Way {
      const char* name;
      Keep keep;
      bool aside, side_by_side;
    };
    for (const Way& way : {Way{"none", Keep::kAll, false, true}, Way{"aside", Keep::kAll, true, true},
                           Way{"scattered", Keep::kAll, false, false}, Way{"gelu+norm", Keep::kNoGeluNorm, false, true},
                           Way{"block", Keep::kInputs, false, true}}) {
      Job job = job_for("base", rows);
      job.keep = way.keep;
      job.aside = way.aside;
      job.side_by_side = way.side_by_side;
      Driver driver(job, table);
      driver.step(0);
      driver.sync();
      const double ms = driver.replay(30);
      const uint64_t bytes = driver.host().bytes(ESP_TAG_ACTIVATION) + driver.host().bytes(ESP_TAG_WORKSPACE);
      std::printf("%6u %10s %12.3f %12.0f %12.0f\n", rows, way.name, ms, rows / ms * 1e3,
                  static_cast<double>(bytes) / (1 << 20));
      std::fflush(stdout);
    }
  }
}

int run(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  Checks checks;
  if (what == "kernels") {
    check_kernels(checks, argc > 2 && std::strcmp(argv[2], "small") == 0);
  } else if (what == "step" && argc > 2) {
    const FusedTable& table = load_library(argv[2]);
    const bool small = argc > 3;
    check_step(checks, table, job_for("mini", 5), "mini bf16 b5");
    if (!small) {
      check_step(checks, table, job_for("mini", 3, ESP_F16), "mini fp16 b3");
      check_step(checks, table, job_for("small", 16), "small bf16 b16");
      check_step(checks, table, job_for("base", 32), "base bf16 b32");
    }
  } else if (what == "dump" && argc > 6) {
    const Job job = job_for(argv[4], static_cast<uint32_t>(std::atoi(argv[5])),
                            std::strcmp(argv[6], "fp16") == 0 ? ESP_F16 : ESP_BF16);
    dump(load_library(argv[2]), argv[3], job, argv[4]);
    return 0;
  } else if (what == "time" && argc > 3) {
    time_batches(load_library(argv[2]), argc - 3, argv + 3);
    return 0;
  } else {
    std::printf(
        "usage: fused_check kernels [small] | step LIBRARY [small] | dump LIBRARY FOLDER SIZE ROWS DTYPE | "
        "time LIBRARY ROWS...\n");
    return 2;
  }
  std::printf("%s: %d of %d checks failed\n", what.c_str(), checks.failures(), checks.total());
  return checks.failures() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace esp::vit::fused::test

int main(int argc, char** argv) {
  try {
    return esp::vit::fused::test::run(argc, argv);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    std::printf("FAIL %s\n", error.what());
    return 1;
  }
}
