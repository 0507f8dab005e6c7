#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "distributed/pulse.h"

namespace reprise {

// What one rank knows of another from its heartbeats.
struct Witness {
  bool is_heard = false;      // at least once
  bool is_leaving = false;    // it said goodbye, or failed and says so itself
  bool is_dead = false;       // its process ended without that
  double silent_seconds = 0;  // since its last heartbeat
  double idle_seconds = 0;    // its main thread has not moved for so long
  Standing standing;
};

enum class Finding { none, slow, dead, silent, stuck, mismatch, undelivered };

struct Verdict {
  Finding finding = Finding::none;
  int rank = -1;                                           // whom it concerns
  std::string text;                                        // one line, without a full stop
  bool is_end() const { return finding > Finding::slow; }  // of the job
};

using DescribePosition = std::function<std::string(uint64_t position)>;

// Pure. Says what holds a job up, by rank:
// dead: its process is gone. mismatch: it makes another call than most; seen before data meet, for their tags differ.
// silent: no heartbeats for half of `deadline_seconds`, and a rank says that it has not moved for as long as that, or
// as its limit: slow steps, or a save, may raise the limit; who is silent gets no more time for it.
// The others need a rank that says that it has exceeded its limit:
// stuck: alive, does not wait for others and does not move.
// slow: does move, so the others have to wait. undelivered: all wait, all are alive: nothing arrives.
// While a rank leaves, only a dead one ends the job: who leaves explains itself.
Verdict judge(const std::vector<Witness>& witnesses, const std::vector<std::string>& names,
              const DescribePosition& describe, double deadline_seconds);

}  // namespace reprise
