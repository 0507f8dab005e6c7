#include <ATen/Parallel.h>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <mpi.h>
#include <net/if.h>
#include <sys/resource.h>
#include <torch/types.h>
#include <torch/utils.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "distributed/agreement.h"
#include "distributed/mpi_communicator.h"
#include "launcher/build_facts.h"
#include "launcher/device.h"
#include "launcher/doctor.h"
#include "launcher/exit_codes.h"
#include "launcher/host_facts.h"
#include "launcher/job.h"
#include "monitoring/format.h"
#include "monitoring/json_text.h"

namespace reprise {
namespace {

namespace fs = std::filesystem;
using Facts = nlohmann::ordered_json;

constexpr int kShortBytes = 256 << 10, kLongBytes = 4 << 20;  // 2 and 34 ms at 1 Gbit/s

// The best of three products of 1024 × 1024 matrices, after one to warm up.
double gemm_flop_per_second() {
  constexpr int64_t n = 1024;
  const torch::NoGradGuard no_grad;
  const torch::Tensor a = torch::ones({n, n}), b = torch::ones({n, n});
  torch::Tensor c = torch::mm(a, b);
  double best_seconds = 1e9;
  for (int i = 0; i < 3; ++i) {
    const double started = steady_seconds();
    torch::mm_out(c, a, b);
    best_seconds = std::min(best_seconds, steady_seconds() - started);
  }
  return 2.0 * n * n * n / best_seconds;
}

std::string environment(const char* variable) {
  const char* text = std::getenv(variable);
  return text ? text : "";
}

Facts examine_host() {
  const HostFacts host = read_host_facts();
  const auto has = [&host](const char* flag) { return host.flags.find(flag) != std::string::npos; };
  Facts facts = JSON_FIELDS(host.processor, host.usable_cores, host.memory_bytes, host.cgroup_limit_bytes);
  facts["name"] = host.host;
  facts["cores"] = sysconf(_SC_NPROCESSORS_ONLN);
  facts["instructions"] = {{"avx2", has(" avx2 ")},
                           {"avx512", has(" avx512f ")},
                           {"avx512_bf16", has(" avx512_bf16 ")},
                           {"amx_bf16", has(" amx_bf16 ")}};
  return facts;
}

Facts examine_devices() {
  Facts devices = Facts::array();
  for (int i = 0; i < visible_devices(); ++i) {
    const DeviceFacts device = describe_device(i);
    devices.push_back(JSON_FIELDS(device.name, device.address, device.uuid, device.memory_bytes));
  }
  return devices;
}

// {name: address} of the interfaces that are up and have an IPv4 address, the loopback aside.
Facts examine_interfaces() {
  Facts interfaces = Facts::object();
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return interfaces;
  for (const ifaddrs* each = all; each; each = each->ifa_next) {
    const bool is_usable = (each->ifa_flags & IFF_UP) && !(each->ifa_flags & IFF_LOOPBACK);
    if (!is_usable || !each->ifa_addr || each->ifa_addr->sa_family != AF_INET) continue;
    char address[INET_ADDRSTRLEN] = "";
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(each->ifa_addr)->sin_addr, address, sizeof address);
    interfaces[each->ifa_name] = address;
  }
  freeifaddrs(all);
  return interfaces;
}

Facts examine_limits() {
  std::error_code error;
  const fs::directory_iterator infiniband("/sys/class/infiniband", error);
  const fs::space_info shared = fs::space("/dev/shm", error);  // -1 when there is none
  rlimit locked{}, files{};
  getrlimit(RLIMIT_MEMLOCK, &locked);
  getrlimit(RLIMIT_NOFILE, &files);
  return {{"locked_memory_bytes", static_cast<int64_t>(locked.rlim_cur)},  // -1: no limit
          {"open_files", static_cast<int64_t>(files.rlim_cur)},
          {"infiniband", infiniband != fs::directory_iterator()},
          {"shared_bytes", static_cast<int64_t>(shared.capacity)},
          {"shared_free_bytes", static_cast<int64_t>(shared.available)}};
}

// Every rank leaves a file where the directory is, or would be; a host that does not see rank 0's is on another file
// system.
Facts examine_directory(Communicator& communicator, const std::string& directory) {
  std::error_code code;
  fs::path place = fs::current_path(code) / directory;
  while (!fs::exists(place, code) && place.has_relative_path()) place = place.parent_path();
  const std::string name = fmt::format(".reprise-doctor-{}-{}", communicator.rank(), getpid());
  const std::vector<std::string> marks = gather_texts(communicator, (place / name).string());
  const std::string own = marks[communicator.rank()], error = std::ofstream(own) ? "" : std::strerror(errno);
  communicator.barrier();
  const bool sees_first = fs::exists(marks[0], code);
  communicator.barrier();
  fs::remove(own, code);
  return {{"place", place.string()},
          {"free_bytes", static_cast<int64_t>(fs::space(place, code).available)},
          {"error", error},
          {"sees_first", sees_first}};
}

// The quickest of some trips of a message to `peer` and back; `peer` makes the same call, and one of the two starts.
// Blocks without a limit. Between collectives.
double round_trip_seconds(int peer, bool starts, int bytes, int rounds) {
  std::vector<char> message(bytes);
  double quickest = 1e9;
  for (int round = 0; round < rounds; ++round) {
    const double started = steady_seconds();
    for (const bool sends : {starts, !starts}) {
      const int code = sends ? MPI_Send(message.data(), bytes, MPI_BYTE, peer, 0, MPI_COMM_WORLD)
                             : MPI_Recv(message.data(), bytes, MPI_BYTE, peer, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      if (code != MPI_SUCCESS) throw PeerLost(fmt::format("no message to rank {} and back: MPI error {}", peer, code));
    }
    quickest = std::min(quickest, steady_seconds() - started);
  }
  return quickest;
}

// Trips between the first ranks of hosts that follow each other, on one host between the ranks themselves; one pair at
// a time while the others wait. The rank that starts reports the link.
Facts measure_links(Communicator& communicator) {
  const Patience patience{60, [](const std::string& message) {
                            fmt::print(stderr, "reprise: {}\n", message);
                            abort_mpi_job(kPeerLost);
                          }};
  const std::jthread watched = watch(patience, "a message to another rank and back");
  const int own = communicator.rank(), size = communicator.size();
  const torch::Tensor local_ranks = gather_figures(communicator, {static_cast<double>(communicator.local_rank())});
  std::vector<int> ends;
  for (int rank = 0; rank < size; ++rank) {
    if (communicator.local_size() == size || local_ranks[rank].item<double>() == 0) ends.push_back(rank);
  }
  Facts links = Facts::array();
  for (size_t i = 0; i + (ends.size() < 3) < ends.size(); ++i) {
    const int from = ends[i], to = ends[(i + 1) % ends.size()];
    const auto one_way_seconds = [&](int bytes, int rounds) {
      if (own != from && own != to) return 0.0;
      return round_trip_seconds(own == from ? to : from, own == from, bytes, rounds) / 2;
    };
    const double quick = largest_figures(communicator, {one_way_seconds(kShortBytes, 3)})[0];
    const int bytes = quick < 0.02 ? kLongBytes : kShortBytes;
    const double latency = one_way_seconds(1, 100), seconds = one_way_seconds(bytes, 3);
    if (own != from) continue;
    links.push_back({{"from", communicator.describe(from)},
                     {"to", communicator.describe(to)},
                     {"seconds", latency},
                     {"bytes_per_second", bytes / seconds}});
  }
  return links;
}

}  // namespace

std::vector<Facts> gather_facts(Communicator& communicator, const std::string& directory) {
  const Job job = job_from_environment();
  const NcclFacts nccl = nccl_facts();
  const std::string mpi = mpi_library_version();
  Facts facts = {
      {"reprise",
       {{"version", kVersion},
        {"commit", kCommit},
        {"build", kBuildType},
        {"compiler", kCompiler},
        {"text", fmt::format("{} ({}, {}, {})", kVersion, kCommit, kBuildType, kCompiler)}}},
      {"host", examine_host()},
      {"mpi",
       {{"library", mpi.substr(0, mpi.find('\n'))},
        {"launched", job.is_launched},
        {"rank", job.rank},
        {"ranks", job.ranks},
        {"local_rank", communicator.local_rank()},
        {"local_ranks", communicator.local_size()}}},
      {"threads", {{"OMP_NUM_THREADS", environment("OMP_NUM_THREADS")}, {"libtorch", at::get_num_threads()}}},
      {"libtorch", {{"version", kLibTorch}, {"MKL_CBWR", environment("MKL_CBWR")}}},
      {"nccl",
       {{"in_build", nccl.is_in_build},
        {"header_version", nccl_version_text(nccl.header_version)},
        {"version", nccl.is_in_build ? nccl_version_text(nccl.library_version) : "none"},
        {"path", nccl.path},
        {"refused", refusal_of(nccl)}}},
      {"driver",
       {{"loaded", fs::exists("/proc/driver/nvidia/version")},
        {"cuda", nccl.driver_cuda},
        {"cuda_of_build", nccl.build_cuda}}},
      {"devices", examine_devices()},
      {"gemm_flop_per_second", gemm_flop_per_second()},
      {"network",
       {{"mpi_interface", environment("OMPI_MCA_btl_tcp_if_include")},
        {"nccl_interface", environment("NCCL_SOCKET_IFNAME")},
        {"interfaces", examine_interfaces()}}},
      {"limits", examine_limits()}};
  const Facts& devices = facts["devices"];
  const int device = device_of(communicator.local_rank(), static_cast<int>(devices.size()));
  facts["takes"]["kind"] = devices.empty() ? "cpu" : "cuda";
  facts["takes"]["id"] = devices.empty() ? Facts(communicator.describe(communicator.rank())) : devices[device]["uuid"];
  facts["directory"] = examine_directory(communicator, directory);
  facts["clock_offset_seconds"] = clock_offset(communicator, unix_seconds);
  facts["links"] = measure_links(communicator);
  std::vector<Facts> ranks;
  for (const std::string& text : gather_texts(communicator, json_text(facts))) ranks.push_back(Facts::parse(text));
  return ranks;
}

}  // namespace reprise
