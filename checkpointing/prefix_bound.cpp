#include "checkpointing/prefix_bound.h"

#include <algorithm>

namespace reprise {
namespace {

using Corner = PrefixBound::Corner;
using Polyline = PrefixBound::Polyline;

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr size_t kMostCorners = 48;  // fewer: looser bounds; more: dearer ones
constexpr size_t kMergeEvery = 256;  // found corners that wait for a merge

// The polyline `before`, followed by one more segment: cut where the segment no longer fits the budget and where the
// wire makes more bytes useless, then shifted. Corners below the line so far are added to `found`.
void extend(const Polyline& before, const SegmentChoice& choice, double budget, bool wire, Polyline& found,
            const Polyline& so_far) {
  const double most_held = budget - static_cast<double>(choice.need_bytes);
  const auto busy = static_cast<double>(choice.busy), held = static_cast<double>(choice.held_bytes);
  const double least_ticks = wire ? static_cast<double>(choice.finish - choice.busy) : 0;
  auto next = so_far.begin();
  const auto offer = [&](double held_before, double ticks_before) {
    const double x = held_before + held, y = std::max(ticks_before, least_ticks) + busy;
    while (next != so_far.end() && next->held <= x) ++next;
    if (next != so_far.begin()) {
      const Corner& corner = *std::prev(next);
      if (y >= corner.ticks + corner.slope * (x - corner.held)) return;
    }
    found.push_back({x, y, 0});
  };
  for (size_t i = 0; i < before.size(); ++i) {
    const Corner& corner = before[i];
    if (corner.held > most_held) return;
    offer(corner.held, corner.ticks);
    if (corner.ticks <= least_ticks || i + 1 == before.size()) return;
    // Where the edge behind this corner leaves the budget or reaches the wire's limit, it gets a corner of its own.
    const double at_limit = corner.held + (least_ticks - corner.ticks) / corner.slope;
    const double cut = std::min(at_limit, most_held);
    if (cut < before[i + 1].held) {
      offer(cut, corner.ticks + corner.slope * (cut - corner.held));
      return;
    }
  }
}

// The lower convex hull of both (a monotone chain); empties `found`.
void merge(Polyline& so_far, Polyline& found) {
  if (found.empty()) return;
  found.insert(found.end(), so_far.begin(), so_far.end());
  std::sort(found.begin(), found.end(),
            [](const Corner& a, const Corner& b) { return a.held != b.held ? a.held < b.held : a.ticks < b.ticks; });
  so_far.clear();
  for (Corner corner : found) {
    if (!so_far.empty() && corner.ticks >= so_far.back().ticks) continue;
    while (!so_far.empty()) {
      Corner& back = so_far.back();
      back.slope = (corner.ticks - back.ticks) / (corner.held - back.held);
      if (so_far.size() < 2 || std::prev(so_far.end(), 2)->slope < back.slope) break;
      so_far.pop_back();
    }
    corner.slope = 0;
    so_far.push_back(corner);
  }
  found.clear();
}

// While there are too many corners, drops the edge whose neighbours, drawn on until they meet, fall the least below it.
void simplify(Polyline& line) {
  while (line.size() > kMostCorners) {
    double least_loss = kInfinite;
    size_t dropped = 0;
    Corner meeting;
    for (size_t i = 1; i + 2 < line.size(); ++i) {
      const Corner &a = line[i], &b = line[i + 1];
      const double before = line[i - 1].slope, after = b.slope;
      const double held = (b.ticks - a.ticks + before * a.held - after * b.held) / (before - after);
      const double ticks = a.ticks + before * (held - a.held);
      const double loss = a.ticks + a.slope * (held - a.held) - ticks;
      if (loss < least_loss) {
        least_loss = loss;
        dropped = i;
        meeting = {held, ticks, after};
      }
    }
    if (dropped == 0) return;
    line[dropped] = meeting;
    line.erase(line.begin() + static_cast<std::ptrdiff_t>(dropped) + 1);
  }
}

}  // namespace

PrefixBound::PrefixBound(const PlanSpace& space, int64_t budget_bytes, bool wire)
    : polylines_(static_cast<size_t>(space.stages()) + 1) {
  std::vector<Polyline> found(polylines_.size());
  polylines_[0] = {{0, 0, 0}};
  for (size_t p = 0; p + 1 < polylines_.size(); ++p) {
    merge(polylines_[p], found[p]);
    simplify(polylines_[p]);
    for (const SegmentChoice& choice : space.starting(static_cast<int>(p))) {
      const auto end = static_cast<size_t>(choice.last) + 1;
      extend(polylines_[p], choice, static_cast<double>(budget_bytes), wire, found[end], polylines_[end]);
      if (found[end].size() > kMergeEvery) merge(polylines_[end], found[end]);
    }
  }
  merge(polylines_.back(), found.back());
}

double PrefixBound::ticks(int p, double held_bytes) const {
  const Polyline& line = polylines_[static_cast<size_t>(p)];
  const auto next = std::ranges::upper_bound(line, held_bytes, {}, &Corner::held);
  if (next == line.begin()) return kInfinite;
  const Corner& corner = *std::prev(next);
  return corner.ticks + corner.slope * (held_bytes - corner.held);
}

}  // namespace reprise
