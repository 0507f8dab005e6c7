#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "distributed/communicator.h"
#include "distributed/verdict.h"

namespace reprise {

struct HeartbeatSetting {
  DescribePosition describe;  // on any thread: takes no lock that the main thread may hold
  double deadline_seconds;    // distributed.deadline
  std::string events_path;    // where this rank's last events go when the job ends by a verdict or by TERM
  std::function<void(const std::string& line)> say;  // on a thread of its own
  // How this process ends, on a thread of its own: `arm` bounds all that follows, end_job does not return.
  std::function<void()> arm, end_job;
};

// A thread per rank that says ten times a second where the main thread is, as one UDP datagram to the collectors, ranks
// 0 and 1, who tell everybody that they are there. The collectors judge all ranks (verdict.h); rank 0 acts on what it
// finds, rank 1 when rank 0 does not. Acting ends the job: all ranks write down their last events, one says why.
// A rank cut off from both collectors ends by itself; one of each host says so.
// The thread calls no MPI, NCCL or CUDA and shares no lock with the main thread: it lives on when that one hangs.
// Time during which this process itself was stopped counts for nobody.
class Heartbeat {
 public:
  // Collective; main thread. Nothing happens in a group of one.
  Heartbeat(Communicator& communicator, HeartbeatSetting setting);
  ~Heartbeat();  // says goodbye: from here on this rank's end is no death

  // TERM has come; mpirun sends it to all ranks when one has died, too. Not on the main thread. Waits for what others'
  // heartbeats say, writes the events and returns what this rank has to say about it, often nothing.
  std::string on_term();

  // This rank fails and says why itself: as if it had said goodbye, though it may take a while to get there.
  void leave() { is_leaving_ = true; }

  // The main thread met PeerLost, but collectors see more: returns when they had time to end the job and did not.
  void leave_it_to_collectors() const;

 private:
  void open_socket();
  void meet_the_others();
  void run(const std::stop_token& stop);
  void take_beats();
  void grow_older(double gap_seconds);
  void note_own();
  void send(uint32_t flags) const;
  void act(double gap_seconds);
  void warn_of_unheard() const;
  void end(const std::string& why, bool says_it);
  void try_to_write_events(const std::string& why) const;
  void write_events(const std::string& why) const;

  Communicator& communicator_;
  const HeartbeatSetting setting_;
  uint64_t token_ = 0;  // of the job, random: what does not carry it is not heard
  int socket_ = -1;
  std::vector<int> processes_;       // pidfds by rank, of a collector's own host; else -1
  std::vector<uint64_t> addresses_;  // by rank: IPv4 address and port, as the network orders them
  int speaker_ = -1;                 // of this host's ranks, should they be cut off from both collectors
  double judged_seconds_ = 0;        // for so long has a verdict stood
  double unwarned_seconds_ = 1e9;    // since the last warning
  double age_seconds_ = 0;
  std::atomic<bool> is_ending_ = false, is_leaving_ = false;
  std::mutex mutex_;  // of this class's threads; guards what follows
  std::vector<Witness> witnesses_;
  std::jthread ender_;   // of the job, once there is a verdict; started by the heartbeat's thread
  std::jthread thread_;  // last: it uses the others
};

}  // namespace reprise
