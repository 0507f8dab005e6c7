#include "monitoring/prometheus_exporter.h"

#include <fmt/format.h>
#include <netdb.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "monitoring/json_text.h"

namespace reprise {
namespace {

using prometheus::Labels;

// 1, 2, 5 in each decade from a millisecond to 500 seconds.
std::vector<double> duration_buckets() {
  std::vector<double> bounds;
  for (double decade : {1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2}) {
    for (double factor : {1.0, 2.0, 5.0}) bounds.push_back(factor * decade);
  }
  return bounds;
}

// civetweb's accepting thread sees the order to stop only when its poll ends: after two seconds, or at a connection.
void stop_at_once(std::unique_ptr<prometheus::Exposer>& exposer, std::string host, int port) {
  std::erase_if(host, [](char c) { return c == '[' || c == ']'; });
  addrinfo hints{}, *listener = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  const bool is_found = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &listener) == 0;
  std::atomic<bool> is_stopped = false;
  std::thread stopping([&] {
    exposer.reset();
    is_stopped = true;
  });
  while (is_found && !is_stopped) {
    const int connection = socket(listener->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)!connect(connection, listener->ai_addr, listener->ai_addrlen);
    close(connection);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  stopping.join();
  if (is_found) freeaddrinfo(listener);
}

class ExporterSink final : public Sink {
 public:
  ExporterSink(const std::string& listen, const Labels& base)
      : base_(base),
        host_(listen.substr(0, listen.rfind(':'))),
        exposer_(std::make_unique<prometheus::Exposer>(listen)),
        port_(exposer_->GetListeningPorts().at(0)) {
    step_duration();
    count({}, 0);
    count_snapshots(0, 0);
    exposer_->RegisterCollectable(registry_);
  }
  ~ExporterSink() override { stop_at_once(exposer_, host_, port_); }
  ExporterSink(const ExporterSink&) = delete;
  ExporterSink& operator=(const ExporterSink&) = delete;

  // A gauge appears with its first value: a loss of 0 before the first step would be a lie.
  void step(const StepReport& report) override {
    count(report, 1);
    step_duration().Observe(report.step_seconds);
    set("reprise_loss", "Mean negative log-likelihood of the last step's global batch, nats", report.loss);
    set("reprise_gradient_norm", "Of the global gradient, before clipping", report.grad_norm);
    set("reprise_learning_rate", "Of the last step", report.learning_rate);
    const char* const memory = "Tensor bytes of this rank: highest in the last step, and planned";
    set("reprise_memory_bytes", memory, report.peak_bytes, {{"kind", "peak"}});
    const uint64_t planned = report.planned_peak_bytes;
    if (planned > 0) set("reprise_memory_bytes", memory, planned, {{"kind", "planned_peak"}});
  }
  void evaluation(const EvaluationReport& report) override {
    set("reprise_validation_loss", "Mean over the held-out targets, nats", report.loss);
  }
  void snapshot(const SnapshotReport& report) override {
    count_snapshots(report.saved ? 1 : 0, report.saved ? 0 : 1);
    if (!report.saved) return;
    set("reprise_snapshot_step", "Of the newest durable snapshot of this run", static_cast<double>(report.step));
    set("reprise_snapshot_seconds", "From its step's end until it was durable", report.seconds);
  }

  std::string address() const { return fmt::format("{}:{}", host_, port_); }

 private:
  // Counters are there from the start on, at 0.
  void count(const StepReport& report, int steps) {
    add("reprise_steps_total", "Optimizer steps, skipped ones included", steps);
    add("reprise_tokens_total", "Targets of the global batches", report.tokens);
    add("reprise_skipped_steps_total", "Steps without an update: the gradient was not finite", report.skipped ? 1 : 0);
    add("reprise_allreduce_seconds_total", "Time with at least one bucket on the wire", report.comm_seconds);
    const auto phases =
        JSON_FIELDS(report.data_seconds, report.forward_seconds, report.recompute_seconds, report.backward_seconds,
                    report.comm_exposed_seconds, report.optimizer_seconds, report.other_seconds);
    for (const auto& [name, seconds] : phases.items()) {
      add("reprise_phase_seconds_total", "Wall-clock of this rank by phase; the phases are disjoint", seconds,
          {{"phase", name.substr(0, name.rfind('_'))}});
    }
  }

  void count_snapshots(int saved, int dropped) {
    const char* const help = "Snapshots of this run, durable ones and dropped ones";
    add("reprise_snapshots_total", help, saved, {{"result", "saved"}});
    add("reprise_snapshots_total", help, dropped, {{"result", "dropped"}});
  }

  // A series is made the first time; the registry hands out the same one for the same name and labels from then on.
  template <class Builder, class... Arguments>
  auto& series(Builder builder, const char* name, const char* help, const Labels& labels, Arguments... arguments) {
    return builder.Name(name).Help(help).Labels(base_).Register(*registry_).Add(labels, arguments...);
  }
  void add(const char* name, const char* help, double value, const Labels& labels = {}) {
    series(prometheus::BuildCounter(), name, help, labels).Increment(value);
  }
  void set(const char* name, const char* help, double value, const Labels& labels = {}) {
    series(prometheus::BuildGauge(), name, help, labels).Set(value);
  }
  prometheus::Histogram& step_duration() {
    return series(prometheus::BuildHistogram(), "reprise_step_duration_seconds", "Wall-clock of a step on this rank",
                  {}, duration_buckets());
  }

  const Labels base_;
  const std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  const std::string host_;
  std::unique_ptr<prometheus::Exposer> exposer_;  // stopped first: its threads read the registry
  const int port_;
};

}  // namespace

std::string exporter_address(const std::string& listen, int local_rank) {
  const size_t colon = listen.rfind(':');
  const int port = std::stoi(listen.substr(colon + 1));
  return fmt::format("{}:{}", listen.substr(0, colon), port == 0 ? 0 : port + local_rank);
}

PrometheusExporter make_prometheus_exporter(const std::string& listen, const std::string& run, int rank) {
  PrometheusExporter exporter;
  // The server's own syntax knows lists, TLS suffixes and bare ports that listen on every interface; none is wanted.
  constexpr size_t kLongest = 300;  // a host name's 253 and a port; the library's matcher recurses for each character
  if (listen.size() > kLongest || !std::regex_match(listen, std::regex(R"([\w.:\[\]-]+:\d+)"))) {
    exporter.warning = fmt::format("no metrics endpoint: expected host:port, got \"{}\"", listen);
    return exporter;
  }
  try {
    auto sink = std::make_unique<ExporterSink>(listen, Labels{{"run", run}, {"rank", std::to_string(rank)}});
    exporter.address = sink->address();
    exporter.sink = std::move(sink);
  } catch (const std::exception& error) {
    exporter.warning = fmt::format("no metrics endpoint: cannot listen on {}: {}", listen, error.what());
  }
  return exporter;
}

}  // namespace reprise
