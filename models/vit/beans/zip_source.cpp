#include <algorithm>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>
#include <unordered_set>
#include <utility>

#include "data_error.hpp"
#include "sample_source.hpp"
#include "zip_archive.hpp"

namespace esp::vit {
namespace {

namespace fs = std::filesystem;

// "<split>/<class>/<file>" taken apart; nothing where the name has another depth.
struct MemberPath {
  std::string_view split, class_name, file;
};

std::optional<MemberPath> parse(std::string_view name) {
  const size_t first = name.find('/');
  const size_t second = first == name.npos ? name.npos : name.find('/', first + 1);
  if (second == name.npos || name.find('/', second + 1) != name.npos) return std::nullopt;
  return MemberPath{name.substr(0, first), name.substr(first + 1, second - first - 1), name.substr(second + 1)};
}

bool is_hidden_path(const std::string& name) {
  for (size_t from = 0; from < name.size();) {
    const size_t to = std::min(name.find('/', from), name.size());
    if (is_hidden_name(name.substr(from, to - from))) return true;
    from = to + 1;
  }
  return false;
}

// Members of one archive as a listing; locators are positions in archive.members().
SplitListing list_archive(const ZipArchive& archive, const std::string& split, const std::string& file_name,
                          Skipped& skipped) {
  SplitListing listing{split, {}, {}};
  std::unordered_set<std::string> classes;
  const std::vector<std::string> folders = split_aliases(split);
  for (size_t i = 0; i < archive.members().size(); ++i) {
    const ZipMember& member = archive.members()[i];
    if (is_hidden_path(member.name)) continue;
    const std::optional<MemberPath> path = parse(member.name);
    const bool in_split =
        path && !path->class_name.empty() && std::find(folders.begin(), folders.end(), path->split) != folders.end();
    if (in_split) classes.emplace(path->class_name);
    if (member.folder) continue;
    const std::string name = file_name + ":" + member.name;
    if (!in_split || !is_image_name(std::string(path->file))) {
      skipped.add(name);
      continue;
    }
    archive.check_limits(member);
    listing.files.push_back(
        {std::string(path->class_name), std::string(path->file), Sample{name, 0, member.bytes, member.checksum, i}});
  }
  listing.classes.assign(classes.begin(), classes.end());
  return listing;
}

class ZipSource : public SampleSource {
 public:
  explicit ZipSource(const std::string& path) {
    Skipped skipped;
    std::vector<SplitListing> splits;
    for (const char* split : kSplitNames) {
      for (const std::string& alias : split_aliases(split)) {
        const fs::path file = fs::path(path) / (alias + ".zip");
        std::error_code ignored;
        if (!fs::exists(file, ignored)) continue;
        if (!splits.empty() && splits.back().split == split) {
          throw DataError(printable(path) + " has both " + split + ".zip and " + alias + ".zip; keep one of them");
        }
        splits.push_back(open(file, split, skipped));
      }
    }
    catalog_ = make_catalog(path, std::move(splits), skipped);
  }

  void read(size_t split, size_t index, std::vector<uint8_t>& out) const override {
    const Sample& sample = catalog_.splits.at(split).samples.at(index);
    const ZipArchive& archive = *archives_[split];
    archive.read(archive.members()[sample.locator], out);
  }

 private:
  SplitListing open(const fs::path& file, const std::string& split, Skipped& skipped) {
    try {
      archives_.push_back(std::make_unique<ZipArchive>(file.string()));
      return list_archive(*archives_.back(), split, file.filename().string(), skipped);
    } catch (const DataError& error) {
      throw DataError(error.code(), printable(file.string()) + ": " + error.what());
    }
  }

  std::vector<std::unique_ptr<ZipArchive>> archives_;  // one per split, as in the catalogue
};

}  // namespace

std::unique_ptr<SampleSource> open_zips(const std::string& path) { return std::make_unique<ZipSource>(path); }

}  // namespace esp::vit
