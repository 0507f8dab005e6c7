#pragma once

#include <cstdint>
#include <string>

namespace reprise {

// dataset.json: {"format": "reprise.dataset/1", "state": "complete", and the fields below}. While a directory is being
// prepared the state is "preparing", so that what an interrupted preparation leaves behind is never taken for whole.
struct DatasetInfo {
  std::string tokenizer = "bytes";
  int64_t vocabulary = 257;
  int64_t train_tokens = 0, validation_tokens = 0, documents = 0;  // tokens 0: not known
  double bytes_per_token = 1.0;                                    // of the validation split
};

// Defaults when dataset.json is absent (shards made by another program); DataError when it is damaged, of another
// format, or says that the preparation did not end.
DatasetInfo read_dataset_info(const std::string& directory);

// Both write durably and throw StorageError.
void write_dataset_info(const std::string& directory, const DatasetInfo& info);
void mark_dataset_preparing(const std::string& directory);

}  // namespace reprise
