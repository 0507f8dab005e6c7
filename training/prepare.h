#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "training/corpus.h"
#include "training/dataset.h"

namespace reprise {

// Each file is read twice, so the total is twice the bytes of all files.
using ShowProgress = std::function<void(int64_t done_bytes, int64_t total_bytes)>;

struct PrepareSetting {
  TextFormat format = TextFormat::by_name;
  std::string field = "text";          // of JSON lines
  int64_t shard_tokens = 100'000'000;  // at most
  int threads = 0;                     // that parse and tokenize; 0: one a processor
  int64_t block_bytes = 1 << 20;
};

// Tokenizes files into DIRECTORY/train_000000.bin, validation_000000.bin, …, the tokenizer's file if it has one, and
// dataset.json. A document is a file or, of JSON lines, the string under the field in a line (blank lines and empty
// strings are passed over); each is followed by the end-of-document token, in the order given. A twentieth is held out:
// of n different documents the n / 20 with the smallest content hashes (equal documents share their fate); with fewer
// than 20, the last twentieth of each, cut between characters. So the split depends on the contents only, and the
// number of threads changes no byte.
//
// The first pass over the files only looks; it ends with everything decided. Only then is the directory touched, in
// this order, each step durable: dataset.json says "preparing"; older shards of both splits are removed, unfinished
// ones of a preparation that was killed, too; new shards appear under temporary names and are renamed; dataset.json
// says "complete". A directory that is prepared again is thus at no moment a mixture that would be accepted.
//
// Tokens are those of each whole document, though it is tokenized in blocks, but for words longer than a sixteenth of a
// block: one that reaches so far beyond its block is cut there. Memory: 24 bytes a document; 2 · threads blocks, each
// with its tokens at most 10 times its bytes, or the longest JSON line; a thread's 10 MB of known words and, for its
// longest word, 64 times its bytes.
//
// Throws DataError (bad input, a file that changes meanwhile, too little text), StorageError, std::system_error.
DatasetInfo prepare_data(const std::vector<std::string>& files, const std::string& directory,
                         const std::string& tokenizer, const ShowProgress& progress,
                         const PrepareSetting& setting = {});

}  // namespace reprise
