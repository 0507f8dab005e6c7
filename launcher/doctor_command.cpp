#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>

#include "checkpointing/step_record.h"
#include "distributed/mpi_communicator.h"
#include "launcher/build_facts.h"
#include "launcher/commands.h"
#include "launcher/device.h"
#include "launcher/exit_codes.h"
#include "launcher/host_facts.h"
#include "launcher/job.h"
#include "monitoring/format.h"
#include "monitoring/json_text.h"

namespace reprise {
namespace {

// The best of three products of 1024 × 1024 matrices, after one to warm up.
double gemm_flop_per_second() {
  constexpr int64_t n = 1024;
  const torch::NoGradGuard no_grad;
  const torch::Tensor a = torch::ones({n, n}), b = torch::ones({n, n});
  torch::Tensor c = torch::mm(a, b);
  double best_seconds = 1e9;
  for (int i = 0; i < 3; ++i) {
    const double started = now_seconds();
    torch::mm_out(c, a, b);
    best_seconds = std::min(best_seconds, now_seconds() - started);
  }
  return 2.0 * n * n * n / best_seconds;
}

nlohmann::ordered_json examine_devices() {
  nlohmann::ordered_json devices = nlohmann::ordered_json::array();
  for (int i = 0; i < visible_devices(); ++i) {
    const DeviceFacts device = describe_device(i);
    devices.push_back(JSON_FIELDS(device.name, device.address, device.uuid, device.memory_bytes));
  }
  return devices;
}

nlohmann::ordered_json examine_nccl() {
  const NcclFacts nccl = nccl_facts();
  return {{"in_build", nccl.is_in_build},
          {"header_version", nccl_version_text(nccl.header_version)},
          {"version", nccl_version_text(nccl.library_version)},
          {"path", nccl.path},
          {"refused", refusal_of(nccl)}};
}

std::string environment(const char* variable) {
  const char* text = std::getenv(variable);
  return text ? text : "";
}

nlohmann::ordered_json examine() {
  const HostFacts host = read_host_facts();
  const Job job = job_from_environment();
  const std::string mpi = mpi_library_version();
  const auto has = [&host](const char* flag) { return host.flags.find(flag) != std::string::npos; };
  return {
      {"reprise", {{"version", kVersion}, {"commit", kCommit}, {"build", kBuildType}, {"compiler", kCompiler}}},
      {"host",
       {{"name", host.host},
        {"processor", host.processor},
        {"usable_cores", host.usable_cores},
        {"memory_bytes", host.memory_bytes},
        {"cgroup_limit_bytes", host.cgroup_limit_bytes},
        {"instructions",
         {{"avx2", has(" avx2 ")},
          {"avx512", has(" avx512f ")},
          {"avx512_bf16", has(" avx512_bf16 ")},
          {"amx_bf16", has(" amx_bf16 ")}}}}},
      {"mpi",
       {{"library", mpi.substr(0, mpi.find('\n'))},
        {"launched", job.is_launched},
        {"rank", job.rank},
        {"ranks", job.ranks}}},
      {"threads", {{"OMP_NUM_THREADS", environment("OMP_NUM_THREADS")}, {"libtorch", at::get_num_threads()}}},
      {"libtorch", {{"version", kLibTorch}, {"MKL_CBWR", environment("MKL_CBWR")}}},
      {"nccl", examine_nccl()},
      {"devices", examine_devices()},
      {"gemm_flop_per_second", gemm_flop_per_second()},
  };
}

void print_page(const nlohmann::ordered_json& facts) {
  const auto line = [](const char* name, const std::string& value) { fmt::print("{:<14} {}\n", name, value); };
  const auto text = [&facts](const char* place, const char* when_empty = "") {
    const auto& value = facts.at(nlohmann::ordered_json::json_pointer(place));
    const std::string found = value.is_string() ? value.get<std::string>() : value.dump();
    return found.empty() ? when_empty : found;
  };
  line("reprise", fmt::format("{} (commit {}, {}, {})", text("/reprise/version"), text("/reprise/commit"),
                              text("/reprise/build"), text("/reprise/compiler")));
  line("libtorch", text("/libtorch/version"));
  line("host", text("/host/name"));
  line("processor", fmt::format("{}, {} usable cores", text("/host/processor"), text("/host/usable_cores")));
  std::string instructions;
  for (const auto& [name, present] : facts["host"]["instructions"].items()) instructions += present ? name + " " : "";
  line("instructions", instructions.empty() ? "none of avx2, avx512, bf16" : instructions);
  const auto& limit = facts["host"]["cgroup_limit_bytes"];
  line("memory", fmt::format("{}, cgroup limit {}", format_bytes(facts["host"]["memory_bytes"]),
                             limit == 0 ? "none" : format_bytes(limit)));
  line("mpi", text("/mpi/library"));
  const bool is_launched = facts["mpi"]["launched"];
  line("ranks",
       is_launched ? fmt::format("rank {} of {}", text("/mpi/rank"), text("/mpi/ranks")) : "not under mpirun or srun");
  line("threads", fmt::format("{} a rank (OMP_NUM_THREADS {})", text("/threads/libtorch"),
                              text("/threads/OMP_NUM_THREADS", "not set")));
  const bool has_nccl = facts["nccl"]["in_build"];
  line("nccl", has_nccl ? fmt::format("{}, {}", text("/nccl/version"), text("/nccl/path")) : "not in this build");
  if (has_nccl && !text("/nccl/refused").empty()) line("", text("/nccl/refused"));
  for (const auto& device : facts["devices"]) {
    line("cuda device", fmt::format("{}, {}, at {}", device["name"].get<std::string>(),
                                    format_bytes(device["memory_bytes"]), device["address"].get<std::string>()));
  }
  line("matrix product",
       fmt::format("{:.1f} GFLOP/s in fp32 (1024 × 1024)", facts["gemm_flop_per_second"].get<double>() / 1e9));
}

int doctor(bool as_json) {
  const nlohmann::ordered_json facts = examine();
  print_page(facts);
  if (as_json) fmt::print("{}\n", json_text(facts));
  return kDone;
}

}  // namespace

Command add_doctor(CLI::App& app) {
  CLI::App* command = app.add_subcommand("doctor", "What this machine and this build are: one page");
  const auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "One JSON document as the last line");
  command->footer("Example:\n  reprise doctor --json");
  return {command, [as_json] { return doctor(*as_json); }};
}

}  // namespace reprise
