// What a source holds: classes, splits and their samples in the order that the host indexes them by.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace esp::vit {

struct Sample {
  std::string name;       // as messages name it: "train/healthy/a.jpg" or "train.zip:train/healthy/a.jpg"
  int64_t label = 0;      // index into Catalog::classes
  uint64_t bytes = 0;     // encoded
  uint32_t checksum = 0;  // CRC-32 where the source knows it, else 0
  uint64_t locator = 0;   // the source's own
};

struct Split {
  std::string name;  // "train", "validation" or "test"
  std::vector<Sample> samples;
};

struct Catalog {
  std::string name;                  // what was opened
  std::vector<std::string> classes;  // in bytewise order
  std::vector<Split> splits;         // train, validation, test: those that are there
  std::vector<std::string> notes;    // lines a user should read once
  uint64_t fingerprint = 0;          // of classes, names, sizes and checksums
};

// One image file as a source found it.
struct Listing {
  std::string class_name;
  std::string file;
  Sample sample;  // label not yet known
};

struct SplitListing {
  std::string split;                 // canonical name
  std::vector<std::string> classes;  // class folders seen, empty ones included
  std::vector<Listing> files;
};

// Files that are not images by the rule (name ends in .jpg or .jpeg, not hidden).
struct Skipped {
  uint64_t count = 0;
  std::vector<std::string> examples;  // the first few

  void add(const std::string& name);
};

// Names of splits and where each may be found: kSplitNames[i] under kSplitNames[i], validation also under "val".
inline constexpr const char* kSplitNames[] = {"train", "validation", "test"};
std::vector<std::string> split_aliases(const std::string& split);

// Whether a file or member of this name counts as an image.
bool is_image_name(const std::string& file);
// Whether a file or folder is passed over without counting: hidden ones and the resource folders that macOS adds.
bool is_hidden_name(const std::string& name);

// Labels are the sorted classes of train (of all splits where there is no train); samples come class by class, files in
// bytewise name order. Throws DataError: a class that train does not know, a class name that is not UTF-8, no image at
// all. An empty class becomes a note.
Catalog make_catalog(const std::string& name, std::vector<SplitListing> splits, const Skipped& skipped);

}  // namespace esp::vit
