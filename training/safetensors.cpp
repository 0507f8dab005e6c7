#include "training/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "training/errors.h"
#include "training/file_system.h"
#include "training/input_file.h"

namespace reprise {
namespace {

constexpr int64_t kLengthBytes = 8;
constexpr uint64_t kMostHeaderBytes = 100'000'000;
constexpr int kDeepestHeader = 3;  // header object, tensor object, array
constexpr const char* kMetadata = "__metadata__";

constexpr std::pair<const char*, torch::Dtype> kDtypes[] = {{"F64", torch::kFloat64},
                                                            {"F32", torch::kFloat32},
                                                            {"F16", torch::kFloat16},
                                                            {"BF16", torch::kBFloat16},
                                                            {"F8_E4M3", torch::kFloat8_e4m3fn},
                                                            {"F8_E5M2", torch::kFloat8_e5m2},
                                                            {"I64", torch::kInt64},
                                                            {"I32", torch::kInt32},
                                                            {"I16", torch::kInt16},
                                                            {"I8", torch::kInt8},
                                                            {"U64", torch::kUInt64},
                                                            {"U32", torch::kUInt32},
                                                            {"U16", torch::kUInt16},
                                                            {"U8", torch::kUInt8},
                                                            {"BOOL", torch::kBool}};

const char* name_of(const NamedTensor& named) {
  for (const auto& [name, dtype] : kDtypes) {
    if (dtype == named.tensor.scalar_type()) return name;
  }
  throw std::invalid_argument("safetensors: no name for the dtype of " + named.name);
}

void check_writable(const std::vector<NamedTensor>& tensors) {
  std::set<std::string> names{kMetadata};
  for (const NamedTensor& named : tensors) {
    if (!names.insert(named.name).second) throw std::invalid_argument("safetensors: name used twice: " + named.name);
    if (!named.tensor.is_contiguous() || !named.tensor.is_cpu()) {
      throw std::invalid_argument("safetensors: not contiguous in host memory: " + named.name);
    }
  }
}

// Parses and checks one file; every refusal names it.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), file_(map_file(path, Access::copy_on_write)) {}

  SafetensorsFile read() {
    SafetensorsFile file;
    std::vector<Entry> entries;
    const nlohmann::json header = parsed_header();
    for (const auto& [name, value] : header.items()) {
      if (name == kMetadata) {
        file.metadata = metadata_of(value);
      } else {
        entries.push_back(entry_of(name, value));
      }
    }
    check_offsets(entries);
    for (const Entry& entry : entries) file.tensors.emplace(entry.name, tensor_of(entry));
    return file;
  }

 private:
  struct Entry {
    std::string name;
    torch::Dtype dtype;
    std::vector<int64_t> shape;
    int64_t begin, end;
  };

  template <typename... Arguments>
  [[noreturn]] void refuse(fmt::format_string<Arguments...> reason, Arguments&&... arguments) const {
    throw DataError(path_ + ": " + fmt::format(reason, std::forward<Arguments>(arguments)...));
  }

  nlohmann::json parsed_header() {
    if (file_.numel() < kLengthBytes) refuse("is too short for a safetensors file");
    uint64_t length = 0;
    std::memcpy(&length, file_.const_data_ptr(), kLengthBytes);
    if (length > kMostHeaderBytes) refuse("header of {} bytes, more than the format allows", length);
    const int64_t data_begin = kLengthBytes + static_cast<int64_t>(length);
    if (data_begin > file_.numel()) refuse("header of {} bytes in a file of {}", length, file_.numel());
    data_ = file_.narrow(0, data_begin, file_.numel() - data_begin);
    const auto* text = file_.const_data_ptr<uint8_t>() + kLengthBytes;
    if (length == 0 || *text != '{') refuse("header does not begin with {{");

    return parse_json(path_, {reinterpret_cast<const char*>(text), length}, kDeepestHeader);
  }

  std::map<std::string, std::string> metadata_of(const nlohmann::json& value) const {
    if (!value.is_object()) refuse("__metadata__ is not an object");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) refuse("__metadata__.{} is not a string", key);
    }
    return value.get<std::map<std::string, std::string>>();
  }

  Entry entry_of(const std::string& name, const nlohmann::json& value) const {
    if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
        !value.contains("data_offsets")) {
      refuse("{}: expected exactly dtype, shape and data_offsets", name);
    }
    const nlohmann::json &dtype = value["dtype"], &shape = value["shape"], &offsets = value["data_offsets"];
    const auto known = std::ranges::find_if(kDtypes, [&](const auto& candidate) { return dtype == candidate.first; });
    if (known == std::end(kDtypes)) refuse("{}: unknown dtype {}", name, dtype.dump());
    if (!offsets.is_array() || offsets.size() != 2) refuse("{}: data_offsets are not two numbers", name);
    Entry entry{name, known->second, {}, whole_number(name, offsets[0]), whole_number(name, offsets[1])};
    if (entry.begin > entry.end || entry.end > data_.numel()) refuse("{}: data_offsets lie outside the file", name);

    if (!shape.is_array()) refuse("{}: shape is not a list", name);
    int64_t numel = 1;  // of the sizes above 0: strides multiply these, so their overflow counts beside a 0, too
    for (const nlohmann::json& size : shape) {
      entry.shape.push_back(whole_number(name, size));
      if (__builtin_mul_overflow(numel, std::max<int64_t>(entry.shape.back(), 1), &numel)) {
        refuse("{}: shape is too large", name);
      }
    }
    if (std::ranges::count(entry.shape, 0) > 0) numel = 0;
    const auto element_bytes = static_cast<int64_t>(c10::elementSize(entry.dtype));
    if (numel > data_.numel() / element_bytes || entry.end - entry.begin != numel * element_bytes) {
      refuse("{}: shape and data_offsets disagree", name);
    }
    return entry;
  }

  int64_t whole_number(const std::string& name, const nlohmann::json& value) const {
    constexpr uint64_t kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (!value.is_number_unsigned() || value > kMost) refuse("{}: bad number {}", name, value.dump());
    return value.get<int64_t>();
  }

  // The tensors' ranges must tile the data exactly.
  void check_offsets(std::vector<Entry>& entries) const {
    std::ranges::sort(entries, {}, [](const Entry& entry) { return std::pair(entry.begin, entry.end); });
    int64_t covered = 0;
    for (const Entry& entry : entries) {
      if (entry.begin < covered) refuse("{}: overlaps another tensor", entry.name);
      if (entry.begin > covered) refuse("{}: a gap of bytes before it", entry.name);
      covered = entry.end;
    }
    if (covered != data_.numel()) refuse("{} bytes after the last tensor", data_.numel() - covered);
  }

  torch::Tensor tensor_of(const Entry& entry) const {
    torch::Tensor bytes = data_.narrow(0, entry.begin, entry.end - entry.begin);
    if (entry.dtype == torch::kBool && bytes.numel() > 0 && bytes.max().item<uint8_t>() > 1) {
      refuse("{}: a BOOL that is neither 0 nor 1", entry.name);
    }
    const bool is_aligned = bytes.storage_offset() % static_cast<int64_t>(c10::elementSize(entry.dtype)) == 0;
    return (is_aligned ? bytes : bytes.clone()).view(entry.dtype).view(entry.shape);
  }

  const std::string path_;
  const torch::Tensor file_;  // (bytes) uint8
  torch::Tensor data_;        // the part of it after the header
};

// The index of a model in several files. Each tensor must be in the file, and only in the file, that the index names.
SafetensorsFile read_shards(const std::string& path) {
  const nlohmann::json index = read_json(path, kDeepestHeader);
  const auto refuse = [&](const std::string& reason) { throw DataError(path + ": " + reason); };
  if (!index.contains("weight_map") || !index["weight_map"].is_object()) refuse("weight_map is not an object");
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [name, shard] : index["weight_map"].items()) {
    const std::string file = shard.is_string() ? shard.get<std::string>() : "";
    // A plain name: an index may come from anywhere and must not reach outside its folder.
    if (!file.ends_with(".safetensors") || file.find_first_of(std::string_view("/\0", 2)) != std::string::npos) {
      refuse(fmt::format("{}: expected the name of a .safetensors file beside the index, got {}", name, shard.dump()));
    }
    shards[file].insert(name);
  }
  if (shards.empty()) refuse("weight_map names no file");
  SafetensorsFile whole;
  for (const auto& [file, names] : shards) {
    std::map<std::string, torch::Tensor> tensors =
        Reader((std::filesystem::path(path).parent_path() / file).string()).read().tensors;
    for (const auto& [name, tensor] : tensors) {
      if (!names.contains(name)) refuse(fmt::format("{} holds {}, which the index does not place there", file, name));
    }
    for (const std::string& name : names) {
      if (!tensors.contains(name)) refuse(fmt::format("{} is missing in {}", name, file));
    }
    whole.tensors.merge(tensors);
  }
  return whole;
}

}  // namespace

void write_safetensors(const ByteSink& write, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  check_writable(tensors);
  std::vector<NamedTensor> ordered = tensors;
  std::ranges::stable_sort(ordered, std::greater(),
                           [](const NamedTensor& named) { return named.tensor.element_size(); });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  uint64_t offset = 0;
  for (const NamedTensor& named : ordered) {
    const uint64_t end = offset + named.tensor.nbytes();
    header[named.name] = {
        {"dtype", name_of(named)}, {"shape", named.tensor.sizes().vec()}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');

  const uint64_t length = text.size();
  write(&length, kLengthBytes);
  write(text.data(), text.size());
  for (const NamedTensor& named : ordered) write(named.tensor.const_data_ptr(), named.tensor.nbytes());
}

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  DurableFile file(path);
  write_safetensors([&](const void* bytes, size_t count) { file.write(bytes, count); }, tensors, metadata);
  file.commit();
}

SafetensorsFile read_safetensors(const std::string& path) {
  return path.ends_with(".json") ? read_shards(path) : Reader(path).read();
}

void require_tensors(const std::string& path, const std::map<std::string, torch::Tensor>& tensors,
                     const std::vector<ExpectedTensor>& expected) {
  std::vector<std::string> complaints;
  std::set<std::string> known;
  for (const auto& [name, shape] : expected) {
    known.insert(name);
    const auto found = tensors.find(name);
    const torch::Dtype dtype = found == tensors.end() ? torch::kFloat32 : found->second.scalar_type();
    const bool is_real = dtype == torch::kFloat32 || dtype == torch::kFloat16 || dtype == torch::kBFloat16;
    if (found == tensors.end()) {
      complaints.push_back(name + " is missing");
    } else if (!is_real || found->second.sizes() != c10::IntArrayRef(shape)) {
      complaints.push_back(fmt::format("{}: expected fp32, fp16 or bf16 of shape {}, got {} of shape {}", name,
                                       fmt::join(shape, "x"), c10::toString(dtype),
                                       fmt::join(found->second.sizes().vec(), "x")));
    }
  }
  for (const auto& [name, tensor] : tensors) {
    if (!known.contains(name)) complaints.push_back(name + " is unexpected");
  }
  if (complaints.empty()) return;
  const size_t shown = std::min<size_t>(complaints.size(), 12), left = complaints.size() - shown;
  complaints.resize(shown);
  throw DataError(
      fmt::format("{}: {}{}", path, fmt::join(complaints, "; "), left > 0 ? fmt::format("; and {} more", left) : ""));
}

}  // namespace reprise
