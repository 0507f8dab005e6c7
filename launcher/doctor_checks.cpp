#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "launcher/device.h"
#include "launcher/doctor.h"
#include "monitoring/format.h"

namespace reprise {
namespace {

using Facts = nlohmann::ordered_json;
using Ranks = std::vector<Facts>;

constexpr double kMegabyte = 1e6, kGigabyte = 1e9;
constexpr double kSharedBytesOfMpi = 4 << 20;     // a rank: Open MPI's btl_vader_segment_size
constexpr double kSharedBytesOfNccl = 128 << 20;  // a rank: NVIDIA asks for 1 GiB for eight

struct Verdict : Check {
  double badness = 0;  // orders those of equal health
};

Verdict verdict(const char* name, bool fails, bool warns, const std::string& found, const std::string& mend,
                double badness = 0) {
  const Health health = fails ? Health::fail : warns ? Health::warn : Health::ok;
  return {{name, health, found, health == Health::ok ? "" : mend}, badness};
}

// The first of the worst, and how many are as bad.
Check worst_of(const std::vector<Verdict>& all) {
  Check worst = *std::ranges::max_element(all, {}, [](const Verdict& a) { return std::pair(a.health, a.badness); });
  const auto alike = std::count_if(all.begin(), all.end(), [&](const Verdict& a) { return a.health == worst.health; });
  if (worst.health != Health::ok && alike > 1) worst.found += fmt::format("; {} of {} alike", alike, all.size());
  return worst;
}

std::string text_at(const Facts& facts, const char* place) {
  const Facts& found = facts.at(Facts::json_pointer(place));
  return found.is_string() ? found.get<std::string>() : found.dump();
}

Verdict judge_driver(const Facts& facts) {
  const int known = facts["driver"]["cuda"], needed = facts["driver"]["cuda_of_build"];
  const bool is_there = facts["driver"]["loaded"] || known > 0;
  const bool is_old = known / 1000 < needed / 1000;  // within a major version it may be the older one
  const auto cuda = [](int version) {
    return version > 0 ? fmt::format("CUDA {}.{}", version / 1000, version / 10 % 100) : "no CUDA";
  };
  return verdict("driver", is_there && is_old, needed > 0 ? facts["devices"].empty() : is_there,
                 fmt::format("{}; this build has {}",
                             !is_there   ? "none"
                             : known > 0 ? cuda(known)
                                         : "there",
                             cuda(needed)),
                 needed == 0 ? "scripts/build.sh cuda"
                 : is_old    ? "install an NVIDIA driver of that CUDA or newer (13.0: 580), or run.device=cpu"
                             : "unset CUDA_VISIBLE_DEVICES; docker run --gpus all; sbatch --gpus-per-node=8");
}

Verdict judge_interface(const Facts& network, bool has_devices) {
  const std::string named = network["mpi_interface"], of_nccl = network["nccl_interface"];
  std::string up, chosen = named.find('/') == std::string::npos ? "" : " " + named;  // addresses are not looked up
  for (const auto& [name, address] : network["interfaces"].items()) {
    const std::string text = fmt::format(" {} ({})", name, address.get<std::string>());
    up += text;
    if (fmt::format(",{},", named).find(fmt::format(",{},", name)) != std::string::npos) chosen += text;
  }
  const char* mend = "scripts/mpirun.sh --interface NAME of the fast one that is up";
  if (named.empty()) {
    return verdict("interface", false, network["interfaces"].size() > 1, "Open MPI may take any:" + up, mend);
  }
  if (chosen.empty()) return verdict("interface", true, true, fmt::format("{} is not up; up:{}", named, up), mend);
  return verdict("interface", false, has_devices && of_nccl.empty(),
                 fmt::format("MPI{}; NCCL {}", chosen, of_nccl.empty() ? "any" : of_nccl),
                 "export NCCL_SOCKET_IFNAME=" + named);
}

// Of each rank the same checks in the same order.
std::vector<Verdict> judge_rank(const Facts& facts, bool are_many_hosts) {
  const Facts &limits = facts["limits"], &directory = facts["directory"];
  const bool has_devices = !facts["devices"].empty(), has_infiniband = limits["infiniband"];
  const bool is_seen = directory["sees_first"];
  const std::string error = directory["error"], refusal = has_devices ? text_at(facts, "/nccl/refused") : "";
  const int ranks = facts["mpi"]["local_ranks"], threads = facts["threads"]["libtorch"];
  const int cores = facts["host"]["usable_cores"], all_cores = facts["host"]["cores"];
  const double locked = limits["locked_memory_bytes"], files = limits["open_files"];
  const double shared = limits["shared_bytes"], unused = limits["shared_free_bytes"];
  const double needed = ranks * (has_devices && ranks > 1 ? kSharedBytesOfNccl : kSharedBytesOfMpi);
  const double space = directory["free_bytes"], offset = facts["clock_offset_seconds"];
  std::vector<Verdict> all = {
      judge_driver(facts),
      verdict("libnccl", facts["nccl"]["in_build"] && !refusal.empty(), false,
              has_devices ? refusal + text_at(facts, "/nccl/path") : "not needed", "unset LD_LIBRARY_PATH LD_PRELOAD"),
      verdict("cores", false, threads > cores || (cores == all_cores ? threads * ranks > cores : cores == 1),
              fmt::format("{} of {} for each of {} ranks, {} threads", cores, all_cores, ranks, threads),
              "export OMP_NUM_THREADS=1; mpirun --bind-to none; fewer ranks"),
      verdict("memlock", false, has_infiniband && 0 <= locked && locked < kGigabyte,
              (locked < 0 ? "unlimited" : format_bytes(locked)) + (has_infiniband ? ", InfiniBand" : ", no InfiniBand"),
              "ulimit -l unlimited; docker run --ulimit memlock=-1"),
      verdict("nofile", 0 <= files && files < 128 + 2 * ranks, 0 <= files && files < 1024,
              files < 0 ? "unlimited" : fmt::format("{:.0f} open files", files), "ulimit -n 65536"),
      verdict("shm", shared < needed, unused < needed,
              fmt::format("{} free of {}, needed {}", format_bytes(unused), format_bytes(shared), format_bytes(needed)),
              "mount -o remount,size=2g /dev/shm; docker run --shm-size=2g; rm what dead jobs left there"),
      verdict("directory", !error.empty() || !is_seen, false,
              text_at(directory, "/place") + (!error.empty() ? ": " + error
                                              : is_seen      ? ""
                                                             : ": rank 0's files are not seen"),
              "run.directory=DIRECTORY that all hosts see and may write to"),
      verdict("space", space < kGigabyte, space < 10 * kGigabyte, format_bytes(space) + " free",
              "make room, or run.directory=DIRECTORY on a larger file system", -space)};
  if (!are_many_hosts) return all;
  all.push_back(judge_interface(facts["network"], has_devices));
  all.push_back(verdict("clock", std::abs(offset) > 60, std::abs(offset) > 0.1,
                        fmt::format("{:+.3f} s from rank 0's", -offset), "timedatectl set-ntp true; chronyc makestep",
                        std::abs(offset)));
  return all;
}

// The odd ranks are those that differ from most, with a tie from rank 0.
Check check_equal(const Ranks& ranks, const char* name, const char* place, const char* mend) {
  std::vector<std::string> values;
  for (const Facts& facts : ranks) values.push_back(text_at(facts, place));
  const auto votes = [&](const std::string& value) { return std::count(values.begin(), values.end(), value); };
  const std::string usual = *std::ranges::max_element(values, {}, votes);
  std::string found = usual;
  for (size_t rank = values.size(); rank-- > 0;) {
    if (values[rank] == usual) continue;
    found = fmt::format("rank {} on {} has {}, {} of {} ranks have {}", rank, text_at(ranks[rank], "/host/name"),
                        values[rank], votes(usual), ranks.size(), usual);
  }
  return verdict(name, found != usual, false, found, mend);
}

// Shared memory of a busy machine is slow at times, which is no fault.
void add_links(const Ranks& ranks, bool is_network, std::vector<Check>& checks) {
  Ranks links;
  for (const Facts& facts : ranks) links.insert(links.end(), facts["links"].begin(), facts["links"].end());
  if (links.empty()) return;
  const auto rate_of = [](const Facts& link) { return link["bytes_per_second"].get<double>(); };
  std::sort(links.begin(), links.end(), [&](const Facts& a, const Facts& b) { return rate_of(a) < rate_of(b); });
  const double slow = std::max(100 * kMegabyte, rate_of(links[links.size() / 2]) / 2);
  std::vector<Verdict> bandwidths, latencies;
  for (const Facts& link : links) {
    const std::string ends = fmt::format(", {} to {}", text_at(link, "/from"), text_at(link, "/to"));
    const double rate = rate_of(link), seconds = link["seconds"];
    bandwidths.push_back(verdict("bandwidth", is_network && rate < 10 * kMegabyte, rate < slow,
                                 fmt::format("{}/s ({:.2f} Gbit/s){}", format_bytes(rate), 8e-9 * rate, ends),
                                 "scripts/mpirun.sh --interface NAME of the fast one; ethtool NAME", -rate));
    latencies.push_back(verdict("latency", is_network && seconds > 0.02, seconds > 1e-3, format_seconds(seconds) + ends,
                                "hosts on one switch; --interface NAME", seconds));
  }
  checks.insert(checks.end(), {worst_of(bandwidths), worst_of(latencies)});
}

}  // namespace

std::vector<Check> check_job(const Ranks& ranks) {
  const bool are_many_hosts = ranks[0]["mpi"]["local_ranks"] < ranks.size();
  const char* one_build = "one checkout and one build for all hosts, where all see it";
  std::vector<Check> checks = {
      check_equal(ranks, "reprise", "/reprise/text", one_build),
      check_equal(ranks, "libtorch", "/libtorch/version", one_build),
      check_equal(ranks, "mpi", "/mpi/library", "install the same Open MPI on all hosts"),
      check_equal(ranks, "nccl", "/nccl/version", one_build),
      check_equal(ranks, "threads", "/threads/libtorch", "export OMP_NUM_THREADS=1: bits depend on it"),
      check_equal(ranks, "device", "/takes/kind", "run.device=cpu, or only hosts with devices")};
  std::vector<std::string> taken;
  for (const Facts& facts : ranks) taken.push_back(text_at(facts, "/takes/id"));
  const std::string shared = find_shared_device(taken);
  checks.push_back(verdict("sharing", !shared.empty(), false, shared.empty() ? "none" : shared,
                           "scripts/mpirun.sh --hosts HOST:DEVICES,…; or run.device=cpu"));
  std::vector<std::vector<Verdict>> by_check;
  for (const Facts& facts : ranks) {
    std::vector<Verdict> own = judge_rank(facts, are_many_hosts);
    by_check.resize(own.size());
    for (size_t i = 0; i < own.size(); ++i) {
      if (are_many_hosts) own[i].found = text_at(facts, "/host/name") + ": " + own[i].found;
      by_check[i].push_back(std::move(own[i]));
    }
  }
  std::transform(by_check.begin(), by_check.end(), std::back_inserter(checks), worst_of);
  add_links(ranks, are_many_hosts, checks);
  return checks;
}

}  // namespace reprise
