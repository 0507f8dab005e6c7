#include <gtest/gtest.h>

#include <functional>

#include "launcher/doctor.h"

namespace reprise {
namespace {

using Facts = nlohmann::ordered_json;
using Ranks = std::vector<Facts>;
using Pointer = Facts::json_pointer;

// A rank of a healthy job: two a host, each with a device.
Facts healthy_rank(int rank, const std::string& host) {
  const std::string uuid = "uuid of " + std::to_string(rank);
  return {{"reprise", {{"text", "1.0 (abc)"}}},
          {"host", {{"name", host}, {"usable_cores", 8}, {"cores", 8}}},
          {"mpi", {{"library", "Open MPI v4.1.4"}, {"rank", rank}, {"local_ranks", 2}}},
          {"threads", {{"libtorch", 2}}},
          {"libtorch", {{"version", "2.11.0"}}},
          {"nccl", {{"in_build", true}, {"version", "2.28.9"}, {"path", "/lib/libnccl.so"}, {"refused", ""}}},
          {"driver", {{"loaded", true}, {"cuda", 13000}, {"cuda_of_build", 13000}}},
          {"devices", Facts::array({{{"name", "H100"}, {"uuid", uuid}}})},
          {"takes", {{"kind", "cuda"}, {"id", uuid}}},
          {"network", {{"mpi_interface", "ib0"}, {"nccl_interface", "ib0"}, {"interfaces", {{"ib0", "10.0.0.1"}}}}},
          {"limits",
           {{"locked_memory_bytes", -1},
            {"open_files", 65536},
            {"infiniband", true},
            {"shared_bytes", 16ULL << 30},
            {"shared_free_bytes", 16ULL << 30}}},
          {"directory", {{"place", "/runs"}, {"free_bytes", 500e9}, {"error", ""}, {"sees_first", true}}},
          {"clock_offset_seconds", 0.0},
          {"links", Facts::array()}};
}

// Ranks 0 to 5 on a, a, b, b, c, c; links a to b, b to c, c to a.
Ranks healthy_job() {
  const char* hosts[] = {"a", "b", "c"};
  Ranks ranks;
  for (int rank = 0; rank < 6; ++rank) ranks.push_back(healthy_rank(rank, hosts[rank / 2]));
  for (int host = 0; host < 3; ++host) {
    ranks[2 * host]["links"].push_back({{"from", std::string("rank on ") + hosts[host]},
                                        {"to", std::string("rank on ") + hosts[(host + 1) % 3]},
                                        {"seconds", 20e-6},
                                        {"bytes_per_second", 5e9}});
  }
  return ranks;
}

Check check_named(const Ranks& ranks, const std::string& name) {
  for (const Check& check : check_job(ranks)) {
    if (check.name == name) return check;
  }
  ADD_FAILURE() << "no check " << name;
  return {};
}

// What changed facts do to a check, and nothing to any other.
void expect_only(const std::string& name, Health health, const Ranks& ranks, const std::vector<std::string>& words) {
  for (const Check& check : check_job(ranks)) {
    EXPECT_EQ(check.health, check.name == name ? health : Health::ok) << check.name << ": " << check.found;
    EXPECT_EQ(check.mend.empty(), check.health == Health::ok) << check.name;
  }
  const Check check = check_named(ranks, name);
  for (const std::string& word : words) {
    EXPECT_NE((check.found + "; mend: " + check.mend).find(word), std::string::npos)
        << word << " in " << check.found << "; mend: " << check.mend;
  }
}

// One change on one rank.
void expect_of_change(const std::string& name, Health health, int rank, const char* place, const Facts& value,
                      const std::vector<std::string>& words) {
  SCOPED_TRACE(std::string(place) + " = " + value.dump());
  Ranks ranks = healthy_job();
  ranks[rank][Pointer(place)] = value;
  expect_only(name, health, ranks, words);
}

TEST(DoctorChecks, HealthyJobIsGreenInOneOrder) {
  std::string names;
  for (const Check& check : check_job(healthy_job())) {
    EXPECT_EQ(check.health, Health::ok) << check.name << ": " << check.found;
    EXPECT_EQ(check.mend, "") << check.name;
    EXPECT_NE(check.found, "") << check.name;
    names += check.name + " ";
  }
  EXPECT_EQ(names,
            "reprise libtorch mpi nccl threads device sharing driver libnccl cores memlock nofile shm directory space "
            "interface clock bandwidth latency ");
}

TEST(DoctorChecks, OneRankHasNoNetwork) {
  Ranks alone = {healthy_rank(0, "a")};
  alone[0]["mpi"]["local_ranks"] = 1;
  alone[0]["limits"]["shared_bytes"] = alone[0]["limits"]["shared_free_bytes"] = 64 << 20;  // of a container; enough
  std::string names;
  for (const Check& check : check_job(alone)) {
    EXPECT_EQ(check.health, Health::ok) << check.name << ": " << check.found;
    names += check.name + " ";
  }
  EXPECT_EQ(
      names,
      "reprise libtorch mpi nccl threads device sharing driver libnccl cores memlock nofile shm directory space ");
}

TEST(DoctorChecks, OddProgramsAreNamed) {
  expect_of_change("reprise", Health::fail, 3, "/reprise/text", "1.0 (xyz)",
                   {"rank 3 on b has 1.0 (xyz)", "5 of 6", "1.0 (abc)"});
  expect_of_change("libtorch", Health::fail, 5, "/libtorch/version", "2.10.0", {"rank 5 on c has 2.10.0", "2.11.0"});
  expect_of_change("mpi", Health::fail, 0, "/mpi/library", "Open MPI v5", {"rank 0 on a has Open MPI v5"});
  expect_of_change("nccl", Health::fail, 2, "/nccl/version", "2.27.3", {"rank 2 on b has 2.27.3", "2.28.9"});
  expect_of_change("threads", Health::fail, 4, "/threads/libtorch", 1, {"rank 4 on c has 1", "OMP_NUM_THREADS"});
  expect_of_change("libnccl", Health::fail, 1, "/nccl/refused", "two of them", {"a: two of them", "LD_LIBRARY_PATH"});
}

TEST(DoctorChecks, OfTwoHalvesTheOneWithoutRank0IsOdd) {
  Ranks ranks = healthy_job();
  for (int rank = 3; rank < 6; ++rank) ranks[rank]["reprise"]["text"] = "0.9";  // sorts before rank 0's
  expect_only("reprise", Health::fail, ranks, {"rank 3 on b has 0.9", "3 of 6"});
}

TEST(DoctorChecks, Driver) {
  expect_of_change("driver", Health::fail, 2, "/driver/cuda", 12020, {"b: ", "CUDA 12.2", "CUDA 13.0", "580"});
  Ranks ranks = healthy_job();
  ranks[2]["driver"]["cuda"] = 13010;           // newer ones are welcome
  ranks[3]["driver"]["cuda_of_build"] = 13010;  // and older ones of the same major version
  expect_only("driver", Health::ok, ranks, {});
  ranks = healthy_job();
  for (int rank : {2, 3}) ranks[rank]["devices"] = Facts::array();
  EXPECT_EQ(check_named(ranks, "driver").health, Health::warn);
  EXPECT_NE(check_named(ranks, "driver").mend.find("CUDA_VISIBLE_DEVICES"), std::string::npos);
}

TEST(DoctorChecks, BuildWithoutCuda) {
  Ranks ranks = healthy_job();
  for (Facts& facts : ranks) {
    facts["driver"] = {{"loaded", false}, {"cuda", 0}, {"cuda_of_build", 0}};
    facts["nccl"] = {{"in_build", false}, {"version", "none"}, {"path", ""}, {"refused", "not in this build"}};
    facts["devices"] = Facts::array();
    facts["takes"]["kind"] = "cpu";
  }
  expect_only("driver", Health::ok, ranks, {"none", "no CUDA"});
  ranks[4]["driver"]["loaded"] = true;
  expect_only("driver", Health::warn, ranks, {"c: ", "scripts/build.sh cuda"});
}

TEST(DoctorChecks, Devices) {
  expect_of_change("device", Health::fail, 4, "/takes/kind", "cpu", {"rank 4 on c has cpu", "cuda", "run.device=cpu"});
  expect_of_change("sharing", Health::fail, 3, "/takes/id", "uuid of 2", {"ranks 2 and 3 on one", "--hosts"});
}

TEST(DoctorChecks, LimitsOfAHost) {
  expect_of_change("cores", Health::warn, 3, "/host/usable_cores", 1, {"b: 1 of 8", "--bind-to none"});
  expect_of_change("cores", Health::ok, 3, "/host/usable_cores", 2, {});  // of its own, by Slurm
  expect_of_change("memlock", Health::warn, 3, "/limits/locked_memory_bytes", 65536, {"b: 64.0 KiB", "ulimit -l"});
  expect_of_change("nofile", Health::warn, 3, "/limits/open_files", 1000, {"b: 1000", "ulimit -n"});
  expect_of_change("nofile", Health::fail, 3, "/limits/open_files", 100, {"b: 100", "ulimit -n"});
  expect_of_change("nofile", Health::ok, 3, "/limits/open_files", -1, {});
  expect_of_change("shm", Health::warn, 3, "/limits/shared_free_bytes", 200 << 20, {"b: 200.0 MiB free of 16.0 GiB"});
  expect_of_change("shm", Health::fail, 3, "/limits/shared_bytes", 64 << 20,
                   {"of 64.0 MiB", "needed 256.0 MiB", "remount"});
  Ranks ranks = healthy_job();
  for (Facts& facts : ranks) facts["threads"]["libtorch"] = 5;
  expect_only("cores", Health::warn, ranks, {"a: 8 of 8 for each of 2 ranks, 5 threads", "OMP_NUM_THREADS"});
  ranks = healthy_job();
  ranks[3]["limits"]["locked_memory_bytes"] = 65536;
  ranks[3]["limits"]["infiniband"] = false;
  expect_only("memlock", Health::ok, ranks, {});
}

TEST(DoctorChecks, PlaceForRuns) {
  expect_of_change("directory", Health::fail, 2, "/directory/sees_first", false,
                   {"b: /runs: rank 0's files are not seen"});
  expect_of_change("directory", Health::fail, 0, "/directory/error", "Read-only file system", {"a: /runs: Read-only"});
  expect_of_change("space", Health::warn, 4, "/directory/free_bytes", 5e9, {"c: 4.7 GiB"});
  expect_of_change("space", Health::fail, 4, "/directory/free_bytes", 5e8, {"c: 476", "run.directory="});
  expect_of_change("space", Health::ok, 4, "/directory/free_bytes", 50e9, {"c: 46.6 GiB"});  // the least is shown
}

TEST(DoctorChecks, Interface) {
  const Facts both = {{"docker0", "172.17.0.1"}, {"ib0", "10.0.0.2"}};
  expect_of_change("interface", Health::ok, 2, "/network/interfaces", both, {});
  expect_of_change("interface", Health::ok, 2, "/network/mpi_interface", "", {});  // only one is up
  expect_of_change("interface", Health::ok, 2, "/network/mpi_interface", "10.0.0.0/8", {});
  expect_of_change("interface", Health::fail, 2, "/network/mpi_interface", "eth0", {"b: eth0 is not up; up: ib0 (10"});
  expect_of_change("interface", Health::fail, 2, "/network/mpi_interface", "ib01", {"b: ib01 is not up"});
  expect_of_change("interface", Health::warn, 2, "/network/nccl_interface", "", {"NCCL_SOCKET_IFNAME=ib0"});
  Ranks ranks = healthy_job();
  for (Facts& facts : ranks) facts["network"].update({{"mpi_interface", ""}, {"interfaces", both}});
  expect_only("interface", Health::warn, ranks, {"a: ", "any: docker0 (172.17.0.1) ib0 (10.0.0.2)", "6 of 6"});
}

TEST(DoctorChecks, Links) {
  const char* rate = "/links/0/bytes_per_second";
  expect_of_change("bandwidth", Health::warn, 2, rate, 2e9, {"rank on b to rank on c", "16.00 Gbit/s"});  // of 5e9
  expect_of_change("bandwidth", Health::fail, 2, rate, 9e6, {"rank on b to rank on c", "0.07 Gbit/s"});
  expect_of_change("latency", Health::warn, 4, "/links/0/seconds", 0.002, {"2.0 ms, rank on c to rank on a"});
  expect_of_change("latency", Health::fail, 4, "/links/0/seconds", 0.03, {"30.0 ms, rank on c to rank on a"});
  Ranks one_host = {healthy_rank(0, "a"), healthy_rank(1, "a")};
  one_host[0]["links"].push_back({{"from", "0"}, {"to", "1"}, {"seconds", 1.0}, {"bytes_per_second", 1e3}});
  EXPECT_EQ(check_named(one_host, "bandwidth").health, Health::warn);  // never more: the machine may be busy
  EXPECT_EQ(check_named(one_host, "latency").health, Health::warn);
}

TEST(DoctorChecks, Clock) {
  const char* offset = "/clock_offset_seconds";  // what to add to read rank 0's
  expect_of_change("clock", Health::ok, 5, offset, 0.05, {"c: -0.050 s"});
  expect_of_change("clock", Health::warn, 5, offset, -2.5, {"c: +2.500 s", "ntp"});
  expect_of_change("clock", Health::fail, 5, offset, 3600, {"c: -3600.000 s", "ntp"});
}

}  // namespace
}  // namespace reprise
