#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "config/settings.hpp"
#include "test_options.hpp"

namespace esp {
namespace {

namespace fs = std::filesystem;
using testing::usage_error;

class SettingsFile : public ::testing::Test {
 protected:
  SettingsFile() : folder_(fs::temp_directory_path() / ("espalier_settings_" + std::to_string(getpid()))) {
    fs::create_directories(folder_);
  }
  ~SettingsFile() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return (folder_ / name).string();
  }

  fs::path folder_;
};

TEST_F(SettingsFile, IsReadWithItsNameAndFolder) {
  const std::string path = write("run.toml", "[run]\nseed = 7\n");
  const Settings settings = read_settings_file(path);
  EXPECT_EQ(settings.at("run.seed").place.text, path + ":2:1");
  EXPECT_EQ(settings.at("run.seed").place.base_folder, folder_.string());
}

TEST_F(SettingsFile, WhatCannotBeReadIsNamed) {
  const std::string missing = (folder_ / "none.toml").string();
  EXPECT_EQ(usage_error([&] { read_settings_file(missing); }), missing + ": No such file or directory");
  EXPECT_EQ(usage_error([&] { read_settings_file(folder_.string()); }), folder_.string() + ": not a regular file");
  EXPECT_EQ(usage_error([] { read_settings_file("/dev/zero"); }), "/dev/zero: not a regular file");
}

TEST_F(SettingsFile, OfHundredMegabytesIsRefusedUnread) {
  const std::string path = write("big.toml", "a = 1\n");
  fs::resize_file(path, 100u << 20);
  EXPECT_EQ(usage_error([&] { read_settings_file(path); }),
            path + ": a settings file has at most 64 KiB, this one has more");
}

TEST(MergedSettings, LaterOnesWin) {
  Settings settings{{"train.epochs", testing::from_file(int64_t{3})}, {"run.seed", testing::from_file(int64_t{1})}};
  merge(settings, {{"train.epochs", testing::from_flag("--train.epochs", "5")}});
  EXPECT_EQ(settings.size(), 2u);
  EXPECT_TRUE(settings.at("train.epochs").from_flag);
  EXPECT_EQ(std::get<std::string>(settings.at("train.epochs").value), "5");
}

}  // namespace
}  // namespace esp
