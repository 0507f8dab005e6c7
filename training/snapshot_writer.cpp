#include "training/snapshot_writer.h"

#include <fmt/format.h>

#include <chrono>

#include "distributed/agreement.h"

namespace reprise {
namespace {

constexpr const char* kFailed = "failed: ";

// Where rank r's share begins: by bytes, at whole lines of the flat layout.
int64_t share_begin(const FlatLayout& layout, int rank, int ranks) {
  return layout.numel / FlatLayout::kAlignment * rank / ranks * FlatLayout::kAlignment;
}

}  // namespace

SnapshotWriter::SnapshotWriter(FileSystem& files, Communicator& communicator, const StageChain& model,
                               const FlatLayout& layout, std::vector<FlatState> states, SnapshotSetting setting)
    : files_(files),
      communicator_(communicator),
      model_(model),
      layout_(layout),
      states_(std::move(states)),
      setting_(std::move(setting)),
      begin_(share_begin(layout, communicator.rank(), communicator.size())),
      end_(share_begin(layout, communicator.rank() + 1, communicator.size())) {
  for (const FlatState& state : states_) host_copies_.push_back({state.name, torch::zeros({end_ - begin_})});
}

int64_t SnapshotWriter::host_bytes(const FlatLayout& layout, int ranks) {
  constexpr int64_t kStates = 3;  // parameters and two moments
  const int64_t lines = (layout.numel / FlatLayout::kAlignment + ranks - 1) / ranks;
  return kStates * lines * FlatLayout::kAlignment * static_cast<int64_t>(sizeof(float));
}

void SnapshotWriter::begin(Manifest manifest, std::map<std::string, std::string> texts) {
  if (is_busy()) throw std::logic_error("SnapshotWriter: begin() before the one before has ended");
  if (work_.valid()) work_.wait();  // what a dropped save left behind is still being removed
  started_seconds_ = steady_seconds();
  for (size_t i = 0; i < states_.size(); ++i) {
    host_copies_[i].flat.copy_(states_[i].flat.narrow(0, begin_, end_ - begin_));
  }
  manifest_ = std::move(manifest);
  phase_ = Phase::writing;
  work_ = std::async(std::launch::async, [this, texts = std::move(texts)] { return write_share(texts); });
}

std::optional<SnapshotReport> SnapshotWriter::poll() {
  if (!is_busy()) return std::nullopt;
  const bool is_ready = !work_.valid() || work_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  if (gather_figures(communicator_, {is_ready ? 1.0 : 0.0}).min().item<double>() == 0) return std::nullopt;
  std::string own;
  try {
    if (work_.valid()) own = work_.get();
  } catch (const std::exception& error) {
    own = kFailed + std::string(error.what());
  }
  const std::vector<std::string> answers = gather_texts(communicator_, own);
  for (int rank = 0; rank < communicator_.size(); ++rank) {
    const std::string& answer = answers[static_cast<size_t>(rank)];
    if (answer.starts_with(kFailed)) return end(false, communicator_.describe(rank) + " " + answer.substr(8));
  }
  if (phase_ == Phase::publishing) return end(true, answers[0]);
  phase_ = Phase::publishing;
  if (communicator_.rank() == 0) work_ = std::async(std::launch::async, [=, this] { return publish(answers); });
  return std::nullopt;
}

std::optional<SnapshotReport> SnapshotWriter::finish() {
  while (is_busy()) {
    if (work_.valid()) work_.wait();  // here, not in a collective call: when the disk hangs, it is this rank's
    if (const std::optional<SnapshotReport> outcome = poll()) return outcome;
  }
  return std::nullopt;
}

// On the thread. Returns the facts of the files.
std::string SnapshotWriter::write_share(const std::map<std::string, std::string>& texts) {
  SnapshotStore store(files_, setting_.folder);
  const std::string folder = store.begin(manifest_.progress.step, setting_.suffix);
  const auto fill = [&](const ByteSink& write) {
    write_safetensors(write, name_pieces(model_, layout_, begin_, end_, host_copies_), {{"format", "pt"}});
  };
  int64_t bytes = 0;
  fill([&](const void*, size_t count) { bytes += static_cast<int64_t>(count); });
  const std::string name = fmt::format("state-{:05}-of-{:05}.safetensors", communicator_.rank(), communicator_.size());
  std::vector<FileFacts> written = {write_file(files_, folder, name, bytes, fill)};
  if (communicator_.rank() > 0) return format_facts(written);
  for (const auto& [file, text] : texts) {
    written.push_back(write_file(files_, folder, file, static_cast<int64_t>(text.size()),
                                 [&](const ByteSink& write) { write(text.data(), text.size()); }));
  }
  return format_facts(written);
}

// On rank 0's thread. Returns the warning.
std::string SnapshotWriter::publish(const std::vector<std::string>& shares) {
  Manifest manifest = manifest_;
  for (const std::string& share : shares) {
    const std::vector<FileFacts> facts = parse_facts(share);
    manifest.files.insert(manifest.files.end(), facts.begin(), facts.end());
  }
  SnapshotStore store(files_, setting_.folder);
  store.publish(store.begin(manifest.progress.step, setting_.suffix), manifest);
  try {
    store.retain(setting_.keep, setting_.keep_every);
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

SnapshotReport SnapshotWriter::end(bool saved, const std::string& problem) {
  phase_ = Phase::idle;
  if (!saved && communicator_.rank() == 0) {
    work_ = std::async(std::launch::async, [this]() -> std::string {
      try {
        const std::string name = SnapshotStore::unfinished_name_of(manifest_.progress.step, setting_.suffix);
        SnapshotStore(files_, setting_.folder).discard(name);  // others may be writing the next one
      } catch (const std::exception&) {
        // The next start sweeps again.
      }
      return {};
    });
  }
  return {.step = manifest_.progress.step,
          .saved = saved,
          .problem = problem,
          .bytes = layout_.numel * static_cast<int64_t>(sizeof(float) * states_.size()),
          .seconds = steady_seconds() - started_seconds_};
}

}  // namespace reprise
