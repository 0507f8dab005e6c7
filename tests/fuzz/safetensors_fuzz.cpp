// For libFuzzer: tests/program/fuzz_test.py builds and runs it; corpus_test.cpp plays the corpus without it.
#include <cstdint>
#include <cstdlib>

#include "tests/fuzz/untrusted.h"

namespace {

struct Folder {
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "reprise-fuzz.XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path = pattern;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string path;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  reprise::read_untrusted({reinterpret_cast<const char*>(data), size}, folder.path);
  return 0;
}
