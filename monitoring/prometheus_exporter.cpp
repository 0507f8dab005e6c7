#include "monitoring/prometheus_exporter.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <netdb.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <fstream>
#include <map>
#include <thread>
#include <vector>

#include "monitoring/format.h"
#include "monitoring/metric_table.h"

// civetweb starts its threads on stacks of 100 KiB, of which the C library takes the thread-local storage of all
// libraries: CUDA's leave nothing, and no thread starts. So nobody in this process gets a stack of less than 1 MiB.
extern "C" int pthread_attr_setstacksize(pthread_attr_t* attributes, size_t bytes) noexcept {
  static const auto set = reinterpret_cast<int (*)(pthread_attr_t*, size_t)>(dlsym(RTLD_NEXT, __func__));
  return set(attributes, std::max(bytes, size_t{1} << 20));
}

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

// civetweb's defaults let 220 clients that say nothing keep a scrape out, each for 30 seconds; these let 120 do so for
// 7.5 seconds in all, less than the 10 that Prometheus waits. What one more thread answers in a siege costs training.
std::vector<std::string> server_options(const std::string& listen) {
  return {"listening_ports", listen, "num_threads", "4", "request_timeout_ms", "250", "listen_backlog", "100"};
}

// host:port. The server's own syntax knows lists, TLS suffixes and bare ports that listen on every interface, too.
bool is_one_address(const std::string& listen) {
  constexpr size_t kLongest = 300;  // a host name's 253, and a port
  const size_t colon = listen.rfind(':');
  if (listen.size() > kLongest || colon == listen.npos || colon == 0 || colon + 1 == listen.size()) return false;
  return listen.find(',') == listen.npos && listen.find_first_not_of("0123456789", colon + 1) == listen.npos;
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

// By /proc: its 22nd field counts ticks after the machine started.
double process_start_seconds() {
  std::ifstream stat("/proc/self/stat");
  std::string field;
  std::getline(stat, field, ')');  // of the second one, the program's name, which may hold spaces
  for (int i = 3; i <= 22; ++i) stat >> field;
  timespec up{};
  clock_gettime(CLOCK_BOOTTIME, &up);
  const double up_seconds = static_cast<double>(up.tv_sec) + 1e-9 * static_cast<double>(up.tv_nsec);
  return unix_seconds() - up_seconds + std::stod(field) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

class ExporterSink final : public Sink {
 public:
  ExporterSink(const std::string& listen, const Labels& base)
      : base_(base),
        host_(listen.substr(0, listen.rfind(':'))),
        exposer_(std::make_unique<prometheus::Exposer>(server_options(listen))),
        port_(exposer_->GetListeningPorts().at(0)) {
    count(StepReport{}, 0);  // counters are there from the start on, at 0
    for (const char* result : {"saved", "dropped"}) add("reprise_snapshots_total", 0, result);
    add("reprise_phase_seconds_total", 0, "snapshot");
    step_duration();
    set("process_start_time_seconds", process_start_seconds());
    exposer_->RegisterCollectable(registry_);
  }
  ~ExporterSink() override { stop_at_once(exposer_, host_, port_); }

  void start(const RunStart& run) override {
    run_ = run;
    add("reprise_restarts_total", static_cast<double>(run.restarts));
    set("reprise_memory_bytes", run.parameter_bytes, "parameters");
    set("reprise_memory_bytes", run.gradient_bytes, "gradients");
    set("reprise_memory_bytes", run.optimizer_bytes, "optimizer");
    if (run.planned_peak_bytes > 0) set("reprise_memory_bytes", run.planned_peak_bytes, "planned_peak");
    if (run.budget_bytes > 0) set("reprise_memory_budget_bytes", run.budget_bytes);
    tell("reprise_build_info", run.build);
    tell("reprise_rank_info", run.place);
  }

  // A gauge appears with its first value: a loss of 0 before the first step would be a lie.
  void step(const StepReport& report) override {
    count(report, 1);
    step_duration().Observe(report.step_seconds);
    set("reprise_loss", report.loss);
    set("reprise_gradient_norm", report.grad_norm);
    set("reprise_learning_rate", report.learning_rate);
    set("reprise_loss_scale", report.loss_scale);
    const double utilization = model_flops_utilization(run_, report);
    if (utilization > 0) set("reprise_model_flops_utilization_ratio", utilization);
    set("reprise_memory_bytes", report.peak_bytes, "peak");
    set("reprise_memory_bytes", report.allocated_bytes, "allocated");
    set("reprise_memory_bytes", report.peak_bytes - report.allocated_bytes, "activations");
    const bool has_device = !run_.place["uuid"].empty();
    if (has_device) set("reprise_memory_bytes", report.allocated_bytes + report.idle_bytes, "reserved");
    if (report.comm_seconds > 0) {
      set("reprise_overlap_ratio", std::max(0.0, 1 - report.comm_exposed_seconds / report.comm_seconds));
    }
    set("reprise_recompute_ratio", report.recompute_seconds / report.step_seconds);
    set("reprise_last_step_timestamp_seconds", unix_seconds());
  }
  void evaluation(const EvaluationReport& report) override { set("reprise_validation_loss", report.loss); }
  void snapshot(const SnapshotReport& report) override {
    add("reprise_snapshots_total", 1, report.saved ? "saved" : "dropped");
    add("reprise_phase_seconds_total", report.stall_seconds, "snapshot");
    if (!report.saved) return;
    set("reprise_snapshot_last_success_timestamp_seconds", unix_seconds());
    set("reprise_snapshot_seconds", report.seconds);
  }

  std::string address() const {
    char name[256] = "";
    const bool is_any = host_ == "0.0.0.0" || host_ == "[::]";
    if (is_any) gethostname(name, sizeof name - 1);
    return fmt::format("{}:{}", is_any ? name : host_, port_);
  }

 private:
  void count(const StepReport& report, int steps) {
    add("reprise_steps_total", steps);
    add("reprise_tokens_total", static_cast<double>(report.tokens));
    for (const char* reason : kSkipReasons) {
      add("reprise_skipped_steps_total", report.skip_reason == reason ? 1 : 0, reason);
    }
    add("reprise_allreduce_bytes_total", static_cast<double>(report.comm_bytes));
    add("reprise_allreduce_seconds_total", report.comm_seconds);
    for (const auto& [name, seconds] : kPhases) add("reprise_phase_seconds_total", report.*seconds, name);
  }

  // The registry hands out the same family and the same series for the same names and labels.
  template <class Builder>
  auto& family(Builder builder, MetricName name) {
    const Metric& metric = name.metric();
    return builder.Name(std::string(metric.name)).Help(std::string(metric.help)).Labels(base_).Register(*registry_);
  }
  template <class Builder, class... Arguments>
  auto& series(Builder builder, MetricName name, const std::string& label, Arguments... arguments) {
    const Labels labels = label.empty() ? Labels{} : Labels{{std::string(name.metric().label), label}};
    return family(builder, name).Add(labels, arguments...);
  }
  void add(MetricName name, double value, const std::string& label = "") {
    series(prometheus::BuildCounter(), name, label).Increment(value);
  }
  void set(MetricName name, double value, const std::string& label = "") {
    series(prometheus::BuildGauge(), name, label).Set(value);
  }

  void tell(MetricName name, const std::map<std::string, std::string>& facts) {
    family(prometheus::BuildGauge(), name).Add(facts).Set(1);
  }
  prometheus::Histogram& step_duration() {
    return series(prometheus::BuildHistogram(), "reprise_step_duration_seconds", "", duration_buckets());
  }

  const Labels base_;
  const std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  const std::string host_;
  std::unique_ptr<prometheus::Exposer> exposer_;  // stopped first: its threads read the registry
  const int port_;
  RunStart run_;
};

}  // namespace

std::string exporter_address(const std::string& listen, int local_rank) {
  const size_t colon = listen.rfind(':');
  const int port = std::stoi(listen.substr(colon + 1));
  return fmt::format("{}:{}", listen.substr(0, colon), port == 0 ? 0 : port + local_rank);
}

PrometheusExporter make_prometheus_exporter(const std::string& listen, const std::string& run, int rank) {
  PrometheusExporter exporter;
  if (!is_one_address(listen)) {
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
