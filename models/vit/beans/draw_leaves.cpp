// draw_leaves OUT_FOLDER [--train N] [--validation N] [--test N] [--seed S]: writes the drawn leaves as a folder of
// JPEG files, laid out like the Beans set. A folder that already holds the same set is completed; any other is left
// alone.

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "beans/leaf_drawing.hpp"
#include "beans/sample_source.hpp"

namespace {

namespace fs = std::filesystem;

constexpr const char* kUsage = "usage: draw_leaves OUT_FOLDER [--train N] [--validation N] [--test N] [--seed S]";
constexpr const char* kManifest = ".leaves";

struct Usage : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Request {
  fs::path folder;
  esp::vit::LeafCounts counts;
  uint64_t seed = esp::vit::kLeafSeed;

  // One line that tells sets apart.
  std::string manifest() const {
    return "drawing " + std::to_string(esp::vit::kDrawingVersion) + " seed " + std::to_string(seed) + " train " +
           std::to_string(counts.train) + " validation " + std::to_string(counts.validation) + " test " +
           std::to_string(counts.test) + "\n";
  }
};

uint64_t parse_number(const std::string& flag, std::string_view text) {
  uint64_t number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc() || end != text.data() + text.size()) {
    throw Usage(flag + " wants a whole number, not '" + std::string(text) + "'");
  }
  return number;
}

Request parse(const std::vector<std::string>& arguments) {
  Request request;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string flag = arguments[i];
    if (flag.rfind("--", 0) != 0) {
      if (!request.folder.empty()) throw Usage("one folder is written, not also '" + flag + "'");
      request.folder = flag;
      continue;
    }
    const size_t equals = flag.find('=');
    if (equals == flag.npos && i + 1 == arguments.size()) throw Usage(flag + " wants a number behind it");
    const std::string value = equals == flag.npos ? arguments[++i] : flag.substr(equals + 1);
    flag.resize(std::min(equals, flag.size()));
    const uint64_t number = parse_number(flag, value);
    if (flag == "--seed") {
      request.seed = number;
      continue;
    }
    if (number > esp::vit::kMaxLeaves) throw Usage(flag + " is at most " + std::to_string(esp::vit::kMaxLeaves));
    if (flag == "--train")
      request.counts.train = number;
    else if (flag == "--validation")
      request.counts.validation = number;
    else if (flag == "--test")
      request.counts.test = number;
    else
      throw Usage("unknown flag " + flag);
  }
  if (request.folder.empty()) throw Usage("no folder is given");
  return request;
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Under a temporary name first: a file that is there is whole.
void write_file(const fs::path& path, const char* data, size_t bytes) {
  const fs::path unfinished = path.string() + ".part";
  std::ofstream file(unfinished, std::ios::binary | std::ios::trunc);
  file.write(data, static_cast<std::streamsize>(bytes));
  file.close();
  if (!file) throw std::runtime_error("cannot write " + unfinished.string());
  fs::rename(unfinished, path);
}

// The manifest is written first, so that a run that was interrupted can go on.
void claim(const Request& request) {
  fs::create_directories(request.folder);
  const fs::path manifest = request.folder / kManifest;
  if (fs::exists(manifest)) {
    if (read_text(manifest) == request.manifest()) return;
    throw std::runtime_error(request.folder.string() +
                             " holds another set of leaves; give another folder or remove it");
  }
  if (!fs::is_empty(request.folder)) {
    throw std::runtime_error(request.folder.string() +
                             " is not empty and was not made by draw_leaves; give another folder");
  }
  write_file(manifest, request.manifest().data(), request.manifest().size());
}

struct Job {
  size_t split, index;
  fs::path path;
};

std::vector<Job> missing_files(const fs::path& folder, const esp::vit::Catalog& catalog) {
  std::vector<Job> jobs;
  for (size_t split = 0; split < catalog.splits.size(); ++split) {
    const auto& samples = catalog.splits[split].samples;
    for (size_t i = 0; i < samples.size(); ++i) {
      const fs::path path = folder / samples[i].name;
      fs::create_directories(path.parent_path());
      if (!fs::exists(path)) jobs.push_back({split, i, path});
    }
  }
  return jobs;
}

void draw_all(const esp::vit::SampleSource& source, const std::vector<Job>& jobs) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      std::vector<uint8_t> file;
      for (size_t i = next++; i < jobs.size(); i = next++) {
        source.read(jobs[i].split, jobs[i].index, file);
        write_file(jobs[i].path, reinterpret_cast<const char*>(file.data()), file.size());
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
      next = jobs.size();
    }
  };
  std::vector<std::thread> threads(std::max(1u, std::thread::hardware_concurrency()));
  for (std::thread& thread : threads) thread = std::thread(work);
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Request request = parse({argv + 1, argv + argc});
    const auto source = esp::vit::draw_leaves(request.counts, request.seed);
    claim(request);
    const std::vector<Job> jobs = missing_files(request.folder, source->catalog());
    draw_all(*source, jobs);
    std::printf("%s: %zu leaves drawn\n", request.folder.c_str(), jobs.size());
    return 0;
  } catch (const Usage& error) {
    std::fprintf(stderr, "draw_leaves: %s\n%s\n", error.what(), kUsage);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "draw_leaves: %s\n", error.what());
    return 1;
  }
}
