#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "launcher/doctor.h"
#include "launcher/exit_codes.h"
#include "launcher/job.h"
#include "launcher/program.h"
#include "monitoring/console.h"
#include "monitoring/json_text.h"

namespace reprise {
namespace {

using Facts = nlohmann::ordered_json;
constexpr std::array kWords = {"ok", "warn", "FAIL"}, kColours = {"32", "33", "31"};  // of Health

// A row a host. Of many hosts the first; checks name those that matter, --json has all.
void print_hosts(const std::vector<Facts>& ranks) {
  constexpr size_t kMostRows = 12;
  static constexpr char kRow[] = "{:<{}}  {:>5}  {:>5}  {:>10}  {:>10}  {}\n";
  size_t width = 4, rows = 0;
  for (const Facts& facts : ranks) width = std::max(width, facts["host"]["name"].get<std::string>().size());
  fmt::print(kRow, "host", width, "ranks", "cores", "memory", "free space", "devices");
  for (const Facts& facts : ranks) {
    if (facts["mpi"]["local_rank"] != 0 || ++rows > kMostRows) continue;
    const Facts& host = facts["host"];
    const double memory = host["memory_bytes"], limit = host["cgroup_limit_bytes"];
    std::set<std::string> devices;  // a scheduler may show each rank another one
    for (const Facts& other : ranks) {
      if (other["host"]["name"] != host["name"]) continue;
      for (const Facts& device : other["devices"]) devices.insert(device["uuid"].get<std::string>());
    }
    fmt::print(
        kRow, host["name"].get<std::string>(), width, facts["mpi"]["local_ranks"].get<int>(), host["cores"].get<int>(),
        format_bytes(limit > 0 ? std::min(limit, memory) : memory), format_bytes(facts["directory"]["free_bytes"]),
        devices.empty() ? "none"
                        : fmt::format("{} × {}", devices.size(), facts["devices"][0]["name"].get<std::string>()));
  }
  if (rows > kMostRows) fmt::print("… and {} more hosts, see --json\n", rows - kMostRows);
}

void print_checks(const std::vector<Check>& checks) {
  const bool is_coloured = writes_to_terminal(stdout) && std::getenv("NO_COLOR") == nullptr;
  for (const auto& [name, health, found, mend] : checks) {
    const auto index = static_cast<size_t>(health);
    const std::string word = fmt::format("{:<4}", kWords[index]);
    fmt::print("{}  {:<10} {}\n", is_coloured ? fmt::format("\x1b[{}m{}\x1b[0m", kColours[index], word) : word, name,
               found);
    if (!mend.empty()) fmt::print("{:<16} → {}\n", "", mend);
  }
}

int doctor(const std::string& directory, bool as_json) {
  const std::unique_ptr<Communicator> communicator = connect_ranks(60);
  communicator->set_wait_limit(30, "doctor");
  const std::vector<Facts> ranks = gather_facts(*communicator, directory);
  if (communicator->rank() > 0) return kDone;  // the page's end is the job's: one code, and after the page
  const std::vector<Check> checks = check_job(ranks);
  const auto is_red = [](const Check& check) { return check.health == Health::fail; };
  const int code = std::any_of(checks.begin(), checks.end(), is_red) ? kConfiguration : kDone;
  std::string instructions;
  for (const auto& [name, present] : ranks[0]["host"]["instructions"].items())
    instructions += present ? " " + name : "";
  fmt::print("{},{}, {:.1f} GFLOP/s in fp32 (1024 × 1024)\n\n", ranks[0]["host"]["processor"].get<std::string>(),
             instructions.empty() ? " no avx2, avx512, bf16" : instructions,
             ranks[0]["gemm_flop_per_second"].get<double>() / 1e9);
  print_hosts(ranks);
  fmt::print("\n");
  print_checks(checks);
  if (!as_json) return code;
  Facts document = ranks[0];
  document["ranks"] = ranks;
  for (const auto& [name, health, found, mend] : checks) {
    document["checks"].push_back(
        {{"name", name}, {"state", kWords[static_cast<size_t>(health)]}, {"found", found}, {"mend", mend}});
  }
  fmt::print("{}\n", json_text(document));
  return code;
}

}  // namespace

Command add_doctor(CLI::App& app) {
  CLI::App* command = app.add_subcommand("doctor", "What this machine, or all of a job's, lack for a run: one page");
  const auto directory = std::make_shared<std::string>("runs");
  const auto as_json = std::make_shared<bool>(false);
  command->add_option("--directory", *directory, "Where runs are to be saved: its free space is looked at")
      ->capture_default_str();
  command->add_flag("--json", *as_json, "One JSON document as the last line");
  command->footer(
      "Examples:\n  reprise doctor --json\n  scripts/mpirun.sh --hosts node1,node2 --interface eth0 doctor\nExit code "
      "78 when a check says FAIL.");
  return {command, [=] { return doctor(*directory, *as_json); }};
}

}  // namespace reprise
