#include "benchmarks/rehearsal.h"

#include <torch/utils.h>

#include <ctime>

#include "checkpointing/memory_meter.h"

namespace reprise {

namespace {

double cpu_seconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

double other_threads_seconds() { return cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_seconds(CLOCK_THREAD_CPUTIME_ID); }

Rehearsal::Rehearsal(const ModelConfig& model, const OptimizerSetting& optimizer, int64_t sequences, uint64_t seed,
                     torch::Dtype compute)
    : setting_(optimizer),
      sequences_(sequences),
      model_(model),
      flat_(model_, true, compute),
      optimizer_(flat_.parameters, flat_.gradients, flat_.ranges, optimizer, flat_.computed) {
  flat_.initialize(model_, seed);
}

RehearsedStep Rehearsal::step(SegmentExecutor& executor, GradientReducer& reducer, int64_t micro_sequences, int ranks) {
  constexpr double kGently = 1e-2;  // of the learning rate: random tokens teach nothing
  const double scale = 1.0 / static_cast<double>(sequences_ * ranks * model_.config().context);
  const int64_t micro_batches = sequences_ / micro_sequences;
  Batch next = draw(micro_sequences);
  RehearsedStep report;
  report.start_seconds = now_seconds();
  MemoryMeter::reset_peak();
  executor.begin_step(0);
  reducer.begin_step();
  for (int64_t micro = 0; micro < micro_batches; ++micro) {
    const Batch batch = std::move(next);
    next = draw(micro_sequences);
    const bool last = micro + 1 == micro_batches;
    executor.run(batch, scale, [&](int stage) {
      if (last) reducer.stage_final(stage);
    });
  }
  reducer.finish();
  const double check_started = now_seconds();
  optimizer_.step(kGently * setting_.learning_rate, optimizer_.check_and_clip());
  const double ended = now_seconds();
  report.step_seconds = ended - report.start_seconds;
  report.optimizer_seconds = ended - check_started;
  report.peak_bytes = MemoryMeter::peak_bytes();
  report.wire = reducer.times();
  report.events = executor.record().events();
  return report;
}

Batch Rehearsal::draw(int64_t sequences) const {
  const ModelConfig& config = model_.config();
  const auto random = [&] { return torch::randint(config.vocabulary, {sequences, config.context}, torch::kInt64); };
  return {.tokens = random(), .targets = random()};  // (B, T) both
}

}  // namespace reprise
