// For libFuzzer: tests/program/fuzz_test.py builds and runs it; corpus_test.cpp plays the corpus without it.
#include <cstdint>

#include "tests/fuzz/untrusted.h"
#include "tests/scratch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const reprise::Scratch folder;
  reprise::read_untrusted({reinterpret_cast<const char*>(data), size}, folder.path());
  return 0;
}
