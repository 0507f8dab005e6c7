#include "training/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <tuple>

#include "training/durable_file.h"
#include "training/errors.h"
#include "training/mapped_file.h"

namespace reprise {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMostHeaderBytes = 100'000'000;
constexpr int kDeepestHeader = 3;  // header object, tensor object, array
constexpr const char* kMetadata = "__metadata__";

struct DtypeName {
  const char* name;
  torch::Dtype dtype;
};
constexpr DtypeName kDtypes[] = {{"F64", torch::kFloat64},   {"F32", torch::kFloat32}, {"F16", torch::kFloat16},
                                 {"BF16", torch::kBFloat16}, {"I64", torch::kInt64},   {"I32", torch::kInt32},
                                 {"I16", torch::kInt16},     {"I8", torch::kInt8},     {"U8", torch::kUInt8}};

const char* name_of(const NamedTensor& named) {
  for (const DtypeName& known : kDtypes) {
    if (known.dtype == named.tensor.scalar_type()) return known.name;
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

struct Entry {
  std::string name;
  torch::Dtype dtype = torch::kFloat32;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;
};

// Parses and checks one file; every refusal names it.
class Reader {
 public:
  explicit Reader(const std::string& path)
      : path_(path), map_(std::make_shared<MappedFile>(path, MappedFile::Access::copy_on_write)) {}

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
  [[noreturn]] void refuse(const std::string& reason) const { throw DataError(path_ + ": " + reason); }

  nlohmann::json parsed_header() {
    if (map_->size() < kLengthBytes) refuse("is too short for a safetensors file");
    uint64_t length = 0;
    std::memcpy(&length, map_->data(), kLengthBytes);
    if (length > kMostHeaderBytes)
      refuse("header of " + std::to_string(length) + " bytes, more than the format allows");
    if (length > map_->size() - kLengthBytes) {
      refuse("header of " + std::to_string(length) + " bytes in a file of " + std::to_string(map_->size()));
    }
    const char* text = map_->data() + kLengthBytes;
    data_ = map_->data() + kLengthBytes + length;
    data_bytes_ = map_->size() - kLengthBytes - length;
    if (length == 0 || text[0] != '{') refuse("header does not begin with {");

    // The library keeps the last of equal keys, so repeated names are caught while it parses.
    std::vector<std::set<std::string>> keys;
    const auto watch = [&](int depth, nlohmann::json::parse_event_t event, const nlohmann::json& parsed) {
      using Event = nlohmann::json::parse_event_t;
      const bool opens = event == Event::object_start || event == Event::array_start;
      if (opens && depth >= kDeepestHeader) refuse("header is nested too deeply");
      if (event == Event::object_start) keys.emplace_back();
      if (event == Event::object_end) keys.pop_back();
      if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second) {
        refuse("name used twice in the header: " + parsed.get<std::string>());
      }
      return true;
    };
    try {
      return nlohmann::json::parse(text, text + length, watch);
    } catch (const nlohmann::json::exception& error) {
      refuse(std::string("header is not valid JSON: ") + error.what());
    }
  }

  std::map<std::string, std::string> metadata_of(const nlohmann::json& value) const {
    if (!value.is_object()) refuse("__metadata__ is not an object");
    std::map<std::string, std::string> metadata;
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) refuse("__metadata__." + key + " is not a string");
      metadata.emplace(key, text.get<std::string>());
    }
    return metadata;
  }

  Entry entry_of(const std::string& name, const nlohmann::json& value) const {
    Entry entry;
    entry.name = name;
    if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
        !value.contains("data_offsets")) {
      refuse(name + ": expected exactly dtype, shape and data_offsets");
    }
    const auto known = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                    [&](const DtypeName& candidate) { return value["dtype"] == candidate.name; });
    if (known == std::end(kDtypes)) refuse(name + ": unknown dtype " + value["dtype"].dump());
    entry.dtype = known->dtype;

    const nlohmann::json& offsets = value["data_offsets"];
    if (!offsets.is_array() || offsets.size() != 2) refuse(name + ": data_offsets are not two numbers");
    entry.begin = whole_number(name, offsets[0]);
    entry.end = whole_number(name, offsets[1]);
    if (entry.begin > entry.end || entry.end > data_bytes_) refuse(name + ": data_offsets lie outside the file");

    if (!value["shape"].is_array()) refuse(name + ": shape is not a list");
    bool is_empty = false;
    int64_t nonzero_numel =
        1;  // strides multiply the sizes even when one of them is 0, so an overflow counts regardless
    for (const nlohmann::json& size : value["shape"]) {
      entry.shape.push_back(static_cast<int64_t>(whole_number(name, size)));
      is_empty = is_empty || entry.shape.back() == 0;
      if (__builtin_mul_overflow(nonzero_numel, std::max<int64_t>(entry.shape.back(), 1), &nonzero_numel)) {
        refuse(name + ": shape is too large");
      }
    }
    const uint64_t element_bytes = c10::elementSize(entry.dtype);
    const uint64_t numel = is_empty ? 0 : static_cast<uint64_t>(nonzero_numel);
    if (numel > data_bytes_ / element_bytes || entry.end - entry.begin != numel * element_bytes) {
      refuse(name + ": shape and data_offsets disagree");
    }
    return entry;
  }

  uint64_t whole_number(const std::string& name, const nlohmann::json& value) const {
    constexpr uint64_t kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (!value.is_number_unsigned() || value.get<uint64_t>() > kMost) refuse(name + ": bad number " + value.dump());
    return value.get<uint64_t>();
  }

  // The tensors' ranges must tile the data exactly.
  void check_offsets(std::vector<Entry>& entries) const {
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return std::tie(a.begin, a.end) < std::tie(b.begin, b.end); });
    uint64_t covered = 0;
    for (const Entry& entry : entries) {
      if (entry.begin < covered) refuse(entry.name + ": overlaps another tensor");
      if (entry.begin > covered) refuse(entry.name + ": a gap of bytes before it");
      covered = entry.end;
    }
    if (covered != data_bytes_) refuse(std::to_string(data_bytes_ - covered) + " bytes after the last tensor");
  }

  torch::Tensor tensor_of(const Entry& entry) const {
    char* bytes = data_ + entry.begin;
    if (reinterpret_cast<uintptr_t>(bytes) % c10::elementSize(entry.dtype) == 0) {
      return torch::from_blob(
          bytes, entry.shape, [map = map_](void*) {}, entry.dtype);
    }
    const torch::Tensor copy = torch::empty(entry.shape, entry.dtype);
    std::memcpy(copy.mutable_data_ptr(), bytes, entry.end - entry.begin);
    return copy;
  }

  const std::string path_;
  const std::shared_ptr<MappedFile> map_;
  char* data_ = nullptr;
  uint64_t data_bytes_ = 0;
};

}  // namespace

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  check_writable(tensors);
  std::vector<NamedTensor> ordered = tensors;
  std::stable_sort(ordered.begin(), ordered.end(), [](const NamedTensor& a, const NamedTensor& b) {
    return a.tensor.element_size() > b.tensor.element_size();
  });

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

  DurableFile file(path);
  const uint64_t length = text.size();
  file.write(&length, kLengthBytes);
  file.write(text.data(), text.size());
  for (const NamedTensor& named : ordered) file.write(named.tensor.const_data_ptr(), named.tensor.nbytes());
  file.commit();
}

SafetensorsFile read_safetensors(const std::string& path) { return Reader(path).read(); }

}  // namespace reprise
