#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "training/dataset.h"

namespace reprise {

// Each file is read twice, so the total is twice the bytes of all files.
using Progress = std::function<void(int64_t done_bytes, int64_t total_bytes)>;

// Tokenizes files into DIRECTORY/train_000000.bin, validation_000000.bin, … and dataset.json. A document is a file or,
// for *.jsonl, the "text" of a line; each is followed by the end-of-document token, in the order given. A twentieth is
// held out: of n different documents the n / 20 with the smallest content hashes (equal documents share their fate);
// with fewer than 20, the last twentieth of each. So the split depends on the contents only.
//
// The first pass over the files only looks; it ends with everything decided. Only then is the directory touched, in
// this order, each step durable: dataset.json says "preparing"; older shards of both splits are removed; new shards
// appear under temporary names and are renamed; dataset.json says "complete". A directory that is prepared again is
// thus at no moment a mixture that would be accepted. Memory: 16 bytes a document, and the longest JSON line.
//
// Throws DataError (bad input, a file that changes meanwhile, too little text for two splits) and StorageError.
DatasetInfo prepare_data(const std::vector<std::string>& files, const std::string& directory,
                         const std::string& tokenizer, const Progress& progress);

}  // namespace reprise
