#pragma once

#include <torch/types.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace reprise {

// The safetensors format: 8 bytes little-endian N, then N bytes of JSON, then the tensors' bytes. The JSON maps names
// to {"dtype", "shape", "data_offsets": [begin, end]}, offsets counted from the end of the JSON, and "__metadata__" to
// a map of strings. Dtypes here: F64 F32 F16 BF16 F8_E4M3 F8_E5M2 I64 I32 I16 I8 U64 U32 U16 U8 BOOL.

struct NamedTensor {
  std::string name;
  torch::Tensor tensor;  // contiguous, in host memory
};

// Takes the bytes of a file in order.
using ByteSink = std::function<void(const void* bytes, size_t count)>;

// Writes a safetensors file, the second form durably (temporary name, fsync, rename). The JSON is padded with spaces to
// a multiple of 8 and wider elements come first, so that every tensor is aligned to its element; otherwise the order is
// as given. Throws StorageError (the first form what `write` throws), and std::invalid_argument on a repeated or
// reserved name, a strided tensor or a dtype not above.
void write_safetensors(const ByteSink& write, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata);
void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata);

struct SafetensorsFile {
  // Views of a private map of the file, which lives as long as any of them.
  std::map<std::string, torch::Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

// Checks header size (at most 100 MB), names, dtypes, shapes, offsets, gaps, overlaps and the exact file length before
// any tensor is made. A tensor that the file does not align to its element is copied. A path that ends in .json is the
// index of a model in several files: {"weight_map": {tensor: name of a file beside the index}}; every file is read and
// must hold just the tensors that the index places there; the metadata is empty. Throws DataError that names the file
// and what is wrong.
SafetensorsFile read_safetensors(const std::string& path);

struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;
};

// Throws one DataError, with `path`, that tells which tensors are missing, of another shape, neither fp32 nor fp16 nor
// bf16, or unexpected; the first 12 by name.
void require_tensors(const std::string& path, const std::map<std::string, torch::Tensor>& tensors,
                     const std::vector<ExpectedTensor>& expected);

}  // namespace reprise
