#pragma once

#include "distributed/heartbeat.h"
#include "launcher/config.h"
#include "launcher/stop_request.h"

namespace reprise {

// Over the ranks of a run for as long as it lives: the heartbeat, what a verdict does to this process (one line, exit
// code 75, KILL after five seconds), and what TERM says.
class Vigil {
 public:
  // Collective. All of them outlive it; a run's events go to rank<r>.events in its directory.
  Vigil(Communicator& communicator, StopRequest& stop, const Config& config, const StageChain& model);
  ~Vigil() { stop_.explain_term_by({}); }

  void leave() { heartbeat_.leave(); }                                          // on any other failure
  void leave_it_to_collectors() const { heartbeat_.leave_it_to_collectors(); }  // on PeerLost

 private:
  StopRequest& stop_;
  Heartbeat heartbeat_;
};

}  // namespace reprise
