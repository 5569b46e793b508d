#include "modules/libtorch.hpp"

#include <gtest/gtest.h>

#include "error.hpp"
#include "modules/runtime_library.hpp"
#include "plugin_bytes.hpp"

namespace esp {
namespace fs = std::filesystem;
namespace {

using test::ScopedVariable;
using test::TemporaryFolder;

// A folder that looks like a LibTorch.
fs::path make_libtorch(const TemporaryFolder& folder, const std::string& root, const std::string& version_file,
                       const std::string& version_text) {
  fs::create_directories(folder.path() / root / "lib");
  folder.write(root + "/lib/libtorch_cpu.so", "");
  folder.write(root + "/lib/libc10.so", "");
  folder.write(root + "/" + version_file, version_text);
  return folder.path() / root;
}

TEST(LibTorch, IsFoundInAWheelAndInALibTorchFolder) {
  const TemporaryFolder folder;
  make_libtorch(folder, "site/torch", "version.py", "from x import y\n__version__ = '2.11.0+cu130'\ndebug = False\n");
  const auto wheel = libtorch_in(folder.path() / "site");
  ASSERT_TRUE(wheel);
  EXPECT_EQ(wheel->folder, folder.path() / "site/torch/lib");
  EXPECT_EQ(wheel->stamp(), "2.11.0+cu130 cxx11");
  const auto plain = libtorch_in(make_libtorch(folder, "libtorch", "build-version", "2.11.0+cpu\n"));
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->version, "2.11.0");
  EXPECT_EQ(plain->tag, "+cpu");
  EXPECT_EQ(libtorch_in(folder.path() / "libtorch/lib")->stamp(), "2.11.0+cpu cxx11");
}

TEST(LibTorch, IsNotFoundWhereItsLibrariesAreMissing) {
  const TemporaryFolder folder;
  const fs::path root = make_libtorch(folder, "libtorch", "build-version", "2.11.0");
  EXPECT_EQ(libtorch_in(root)->stamp(), "2.11.0 cxx11");
  fs::remove(root / "lib/libc10.so");
  EXPECT_FALSE(libtorch_in(root));
  EXPECT_FALSE(libtorch_in(folder.path() / "nowhere"));
}

// What libtorch_search() says, or the text of its error.
std::string outcome() {
  try {
    return search_libtorch().folder.string();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kResource);
    return error.what();
  }
}

TEST(LibTorch, IsTakenFromTheEnvironmentFirst) {
  const TemporaryFolder folder;
  const fs::path root = make_libtorch(folder, "libtorch", "build-version", find_libtorch().version + "+mine");
  const ScopedVariable named("ESPALIER_LIBTORCH", root.c_str());
  EXPECT_EQ(outcome(), root / "lib");
}

TEST(LibTorch, NamedWronglyIsAnErrorThatSaysWhatIsThere) {
  const TemporaryFolder folder;
  {
    const ScopedVariable named("ESPALIER_LIBTORCH", folder.path().c_str());
    EXPECT_NE(outcome().find("ESPALIER_LIBTORCH: " + folder.path().string() + " holds no lib/libtorch_cpu.so"),
              std::string::npos)
        << outcome();
  }
  const fs::path root = make_libtorch(folder, "libtorch", "build-version", "1.13.1+cpu");
  const ScopedVariable named("ESPALIER_LIBTORCH", root.c_str());
  EXPECT_NE(outcome().find("is LibTorch 1.13.1+cpu"), std::string::npos) << outcome();
  EXPECT_NE(outcome().find("make setup"), std::string::npos) << outcome();
}

TEST(Runtime, MissingOrForeignIsSaidPlainly) {
  const TemporaryFolder folder;
  const auto code_of = [](const fs::path& library) {
    try {
      load_runtime(library);
      return ExitCode::kOk;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(library.filename().string()), std::string::npos) << error.what();
      return error.code();
    }
  };
  EXPECT_EQ(code_of(folder.path() / "libespalier_runtime.so"), ExitCode::kResource);
  EXPECT_EQ(runtime_library_path().filename(), "libespalier_runtime.so");
}

}  // namespace
}  // namespace esp
