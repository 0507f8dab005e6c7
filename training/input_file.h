#pragma once

#include <torch/types.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace reprise {

// Both throw DataError that names the path and the system's reason, or says that it is not a regular file.

int64_t file_bytes(const std::string& path);

// A whole file as (bytes) uint8, mapped privately: what is written through a copy_on_write map never reaches the file,
// a read_only one must not be written to. The map lives as long as any view of the tensor; the file must not be
// shortened meanwhile. Any thread may read.
enum class Access { read_only, copy_on_write };
torch::Tensor map_file(const std::string& path, Access access);

// JSON that strangers wrote: an object, no name twice in any object, no value inside more than `deepest` objects and
// arrays. Throw DataError that names `path` and what is wrong.
nlohmann::json parse_json(const std::string& path, std::string_view text, int deepest);
nlohmann::json read_json(const std::string& path, int deepest);  // a file of at most 100 MB

}  // namespace reprise
