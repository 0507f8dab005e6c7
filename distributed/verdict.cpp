#include "distributed/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

namespace reprise {
namespace {

constexpr double kShortestSilence = 0.5;  // a busy machine may hold a heartbeat back for so long
constexpr double kHeldUp = 1;             // whoever has not moved for so long will not make the call that others made

// Of the ranks that pass, the one that has not moved for longest; -1 if none does.
template <typename Passes>
int longest_idle(const std::vector<Witness>& witnesses, const Passes& passes) {
  int found = -1;
  for (int rank = 0; rank < std::ssize(witnesses); ++rank) {
    if (!passes(witnesses[rank])) continue;
    if (found < 0 || witnesses[rank].idle_seconds > witnesses[found].idle_seconds) found = rank;
  }
  return found;
}

// The first call that not all ranks make alike; the odd rank is in the smallest party, and the last one of a tie.
Verdict find_mismatch(const std::vector<Witness>& witnesses, const std::vector<std::string>& names) {
  uint64_t first = UINT64_MAX, end = 0;
  for (const Witness& witness : witnesses) {
    const uint64_t calls = witness.standing.calls;
    if (calls > 0) first = std::min(first, calls - std::min<uint64_t>(calls, Standing::kCalls));
    end = std::max(end, calls);
  }
  first = std::max(first, end - std::min<uint64_t>(end, Standing::kCalls));  // a silent rank's last calls are old
  for (uint64_t n = first; n < end; ++n) {
    std::map<std::pair<uint64_t, uint64_t>, std::vector<int>> parties;
    bool is_complete = true;  // else most may still be taken for the odd ones
    for (int rank = 0; rank < std::ssize(witnesses); ++rank) {
      const Witness& witness = witnesses[rank];
      if (const Call* call = witness.standing.call(n)) parties[{call->bytes, call->what}].push_back(rank);
      is_complete &= witness.standing.calls > n || witness.idle_seconds > kHeldUp;
    }
    if (parties.size() < 2 || !is_complete) continue;
    const auto is_odder = [](const auto& a, const auto& b) {
      return std::pair(a.second.size(), -a.second.back()) < std::pair(b.second.size(), -b.second.back());
    };
    const auto odd = std::min_element(parties.begin(), parties.end(), is_odder);
    const auto usual = std::max_element(parties.begin(), parties.end(), is_odder);
    const int rank = odd->second.back(), other = usual->second.front();
    return {Finding::mismatch, rank,
            fmt::format("{} makes another call than {}: its call {} is {}, there {}", names[rank], names[other], n + 1,
                        text_of({odd->first.first, odd->first.second}),
                        text_of({usual->first.first, usual->first.second}))};
  }
  return {};
}

}  // namespace

Verdict judge(const std::vector<Witness>& witnesses, const std::vector<std::string>& names,
              const DescribePosition& describe, double deadline_seconds) {
  const auto where = [&](int rank) { return describe(witnesses[rank].standing.position); };
  const int dead = longest_idle(witnesses, [](const Witness& each) { return each.is_dead && !each.is_leaving; });
  if (dead >= 0) {
    return {Finding::dead, dead, fmt::format("{} is dead: its process ended at {}", names[dead], where(dead))};
  }
  if (std::any_of(witnesses.begin(), witnesses.end(), [](const Witness& each) { return each.is_leaving; })) return {};
  if (Verdict mismatch = find_mismatch(witnesses, names); mismatch.is_end()) return mismatch;

  // By what it said itself: while others move, one whose heartbeats get lost holds nobody up.
  const auto has_not_moved = [](const Witness& each, double seconds) {
    return each.is_heard && each.idle_seconds - each.silent_seconds > std::min(seconds, each.standing.limit_seconds);
  };
  const auto is_held_up = [&](const Witness& each) { return has_not_moved(each, deadline_seconds); };
  const double silence = std::max(kShortestSilence, deadline_seconds / 2);
  const int silent =
      longest_idle(witnesses, [&](const Witness& each) { return each.is_heard && each.silent_seconds > silence; });
  if (silent >= 0 && longest_idle(witnesses, is_held_up) >= 0) {
    return {Finding::silent, silent,
            fmt::format("{} is silent: no sign of life for {:.1f} s, last seen at {}; its process is stopped, or its "
                        "host cannot be reached",
                        names[silent], witnesses[silent].silent_seconds, where(silent))};
  }
  const auto is_overdue = [&](const Witness& each) { return has_not_moved(each, each.standing.limit_seconds); };
  const int overdue = longest_idle(witnesses, is_overdue);
  if (overdue < 0) return {};
  const int stuck =
      longest_idle(witnesses, [&](const Witness& each) { return is_overdue(each) && !each.standing.is_waiting; });
  if (stuck >= 0) {
    return {Finding::stuck, stuck,
            fmt::format("{} is stuck: alive, but for {:.1f} s at {}", names[stuck], witnesses[stuck].idle_seconds,
                        where(stuck))};
  }
  const int slow =
      longest_idle(witnesses, [](const Witness& each) { return each.is_heard && !each.standing.is_waiting; });
  if (slow >= 0 && witnesses[slow].idle_seconds > witnesses[slow].standing.limit_seconds / 2) return {};  // or stuck
  if (slow >= 0) {
    return {Finding::slow, slow,
            fmt::format("{} is slow: {} has waited {:.1f} s; now at {}", names[slow], names[overdue],
                        witnesses[overdue].idle_seconds, where(slow))};
  }
  const bool do_all_wait = std::all_of(witnesses.begin(), witnesses.end(), is_overdue);
  if (!do_all_wait) return {};
  return {Finding::undelivered, overdue,
          fmt::format("all ranks are alive and wait, and nothing arrives: {} for {:.1f} s at {}; look at the network "
                      "between the hosts, and at the devices",
                      names[overdue], witnesses[overdue].idle_seconds, where(overdue))};
}

}  // namespace reprise
