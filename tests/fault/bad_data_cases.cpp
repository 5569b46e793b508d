// Image folders and archives.
#include <unistd.h>

#include "bad_input.hpp"

namespace esp::test {
namespace {

using Damage = std::function<void(const std::filesystem::path& images)>;

BadInput images(const char* name, std::vector<std::string> says, Damage damage, std::vector<std::string> more = {}) {
  return {name, 4, std::move(says), [damage, more](const Scratch& scratch) {
            const std::string folder = copy_images(scratch);
            damage(folder);
            std::vector<std::string> flags = {"--data.path=" + folder};
            flags.insert(flags.end(), more.begin(), more.end());
            return good_run(scratch, flags);
          }};
}

constexpr const char* kVictim = "train/bean_rust/leaf_9.jpg";

void cut(const std::filesystem::path& file, double part) {
  std::filesystem::resize_file(file,
                               static_cast<uintmax_t>(part * static_cast<double>(std::filesystem::file_size(file))));
}

BadInput archive(const char* name, std::string content) {
  return {name, 4, {"beans.zip"}, [content](const Scratch& scratch) {
            return good_run(scratch, {"--data.path=" + scratch.write("beans.zip", content)});
          }};
}

}  // namespace

std::vector<BadInput> bad_data_cases() {
  namespace fs = std::filesystem;
  return {
      {"DataPathThatIsMissing",
       4,
       {"no/such/folder"},
       [](const Scratch& scratch) { return good_run(scratch, {"--data.path=no/such/folder"}); }},
      images("DataWithoutTrainSplit", {"train"}, [](const fs::path& p) { fs::remove_all(p / "train"); }),
      images("DataWithoutClasses", {"train"},
             [](const fs::path& p) {
               fs::remove_all(p / "train");
               fs::create_directory(p / "train");
             }),
      images("DataWithoutImages", {"train"},
             [](const fs::path& p) {
               for (const auto& entry : fs::recursive_directory_iterator(p / "train")) {
                 if (entry.is_regular_file()) fs::remove(entry);
               }
             }),
      images("ClassThatTrainingLacks", {"mildew"},
             [](const fs::path& p) { fs::rename(p / "validation/bean_rust", p / "validation/mildew"); }),
      images("ImageCutInHalf", {kVictim}, [](const fs::path& p) { cut(p / kVictim, 0.5); }),
      images("ImageCutInItsHeader", {kVictim}, [](const fs::path& p) { fs::resize_file(p / kVictim, 20); }),
      images("ImageOfZeroBytes", {kVictim}, [](const fs::path& p) { fs::resize_file(p / kVictim, 0); }),
      images("ImageThatIsText", {kVictim}, [](const fs::path& p) { write_file(p / kVictim, "no image at all\n"); }),
      images("ImageThatIsAFolder", {"leaf_9.jpg"},
             [](const fs::path& p) {
               fs::remove(p / kVictim);
               fs::create_directory(p / kVictim);
               write_file(p / kVictim / "inner.txt", "x");
             }),
      images("ImageThatIsADanglingLink", {kVictim},
             [](const fs::path& p) {
               fs::remove(p / kVictim);
               fs::create_symlink("/no/such/image.jpg", p / kVictim);
             }),
      images("ImageWithForgedSize", {kVictim},
             [](const fs::path& p) {
               std::string bytes = read_file(p / kVictim);
               const size_t frame = bytes.find("\xff\xc0");
               for (size_t k = 0; k < 4; ++k) bytes.at(frame + 5 + k) = '\xff';  // 65,535 x 65,535 pixels
               write_file(p / kVictim, bytes);
             }),
      images("DamagedImageOnTheOtherRank", {kVictim}, [](const fs::path& p) { cut(p / kVictim, 0.5); }, {"--nproc=2"}),
      archive("ArchiveThatIsText", "PK no archive\n"),
      archive("ArchiveThatIsEmpty", ""),
      archive("ArchiveWithoutEnd", std::string("PK\x03\x04", 4) + std::string(500, '\0')),
      {"EvaluationOfASplitThatIsMissing",
       4,
       {"tset", "test"},
       [](const Scratch& scratch) {
         return std::vector<std::string>{"eval", "--data.path=" + copy_images(scratch), "--data.split=tset",
                                         "--model.weights=" + std::string(ESPALIER_TESTS) + "/parity/data/small"};
       }},
  };
}

}  // namespace esp::test
