#include "catalog.hpp"

#include <algorithm>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "data_error.hpp"

namespace esp::vit {
namespace {

constexpr size_t kExamples = 3;

// FNV-1a over fields with their lengths, so that no two catalogues read alike.
class Fingerprint {
 public:
  void add(std::string_view text) {
    add(static_cast<uint64_t>(text.size()));
    for (const char c : text) add_byte(static_cast<uint8_t>(c));
  }
  void add(uint64_t number) {
    for (int shift = 0; shift < 64; shift += 8) add_byte(static_cast<uint8_t>(number >> shift));
  }
  uint64_t value() const { return value_; }

 private:
  void add_byte(uint8_t byte) { value_ = (value_ ^ byte) * 0x100000001b3ull; }
  uint64_t value_ = 0xcbf29ce484222325ull;
};

std::vector<std::string> decide_classes(const std::vector<SplitListing>& splits) {
  const auto train =
      std::find_if(splits.begin(), splits.end(), [](const auto& s) { return s.split == kSplitNames[0]; });
  std::set<std::string> classes;
  for (const SplitListing& split : splits) {
    if (train == splits.end() || split.split == kSplitNames[0])
      classes.insert(split.classes.begin(), split.classes.end());
  }
  for (const SplitListing& split : splits) {
    for (const std::string& name : split.classes) {
      if (!is_utf8(name))
        throw DataError("class folder " + split.split + "/" + printable(name) +
                        " has a name that is not UTF-8; rename it");
      if (classes.count(name) == 0) {
        throw DataError("split " + split.split + " has the class " + printable(name) +
                        ", which train does not have; add it to train or remove it");
      }
    }
  }
  return {classes.begin(), classes.end()};
}

Split make_split(SplitListing listing, const std::vector<std::string>& classes, std::vector<std::string>& notes) {
  std::sort(listing.files.begin(), listing.files.end(), [](const Listing& a, const Listing& b) {
    return std::tie(a.class_name, a.file) < std::tie(b.class_name, b.file);
  });
  std::vector<uint64_t> counts(classes.size(), 0);
  Split split{listing.split, {}};
  split.samples.reserve(listing.files.size());
  for (Listing& file : listing.files) {
    const auto label = std::lower_bound(classes.begin(), classes.end(), file.class_name) - classes.begin();
    file.sample.label = label;
    ++counts[static_cast<size_t>(label)];
    split.samples.push_back(std::move(file.sample));
  }
  for (size_t i = 0; i < classes.size(); ++i) {
    if (counts[i] == 0) notes.push_back("split " + split.name + " has no image of class " + printable(classes[i]));
  }
  return split;
}

uint64_t fingerprint_of(const Catalog& catalog) {
  Fingerprint print;
  print.add(catalog.classes.size());
  for (const std::string& name : catalog.classes) print.add(name);
  for (const Split& split : catalog.splits) {
    print.add(split.name);
    print.add(split.samples.size());
    for (const Sample& sample : split.samples) {
      print.add(sample.name);
      print.add(static_cast<uint64_t>(sample.label));
      print.add(sample.bytes);
      print.add(sample.checksum);
    }
  }
  return print.value();
}

std::string note_of(const Skipped& skipped) {
  std::string note = std::to_string(skipped.count) + (skipped.count == 1 ? " file" : " files") +
                     " skipped by rule (name does not end in .jpg or .jpeg): ";
  for (size_t i = 0; i < skipped.examples.size(); ++i) note += (i ? ", " : "") + skipped.examples[i];
  return skipped.count > skipped.examples.size() ? note + ", ..." : note;
}

}  // namespace

void Skipped::add(const std::string& name) {
  if (examples.size() < kExamples) examples.push_back(printable(name));
  ++count;
}

std::vector<std::string> split_aliases(const std::string& split) {
  if (split == "validation") return {split, "val"};
  return {split};
}

bool is_image_name(const std::string& file) {
  const size_t dot = file.rfind('.');
  if (dot == std::string::npos || dot == 0) return false;
  std::string ending = file.substr(dot);
  for (char& c : ending) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return ending == ".jpg" || ending == ".jpeg";
}

bool is_hidden_name(const std::string& name) { return name.rfind('.', 0) == 0 || name == "__MACOSX"; }

Catalog make_catalog(const std::string& name, std::vector<SplitListing> splits, const Skipped& skipped) {
  Catalog catalog;
  catalog.name = name;
  if (skipped.count > 0) catalog.notes.push_back(note_of(skipped));
  catalog.classes = decide_classes(splits);
  uint64_t images = 0;
  for (SplitListing& listing : splits) {
    images += listing.files.size();
    catalog.splits.push_back(make_split(std::move(listing), catalog.classes, catalog.notes));
  }
  if (images == 0) {
    throw DataError(printable(name) + " holds no image: <split>/<class>/*.jpg is what is looked for" +
                    (skipped.count > 0 ? "; " + note_of(skipped) : ""));
  }
  catalog.fingerprint = fingerprint_of(catalog);
  return catalog;
}

}  // namespace esp::vit
