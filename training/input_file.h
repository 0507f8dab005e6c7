#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>

namespace reprise {

// Both throw DataError that names the path and the system's reason, or says that it is not a regular file.

int64_t file_bytes(const std::string& path);

// A whole file as (bytes) uint8, mapped privately: what is written through a copy_on_write map never reaches the file,
// a read_only one must not be written to. The map lives as long as any view of the tensor; the file must not be
// shortened meanwhile. Any thread may read.
enum class Access { read_only, copy_on_write };
torch::Tensor map_file(const std::string& path, Access access);

}  // namespace reprise
