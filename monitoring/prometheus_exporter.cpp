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
#include <utility>
#include <vector>

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
        steps_(counter("reprise_steps_total", "Optimizer steps, skipped ones included")),
        tokens_(counter("reprise_tokens_total", "Targets of the global batches")),
        skipped_(counter("reprise_skipped_steps_total", "Steps without an update: the gradient was not finite")),
        allreduce_(counter("reprise_allreduce_seconds_total", "Time with at least one bucket on the wire")),
        phases_(counters("reprise_phase_seconds_total", "Wall-clock of this rank by phase; the phases are disjoint")),
        loss_(gauges("reprise_loss", "Mean negative log-likelihood of the last step's global batch, nats")),
        validation_loss_(gauges("reprise_validation_loss", "Mean over the held-out targets, nats")),
        gradient_norm_(gauges("reprise_gradient_norm", "Of the global gradient, before clipping")),
        learning_rate_(gauges("reprise_learning_rate", "Of the last step")),
        memory_(gauges("reprise_memory_bytes", "Tensor bytes of this rank: highest in the last step, and planned")),
        step_duration_(prometheus::BuildHistogram()
                           .Name("reprise_step_duration_seconds")
                           .Help("Wall-clock of a step on this rank")
                           .Labels(base)
                           .Register(*registry_)
                           .Add({}, duration_buckets())),
        host_(listen.substr(0, listen.rfind(':'))),
        exposer_(std::make_unique<prometheus::Exposer>(listen)),
        port_(exposer_->GetListeningPorts().at(0)) {
    exposer_->RegisterCollectable(registry_);
  }
  ~ExporterSink() override { stop_at_once(exposer_, host_, port_); }
  ExporterSink(const ExporterSink&) = delete;
  ExporterSink& operator=(const ExporterSink&) = delete;

  void step(const StepReport& report) override;
  void evaluation(const EvaluationReport& report) override { validation_loss_.Add({}).Set(report.loss); }

  std::string address() const { return fmt::format("{}:{}", host_, port_); }

 private:
  using Counters = prometheus::Family<prometheus::Counter>;
  using Gauges = prometheus::Family<prometheus::Gauge>;

  Counters& counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Labels(base_).Register(*registry_);
  }
  prometheus::Counter& counter(const char* name, const char* help) { return counters(name, help).Add({}); }

  // A gauge appears with its first value: a loss of 0 before the first step would be a lie.
  Gauges& gauges(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Labels(base_).Register(*registry_);
  }

  Labels base_;
  std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  prometheus::Counter &steps_, &tokens_, &skipped_, &allreduce_;
  Counters& phases_;
  Gauges &loss_, &validation_loss_, &gradient_norm_, &learning_rate_, &memory_;
  prometheus::Histogram& step_duration_;
  std::string host_;
  std::unique_ptr<prometheus::Exposer> exposer_;  // stopped first: its threads read the others
  int port_;
};

void ExporterSink::step(const StepReport& report) {
  steps_.Increment();
  tokens_.Increment(static_cast<double>(report.tokens));
  if (report.skipped) skipped_.Increment();
  loss_.Add({}).Set(report.loss);
  gradient_norm_.Add({}).Set(report.grad_norm);
  learning_rate_.Add({}).Set(report.learning_rate);
  step_duration_.Observe(report.step_seconds);
  const std::pair<const char*, double> phases[] = {{"data", report.data_seconds},
                                                   {"forward", report.forward_seconds},
                                                   {"recompute", report.recompute_seconds},
                                                   {"backward", report.backward_seconds},
                                                   {"comm_exposed", report.comm_exposed_seconds},
                                                   {"optimizer", report.optimizer_seconds},
                                                   {"other", report.other_seconds}};
  for (const auto& [phase, seconds] : phases) phases_.Add({{"phase", phase}}).Increment(seconds);
  allreduce_.Increment(report.comm_seconds);
  memory_.Add({{"kind", "peak"}}).Set(static_cast<double>(report.peak_bytes));
  if (report.planned_peak_bytes > 0) {
    memory_.Add({{"kind", "planned_peak"}}).Set(static_cast<double>(report.planned_peak_bytes));
  }
}

}  // namespace

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
