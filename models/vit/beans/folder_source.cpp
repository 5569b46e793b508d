#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "data_error.hpp"
#include "sample_source.hpp"

namespace esp::vit {
namespace {

namespace fs = std::filesystem;

// The entries of a folder, with a DataError where it cannot be listed.
std::vector<fs::directory_entry> entries_of(const fs::path& folder) {
  std::error_code failure;
  std::vector<fs::directory_entry> entries;
  for (fs::directory_iterator it(folder, failure), end; !failure && it != end; it.increment(failure)) {
    entries.push_back(*it);
  }
  if (failure) throw DataError(ESP_E_IO, "cannot list " + printable(folder.string()) + ": " + failure.message());
  return entries;
}

// Reads the tree below one folder of images. Names of samples are relative to the root.
class FolderReader {
 public:
  explicit FolderReader(fs::path root) : root_(std::move(root)) {}

  SplitListing list(const std::string& split, const std::string& folder) {
    SplitListing listing{split, {}, {}};
    for (const fs::directory_entry& entry : entries_of(root_ / folder)) {
      const std::string name = entry.path().filename().string();
      if (is_hidden_name(name)) continue;
      std::error_code ignored;
      if (entry.is_directory(ignored)) {
        listing.classes.push_back(name);
        list_class(folder, name, listing);
      } else {
        skipped_.add(folder + "/" + name);
      }
    }
    return listing;
  }
  const Skipped& skipped() const { return skipped_; }

 private:
  void list_class(const std::string& folder, const std::string& class_name, SplitListing& listing) {
    for (const fs::directory_entry& entry : entries_of(root_ / folder / class_name)) {
      const std::string file = entry.path().filename().string();
      if (is_hidden_name(file)) continue;
      const std::string name = folder + "/" + class_name + "/" + file;
      if (!is_image_name(file)) {
        skipped_.add(name);
        continue;
      }
      std::error_code failure;
      const bool regular = entry.is_regular_file(failure);
      const uint64_t bytes = regular ? entry.file_size(failure) : 0;
      if (!regular || failure) {
        throw DataError(ESP_E_IO, "cannot read " + printable((root_ / name).string()) + ": " +
                                      (failure ? failure.message() : "not a regular file"));
      }
      listing.files.push_back({class_name, file, Sample{name, 0, bytes, 0, 0}});
    }
  }

  fs::path root_;
  Skipped skipped_;
};

class FolderSource : public SampleSource {
 public:
  explicit FolderSource(const std::string& path) : root_(path) {
    FolderReader reader(root_);
    std::vector<SplitListing> splits;
    for (const char* split : kSplitNames) {
      const std::vector<std::string> folders = existing(split);
      if (folders.size() > 1) {
        throw DataError(printable(path) + " has both " + folders[0] + "/ and " + folders[1] + "/; keep one of them");
      }
      if (!folders.empty()) splits.push_back(reader.list(split, folders[0]));
    }
    catalog_ = make_catalog(path, std::move(splits), reader.skipped());
  }

  void read(size_t split, size_t index, std::vector<uint8_t>& out) const override {
    const Sample& sample = catalog_.splits.at(split).samples.at(index);
    std::ifstream file(root_ / sample.name, std::ios::binary);
    if (!file) throw DataError(ESP_E_IO, std::string("cannot open: ") + std::strerror(errno));
    // One byte more than expected, so that growth shows too.
    out.resize(sample.bytes + 1);
    file.read(reinterpret_cast<char*>(out.data()), static_cast<std::streamsize>(out.size()));
    if (file.bad() || static_cast<uint64_t>(file.gcount()) != sample.bytes) {
      throw DataError(ESP_E_IO,
                      "changed while the run was reading it: " + std::to_string(sample.bytes) + " bytes expected");
    }
    out.resize(sample.bytes);
  }

 private:
  std::vector<std::string> existing(const std::string& split) const {
    std::vector<std::string> found;
    std::error_code ignored;
    for (const std::string& folder : split_aliases(split)) {
      if (fs::is_directory(root_ / folder, ignored)) found.push_back(folder);
    }
    return found;
  }

  fs::path root_;
};

}  // namespace

std::unique_ptr<SampleSource> open_folder(const std::string& path) { return std::make_unique<FolderSource>(path); }

}  // namespace esp::vit
