#include "monitoring/prometheus_exporter.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "monitoring/format.h"

namespace reprise {
namespace {

thread_local volatile char like_cuda[128 << 10];  // in every test of this program: what CUDA's libraries bring

// A socket connected to the address, or -1. What it reads must come within 10 s.
int connect_to(const std::string& address) {
  const size_t colon = address.rfind(':');
  sockaddr_in peer{};
  peer.sin_family = AF_INET;
  peer.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(colon + 1))));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &peer.sin_addr);
  const int connection = socket(AF_INET, SOCK_STREAM, 0);
  const timeval patience{.tv_sec = 10, .tv_usec = 0};
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect(connection, reinterpret_cast<sockaddr*>(&peer), sizeof peer) == 0) return connection;
  close(connection);
  return -1;
}

// GET /metrics over loopback; the whole reply.
std::string scrape(const std::string& address) {
  const int connection = connect_to(address);
  std::string reply;
  if (connection >= 0) {
    const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
    EXPECT_EQ(send(connection, request, std::strlen(request), 0), static_cast<ssize_t>(std::strlen(request)));
    char buffer[4096];
    for (ssize_t n = 0; (n = read(connection, buffer, sizeof buffer)) > 0;)
      reply.append(buffer, static_cast<size_t>(n));
  }
  close(connection);
  return reply;
}

// The value of a series, or NaN when the reply has none such.
double value_of(const std::string& reply, const std::string& series) {
  const size_t at = reply.find("\n" + series + " ");
  return at == std::string::npos ? std::nan("") : std::atof(reply.c_str() + at + series.size() + 2);
}

StepReport step_report() {
  StepReport report;
  report.loss = 2.5;
  report.grad_norm = 0.75;
  report.learning_rate = 0.001953125;
  report.tokens = 2048;
  report.step_seconds = 1.5;
  report.data_seconds = 0.015625;
  report.forward_seconds = 0.25;
  report.recompute_seconds = 0.125;
  report.backward_seconds = 0.5;
  report.optimizer_seconds = 0.0625;
  report.other_seconds = 0.03125;
  report.comm_seconds = 0.75;
  report.comm_exposed_seconds = 0.375;
  report.comm_bytes = 4096;
  report.peak_bytes = 1 << 20;
  report.peak_bytes_max = 2 << 20;
  report.allocated_bytes = 1 << 18;
  report.idle_bytes = 1 << 17;
  report.planned_peak_bytes = 3 << 20;
  return report;
}

RunStart run_start() {
  RunStart run;
  run.ranks = 2;
  run.restarts = 3;
  run.flops_per_token = 1e6;
  run.planned_peak_bytes = 3 << 20;
  run.parameter_bytes = 1000;
  run.gradient_bytes = 2000;
  run.optimizer_bytes = 3000;
  run.budget_bytes = 4 << 20;
  run.build = {{"version", "1.2"}, {"commit", "abc"}, {"libtorch", "2"},
               {"cuda", ""},       {"nccl", ""},      {"mpi", "M \"4\""}};
  run.place = {{"host", "node7"}, {"local_rank", "1"}, {"device", "cpu"}, {"uuid", ""}};
  return run;
}

std::string series(const std::string& name, const std::string& labels) {
  return "reprise_" + name + R"({rank="1",run="first",)" + labels + "}";
}

TEST(PrometheusExporter, ServesWhatTheStepsReported) {
  like_cuda[0] = 1;
  const PrometheusExporter exporter = make_prometheus_exporter("127.0.0.1:0", "first", 1);
  ASSERT_NE(exporter.sink, nullptr) << exporter.warning;
  ASSERT_EQ(exporter.address.rfind("127.0.0.1:", 0), 0u) << exporter.address;
  EXPECT_NE(exporter.address, "127.0.0.1:0");
  EXPECT_EQ(exporter.warning, "");

  exporter.sink->start(run_start());
  exporter.sink->step(step_report());
  StepReport skipped = step_report();
  skipped.skipped = true;
  skipped.skip_reason = "spike";
  skipped.loss = 3;
  exporter.sink->step(skipped);
  exporter.sink->evaluation({2, 1.25, 100, 0.1});

  const std::string reply = scrape(exporter.address);
  EXPECT_EQ(reply.rfind("HTTP/1.1 200", 0), 0u) << reply;
  const std::string base = R"({rank="1",run="first"})";
  EXPECT_EQ(value_of(reply, "reprise_steps_total" + base), 2) << reply;
  EXPECT_EQ(value_of(reply, "reprise_tokens_total" + base), 4096);
  EXPECT_EQ(value_of(reply, series("skipped_steps_total", R"(reason="spike")")), 1);
  EXPECT_EQ(value_of(reply, series("skipped_steps_total", R"(reason="non_finite")")), 0);
  EXPECT_EQ(value_of(reply, series("skipped_steps_total", R"(reason="overflow")")), 0);
  EXPECT_EQ(value_of(reply, "reprise_allreduce_seconds_total" + base), 1.5);
  EXPECT_EQ(value_of(reply, "reprise_allreduce_bytes_total" + base), 8192);
  EXPECT_EQ(value_of(reply, "reprise_overlap_ratio" + base), 0.5);
  EXPECT_NEAR(value_of(reply, "reprise_recompute_ratio" + base), 0.125 / 1.5, 1e-12);
  EXPECT_EQ(value_of(reply, "reprise_loss_scale" + base), 1);
  EXPECT_EQ(value_of(reply, "reprise_loss" + base), 3);
  EXPECT_EQ(value_of(reply, "reprise_validation_loss" + base), 1.25);
  EXPECT_EQ(value_of(reply, "reprise_gradient_norm" + base), 0.75);
  EXPECT_EQ(value_of(reply, "reprise_learning_rate" + base), 0.001953125);
  const std::pair<const char*, double> phases[] = {{"data", 0.03125}, {"forward", 0.5},       {"recompute", 0.25},
                                                   {"backward", 1},   {"comm_exposed", 0.75}, {"optimizer", 0.125},
                                                   {"other", 0.0625}};
  for (const auto& [phase, seconds] : phases) {
    EXPECT_EQ(
        value_of(reply, std::string(R"(reprise_phase_seconds_total{rank="1",run="first",phase=")") + phase + "\"}"),
        seconds)
        << phase;
  }
  const std::pair<const char*, double> kinds[] = {
      {"peak", 1 << 20},    {"planned_peak", 3 << 20}, {"allocated", 1 << 18}, {"activations", (1 << 20) - (1 << 18)},
      {"parameters", 1000}, {"gradients", 2000},       {"optimizer", 3000}};
  for (const auto& [kind, bytes] : kinds) {
    EXPECT_EQ(value_of(reply, series("memory_bytes", std::string("kind=\"") + kind + "\"")), bytes) << kind;
  }
  EXPECT_EQ(value_of(reply, "reprise_memory_budget_bytes" + base), 4 << 20);
  EXPECT_EQ(value_of(reply, "reprise_step_duration_seconds_count" + base), 2);
  EXPECT_EQ(value_of(reply, "reprise_step_duration_seconds_sum" + base), 3);
  EXPECT_EQ(value_of(reply, R"(reprise_step_duration_seconds_bucket{rank="1",run="first",le="1"})"), 0);
  EXPECT_EQ(value_of(reply, R"(reprise_step_duration_seconds_bucket{rank="1",run="first",le="2"})"), 2);
}

TEST(PrometheusExporter, SaysWhatRunsAndWhere) {
  const double before = unix_seconds();
  const PrometheusExporter exporter = make_prometheus_exporter("127.0.0.1:0", "first", 1);
  ASSERT_NE(exporter.sink, nullptr) << exporter.warning;
  exporter.sink->start(run_start());
  exporter.sink->step(step_report());
  const std::string reply = scrape(exporter.address), base = R"({rank="1",run="first"})";
  EXPECT_EQ(value_of(reply, series("build_info", R"(commit="abc",cuda="",libtorch="2",mpi="M \"4\"",nccl="",)"
                                                 R"(version="1.2")")),
            1)
      << reply;
  EXPECT_EQ(value_of(reply, series("rank_info", R"(device="cpu",host="node7",local_rank="1",uuid="")")), 1) << reply;
  EXPECT_EQ(value_of(reply, "reprise_restarts_total" + base), 3);
  const double started = value_of(reply, "process_start_time_seconds" + base);
  EXPECT_LE(started, before + 0.1);
  EXPECT_GT(started, before - 120);
  const double stepped = value_of(reply, "reprise_last_step_timestamp_seconds" + base);
  EXPECT_GE(stepped, before);
  EXPECT_LE(stepped, unix_seconds());
}

// What a CPU cannot know is absent, not 0.
TEST(PrometheusExporter, UtilizationAndReservedMemoryNeedADevice) {
  for (const bool has_device : {false, true}) {
    const PrometheusExporter exporter = make_prometheus_exporter("127.0.0.1:0", "first", 1);
    ASSERT_NE(exporter.sink, nullptr) << exporter.warning;
    RunStart run = run_start();
    run.peak_flop_per_second = has_device ? 1e9 : 0;
    run.place["uuid"] = has_device ? "GPU-1" : "";
    exporter.sink->start(run);
    exporter.sink->step(step_report());
    const std::string reply = scrape(exporter.address);
    const double utilization = value_of(reply, R"(reprise_model_flops_utilization_ratio{rank="1",run="first"})");
    const double reserved = value_of(reply, series("memory_bytes", R"(kind="reserved")"));
    if (has_device) {
      EXPECT_NEAR(utilization, 1024 * 1e6 / (1.5 * 1e9), 1e-9);
      EXPECT_EQ(reserved, (1 << 18) + (1 << 17));
    } else {
      EXPECT_TRUE(std::isnan(utilization) && std::isnan(reserved)) << reply;
    }
  }
}

TEST(PrometheusExporter, CountsSnapshotsAndOverflows) {
  const PrometheusExporter exporter = make_prometheus_exporter("127.0.0.1:0", "first", 1);
  ASSERT_NE(exporter.sink, nullptr) << exporter.warning;
  exporter.sink->start(run_start());
  StepReport overflow = step_report();
  overflow.skipped = true;
  overflow.skip_reason = "overflow";
  overflow.loss_scale = 1024;
  exporter.sink->step(overflow);
  exporter.sink->snapshot({.step = 10, .saved = false, .stall_seconds = 0.25});
  const std::string timestamp = R"(reprise_snapshot_last_success_timestamp_seconds{rank="1",run="first"})";
  EXPECT_TRUE(std::isnan(value_of(scrape(exporter.address), timestamp)));
  const double before = unix_seconds();
  exporter.sink->snapshot({.step = 20, .saved = true, .seconds = 3, .stall_seconds = 0.5});
  const std::string reply = scrape(exporter.address);
  EXPECT_EQ(value_of(reply, series("skipped_steps_total", R"(reason="overflow")")), 1) << reply;
  EXPECT_EQ(value_of(reply, series("skipped_steps_total", R"(reason="non_finite")")), 0);
  EXPECT_EQ(value_of(reply, series("snapshots_total", R"(result="saved")")), 1);
  EXPECT_EQ(value_of(reply, series("snapshots_total", R"(result="dropped")")), 1);
  EXPECT_EQ(value_of(reply, series("phase_seconds_total", R"(phase="snapshot")")), 0.75);
  EXPECT_EQ(value_of(reply, R"(reprise_snapshot_seconds{rank="1",run="first"})"), 3);
  EXPECT_GE(value_of(reply, timestamp), before);
}

TEST(PrometheusExporter, NothingIsClaimedBeforeTheFirstStep) {
  const PrometheusExporter exporter = make_prometheus_exporter("127.0.0.1:0", "first", 0);
  ASSERT_NE(exporter.sink, nullptr) << exporter.warning;
  const std::string reply = scrape(exporter.address);
  EXPECT_EQ(value_of(reply, R"(reprise_steps_total{rank="0",run="first"})"), 0) << reply;
  EXPECT_EQ(reply.find("reprise_loss"), std::string::npos);
  EXPECT_EQ(reply.find("reprise_memory_bytes"), std::string::npos);
}

TEST(PrometheusExporter, CountersNeverFallWhileBeingScraped) {
  const PrometheusExporter exporter = make_prometheus_exporter("127.0.0.1:0", "first", 0);
  ASSERT_NE(exporter.sink, nullptr) << exporter.warning;
  constexpr int steps = 2000;
  std::thread trainer([&] {
    for (int i = 0; i < steps; ++i) exporter.sink->step(step_report());
  });
  double before = 0;
  for (int i = 0; i < 20; ++i) {
    const double now = value_of(scrape(exporter.address), R"(reprise_steps_total{rank="0",run="first"})");
    EXPECT_GE(now, before);
    before = now;
  }
  trainer.join();
  EXPECT_EQ(value_of(scrape(exporter.address), R"(reprise_steps_total{rank="0",run="first"})"), steps);
}

TEST(PrometheusExporter, AnswersBesideClientsThatSayNothing) {
  const PrometheusExporter exporter = make_prometheus_exporter("127.0.0.1:0", "first", 0);
  ASSERT_NE(exporter.sink, nullptr) << exporter.warning;
  std::vector<int> idle;
  for (const std::string said : {"", "GET /metr", "", "GET /metr", "", "GET /metr", "", "GET /metr"}) {
    idle.push_back(connect_to(exporter.address));
    ASSERT_EQ(send(idle.back(), said.data(), said.size(), 0), static_cast<ssize_t>(said.size()));
  }
  EXPECT_NE(scrape(exporter.address).find("reprise_steps_total"), std::string::npos);
  for (const int connection : idle) close(connection);
}

TEST(PrometheusExporter, ATakenPortIsAWarning) {
  const PrometheusExporter first = make_prometheus_exporter("127.0.0.1:0", "first", 0);
  ASSERT_NE(first.sink, nullptr) << first.warning;
  testing::internal::CaptureStderr();
  const PrometheusExporter second = make_prometheus_exporter(first.address, "first", 1);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(second.sink, nullptr);
  EXPECT_EQ(second.address, "");
  EXPECT_NE(second.warning.find(first.address), std::string::npos) << second.warning;
  EXPECT_EQ(second.warning.find('\n'), std::string::npos);
}

TEST(PrometheusExporter, ABadAddressIsAWarning) {
  std::string long_name(100'000, 'a');
  long_name += ":9464";
  for (const char* listen : {long_name.c_str(), "", "9464", "127.0.0.1", "127.0.0.1:", ":9464", "127.0.0.1:x",
                             "127.0.0.1:70000", "127.0.0.1:0,0.0.0.0:0", "127.0.0.1:0s", "203.0.113.1:0"}) {
    const PrometheusExporter exporter = make_prometheus_exporter(listen, "first", 0);
    EXPECT_EQ(exporter.sink, nullptr) << listen;
    EXPECT_NE(exporter.warning.find(listen), std::string::npos) << exporter.warning;
  }
}

}  // namespace
}  // namespace reprise
