#include "distributed/heartbeat.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <future>
#include <stdexcept>

#include "distributed/agreement.h"
#include "distributed/network_interface.h"

namespace reprise {
namespace {

constexpr int kCollectors = 2;
constexpr double kBeat = 0.1, kLongestGap = 0.5;  // a longer one: this process itself was stopped
constexpr double kMissed = 0.35;                  // so long without a beat, and TERM: dead
constexpr double kTermPatience = 0.5;             // of the second until mpirun's KILL
constexpr double kOtherCollector = 1.5;           // rank 1 leaves the word to rank 0 for so long
constexpr double kWarnEvery = 60, kTimeToBeHeard = 10;
constexpr double kOthersWrite = 0.3;  // their events, before the job ends
constexpr double kOthersEnd = 1;      // all the same, should who says it not get that far

// What a rank says of itself. One build runs on all ranks, so layout and byte order are one, too.
struct Beat {
  enum Flag : uint32_t { leaving = 1, ending = 2 };
  uint64_t token = 0;
  uint32_t rank = 0, flags = 0;
  double idle_seconds = 0;
  Standing standing;
};
static_assert(std::is_trivially_copyable_v<Beat> && sizeof(Beat) < 1200, "fits one packet");

void pause_for(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

// Equal for processes that can watch each other: of one host, and of one namespace of process numbers.
std::string process_space() {
  std::array<char, 256> name{}, numbers{};
  gethostname(name.data(), name.size() - 1);
  if (readlink("/proc/self/ns/pid", numbers.data(), numbers.size() - 1) < 0) numbers = {};
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  return fmt::format("{} {} {}", name.data(), numbers.data(), boot);
}

}  // namespace

Heartbeat::Heartbeat(Communicator& communicator, HeartbeatSetting setting)
    : communicator_(communicator), setting_(std::move(setting)), witnesses_(communicator.size()) {
  if (communicator.size() == 1) return;
  open_socket();
  meet_the_others();
  communicator.pulse().is_watched = true;
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

Heartbeat::~Heartbeat() {
  if (communicator_.size() == 1) return;
  communicator_.pulse().is_watched = false;
  thread_ = {};  // stops and joins
  ender_ = {};
  for (const int process : processes_) close(process);
  close(socket_);
}

void Heartbeat::open_socket() {
  socket_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in own{};
  own.sin_family = AF_INET;
  const bool is_one_host = communicator_.local_size() == communicator_.size();
  const uint32_t chosen = is_one_host ? 0 : job_address();
  own.sin_addr.s_addr = chosen != 0 ? chosen : htonl(INADDR_LOOPBACK);
  if (socket_ < 0 || bind(socket_, reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0) {
    throw std::runtime_error(fmt::format("cannot bind the heartbeat's UDP socket: {}", std::strerror(errno)));
  }
}

void Heartbeat::meet_the_others() {
  sockaddr_in own{};
  socklen_t length = sizeof own;
  getsockname(socket_, reinterpret_cast<sockaddr*>(&own), &length);
  if (getrandom(&token_, sizeof token_, 0) != sizeof token_) throw std::runtime_error("getrandom gave too little");
  const uint64_t address = static_cast<uint64_t>(own.sin_addr.s_addr) << 16 | own.sin_port;
  const std::vector<std::string> facts =
      gather_texts(communicator_, fmt::format("{} {} {} {}", address, getpid(), token_, process_space()));
  const bool is_collector = communicator_.rank() < kCollectors;
  for (size_t rank = 0; rank < facts.size(); ++rank) {
    size_t at = 0;
    const auto next = [&] {
      const size_t begin = at;
      at = facts[rank].find(' ', begin) + 1;
      return std::stoull(facts[rank].substr(begin));
    };
    addresses_.push_back(next());
    const auto process = static_cast<pid_t>(next());
    const uint64_t token = next();
    if (rank == 0) token_ = token;
    const bool is_neighbour = facts[rank].substr(at) == process_space();
    if (is_neighbour && speaker_ < 0 && rank >= kCollectors) speaker_ = static_cast<int>(rank);
    const bool is_here = is_neighbour && process != getpid();
    processes_.push_back(is_collector && is_here ? static_cast<int>(syscall(SYS_pidfd_open, process, 0)) : -1);
  }
}

void Heartbeat::run(const std::stop_token& stop) {
  double last = steady_seconds(), last_beat = last;
  while (!stop.stop_requested()) {
    std::vector<pollfd> watched{{socket_, POLLIN, 0}};
    for (const int process : processes_) watched.push_back({process, POLLIN, 0});  // negative ones are passed over
    const double left = std::clamp(last_beat + kBeat - steady_seconds(), 0.0, kBeat);
    poll(watched.data(), watched.size(), static_cast<int>(left * 1e3) + 1);
    const double now = steady_seconds();
    grow_older(now - std::exchange(last, now));
    take_beats();  // whoever said goodbye did so before its end
    bool is_due = now - last_beat >= kBeat;
    for (size_t rank = 0; rank < processes_.size(); ++rank) {
      if (watched[rank + 1].revents == 0) continue;
      close(std::exchange(processes_[rank], -1));
      const std::lock_guard lock(mutex_);
      witnesses_[rank].is_dead = true;
      is_due = true;
    }
    if (!is_due) continue;
    note_own();
    send(0);
    act(now - std::exchange(last_beat, now));
  }
  send(Beat::leaving);
}

void Heartbeat::take_beats() {
  Beat beat;
  for (ssize_t bytes; (bytes = recv(socket_, &beat, sizeof beat, MSG_TRUNC)) >= 0;) {
    if (bytes != sizeof beat || beat.token != token_ || beat.rank >= witnesses_.size()) continue;
    if (beat.flags & Beat::ending) end("ended by the verdict of " + communicator_.describe(beat.rank), false);
    const std::lock_guard lock(mutex_);
    Witness& witness = witnesses_[beat.rank];
    witness.is_heard = true;
    witness.is_leaving |= (beat.flags & Beat::leaving) != 0;
    witness.silent_seconds = 0;
    witness.idle_seconds = beat.idle_seconds;
    witness.standing = beat.standing;
  }
}

void Heartbeat::grow_older(double gap_seconds) {
  if (gap_seconds > kLongestGap) return;
  const std::lock_guard lock(mutex_);
  for (Witness& witness : witnesses_) {
    witness.silent_seconds += gap_seconds;
    witness.idle_seconds += gap_seconds;
  }
}

void Heartbeat::note_own() {
  const std::lock_guard lock(mutex_);
  Witness& own = witnesses_[communicator_.rank()];
  const Standing now = communicator_.pulse().standing();
  if (now.events != own.standing.events) own.idle_seconds = 0;
  own.standing = now;
  own.silent_seconds = 0;
  own.is_heard = true;
}

void Heartbeat::send(uint32_t flags) const {
  const int own = communicator_.rank();
  if (is_leaving_) flags |= Beat::leaving;
  const bool to_all = own < kCollectors || flags != 0;
  const int receivers = to_all ? communicator_.size() : kCollectors;
  const Beat beat{token_, static_cast<uint32_t>(own), flags, witnesses_[own].idle_seconds, witnesses_[own].standing};
  for (int rank = 0; rank < receivers; ++rank) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = static_cast<uint32_t>(addresses_[rank] >> 16);
    to.sin_port = static_cast<uint16_t>(addresses_[rank]);
    // Whatever keeps a beat from leaving, its receiver sees that none arrives.
    if (rank != own) sendto(socket_, &beat, sizeof beat, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
  }
}

void Heartbeat::act(double gap_seconds) {
  if (is_ending_) return;
  const std::lock_guard lock(mutex_);
  const auto& names = communicator_.place().names;
  const int own = communicator_.rank();
  if (own >= kCollectors) {
    const double limit = std::min(setting_.deadline_seconds, witnesses_[own].standing.limit_seconds);
    const double heard = std::min(witnesses_[0].silent_seconds, witnesses_[1].silent_seconds);
    const bool was_heard = witnesses_[0].is_heard && witnesses_[1].is_heard;
    const bool do_leave = witnesses_[0].is_leaving || witnesses_[1].is_leaving;
    if (was_heard && !do_leave && witnesses_[own].idle_seconds > limit && heard > limit) {
      end(fmt::format("{} is cut off: nothing from {} or {} for {:.1f} s", names[own], names[0], names[1], heard),
          own == speaker_);
    }
    return;
  }
  const Verdict verdict = judge(witnesses_, names, setting_.describe, setting_.deadline_seconds);
  unwarned_seconds_ += gap_seconds;
  if (own == 0 && age_seconds_ < kTimeToBeHeard && (age_seconds_ += gap_seconds) >= kTimeToBeHeard) warn_of_unheard();
  judged_seconds_ = verdict.is_end() ? judged_seconds_ + gap_seconds : 0;
  const bool is_first_gone = witnesses_[0].is_dead || (verdict.finding == Finding::silent && verdict.rank == 0);
  const bool is_due = own == 0 || is_first_gone || judged_seconds_ > kOtherCollector;
  if (verdict.is_end() && is_due) end(verdict.text, true);
  if (verdict.finding == Finding::slow && own == 0 && unwarned_seconds_ > kWarnEvery) {
    unwarned_seconds_ = 0;
    std::thread(setting_.say, "warning: " + verdict.text).detach();
  }
}

void Heartbeat::warn_of_unheard() const {
  const auto is_unheard = [](const Witness& each) { return !each.is_heard && !each.is_leaving; };
  const auto unheard = std::find_if(witnesses_.begin(), witnesses_.end(), is_unheard);
  if (unheard == witnesses_.end()) return;
  const int rank = static_cast<int>(unheard - witnesses_.begin());
  std::thread(setting_.say, fmt::format("warning: no heartbeat of {} reaches {}: does something keep UDP from the "
                                        "interface? Failures are named less exactly",
                                        communicator_.describe(rank), communicator_.describe(0)))
      .detach();
}

void Heartbeat::end(const std::string& why, bool says_it) {
  if (is_ending_.exchange(true)) return;
  if (says_it) send(Beat::ending);
  ender_ = std::jthread([this, why, says_it] {
    setting_.arm();
    if (says_it) setting_.say(why);
    try_to_write_events(why);
    pause_for(says_it ? kOthersWrite : kOthersEnd);
    communicator_.abort(why);
    setting_.end_job();
  });
}

std::string Heartbeat::on_term() {
  if (communicator_.size() == 1) return {};
  for (double waited = 0; waited < kTermPatience; waited += kBeat / 4) pause_for(kBeat / 4);
  if (is_ending_.exchange(true)) pause_for(60);  // the verdict's thread ends the process
  std::string words;
  {
    const std::lock_guard lock(mutex_);
    const auto is_missed = [](const Witness& each) {
      return !each.is_leaving && (each.is_dead || (each.is_heard && each.silent_seconds > kMissed));
    };
    const auto missed = std::find_if(witnesses_.begin(), witnesses_.end(), is_missed);
    const int speaker = is_missed(witnesses_[0]) ? 1 : 0;
    if (missed != witnesses_.end() && communicator_.rank() == speaker) {
      words = fmt::format("{} is dead: no heartbeat for {:.1f} s and TERM from mpirun; last seen at {}",
                          communicator_.describe(static_cast<int>(missed - witnesses_.begin())), missed->silent_seconds,
                          setting_.describe(missed->standing.position));
    }
    send(Beat::leaving);  // this end is no death of its own
  }
  try_to_write_events(words.empty() ? "ended by TERM" : words);
  return words;
}

void Heartbeat::leave_it_to_collectors() const {
  pause_for(kOtherCollector + 5 * kBeat);
  if (is_ending_) pause_for(60);  // the verdict's thread ends the process
}

void Heartbeat::try_to_write_events(const std::string& why) const {
  std::packaged_task<void()> task([this, why] { write_events(why); });  // which keeps what it throws
  const std::future<void> written = task.get_future();
  std::thread(std::move(task)).detach();
  written.wait_for(std::chrono::duration<double>(kOthersWrite));  // a disk may hang
}

void Heartbeat::write_events(const std::string& why) const {
  std::FILE* file = std::fopen(setting_.events_path.c_str(), "w");
  if (file == nullptr) return;  // no folder yet, or no disk: the job ends all the same
  constexpr std::array kinds{"", "makes a call of", "waits", "goes on"};
  fmt::print(file, "# {}: {}\n# seconds before the end, what the main thread did\n",
             communicator_.describe(communicator_.rank()), why);
  const double now = steady_seconds();
  for (const PulseEvent& event : communicator_.pulse().events()) {
    std::string what = kinds[event.kind];
    if (event.kind == PulseEvent::move) what = setting_.describe(event.detail);
    if (event.kind == PulseEvent::call) what += fmt::format(" {} bytes", event.detail);
    fmt::print(file, "{:.6f} {}\n", now - event.seconds, what);
  }
  std::fclose(file);
}

}  // namespace reprise
