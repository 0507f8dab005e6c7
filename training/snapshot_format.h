#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "distributed/flat_layout.h"
#include "model/stage_chain.h"
#include "training/file_system.h"
#include "training/safetensors.h"

namespace reprise {

// A snapshot is a folder: manifest.json, written last, and the files that it lists. The tensors lie in
// state-<r>-of-<n>.safetensors, fp32, each rank's part of the flat tensors in one file: "parameters/NAME" and, of the
// optimizer, "first_moment/NAME" and "second_moment/NAME", where NAME is a parameter, with its shape, or
// "PARAMETER[begin:end]", the part of a parameter that is cut there, flat. So a snapshot may be read with any number of
// ranks, and by anything that reads safetensors.

// What the manifest says of a file. Hashes are XXH3-128 in hex; a block has 4 MiB, the last one less.
struct FileFacts {
  std::string name;
  int64_t bytes = 0;
  std::string xxh3_128;
  std::vector<std::string> blocks;
};

// What decides whether a step is skipped (training/skip_policy.h).
struct SkipMemory {
  std::vector<double> norms;     // of the gradients of the last updates, oldest first
  std::vector<int64_t> skipped;  // the last steps without an update
};

// Where training stands, beside the tensors.
struct Progress {
  int64_t step = 0;    // done
  double updates = 0;  // of the optimizer: without the skipped steps
  double loss_scale = 1;
  int64_t good_updates = 0;  // in a row, of the loss scaler
  SkipMemory skips;
};

struct Manifest {
  Progress progress;
  std::map<std::string, std::string> facts;  // the run's own: data, build, place in its metrics, …
  std::vector<FileFacts> files;

  const std::string& fact(const std::string& name) const;  // DataError when there is none
};

// As manifest.json: equal values give equal bytes, which end in a hash of what is before.
std::string format_manifest(const Manifest& manifest);
Manifest parse_manifest(const std::string& text);  // throws DataError

std::string format_facts(const std::vector<FileFacts>& files);  // for other ranks
std::vector<FileFacts> parse_facts(const std::string& text);

// Writes a new file of `bytes` bytes that `fill` hands over, with its room taken first, and syncs and closes it; mode
// 0600. Throws StorageError.
FileFacts write_file(FileSystem& files, const std::string& folder, const std::string& name, int64_t bytes,
                     const std::function<void(const ByteSink&)>& fill);

// Reads the manifest, and every file against it. Throws DataError that names the file and what is wrong, the place of
// the first damaged block included.
Manifest verify_snapshot(const FileSystem& files, const std::string& folder);

// One of the flat tensors of a run (numel), on any device.
struct FlatState {
  std::string name;  // "parameters", …
  torch::Tensor flat;
};

// The part [begin, end) of flat tensors, given as host copies of that part, as tensors of a file.
std::vector<NamedTensor> name_pieces(const StageChain& model, const FlatLayout& layout, int64_t begin, int64_t end,
                                     const std::vector<FlatState>& parts);

// Fills the flat tensors from the snapshot's files, which have been verified. Throws DataError when an element of a
// parameter is missing, given twice or of another shape, and on a name that is not known; states that are not asked for
// are left out.
void read_state(const std::string& folder, const Manifest& manifest, const StageChain& model, const FlatLayout& layout,
                const std::vector<FlatState>& states);

}  // namespace reprise
