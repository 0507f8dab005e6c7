#include "benchmarks/rehearsal.h"

#include <ctime>

#include "checkpointing/memory_meter.h"
#include "training/token_data.h"

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
                     torch::Dtype compute, torch::Device device)
    : setting_(optimizer),
      sequences_(sequences),
      model_(model),
      flat_(model_, true, compute, device),
      optimizer_(flat_.parameters, flat_.gradients, flat_.ranges, optimizer, flat_.computed) {
  flat_.initialize(model_, seed);
}

RehearsedStep Rehearsal::step(SegmentExecutor& executor, GradientReducer& reducer, int64_t micro_sequences, int ranks) {
  constexpr double kGently = 1e-2;  // of the learning rate: random tokens teach nothing
  const double scale = 1.0 / static_cast<double>(sequences_ * ranks * model_.config().context);
  const int64_t micro_batches = sequences_ / micro_sequences;
  const auto draw = [&] { return model_.random_batch(micro_sequences, model_.config().context); };
  Batch next = draw();
  RehearsedStep report;
  std::vector<Moment> finals(static_cast<size_t>(model_.points()));
  const Moment started(model_.device());
  MemoryMeter::reset_peak();
  executor.begin_step(0);
  reducer.begin_step();
  for (int64_t micro = 0; micro < micro_batches; ++micro) {
    const Batch batch = std::move(next);
    next = draw();
    const bool last = micro + 1 == micro_batches;
    executor.run(batch, scale, [&](int point) {
      if (!last) return;
      finals[static_cast<size_t>(point)] = Moment(model_.device());
      reducer.point_final(point);
    });
  }
  reducer.finish();
  const Moment check_started(model_.device());
  optimizer_.step(kGently * setting_.learning_rate, optimizer_.check_and_clip());
  const double ended = Moment(model_.device()).seconds(started);
  report.start_seconds = started.seconds(started);
  report.step_seconds = ended - report.start_seconds;
  report.optimizer_seconds = ended - check_started.seconds(started);
  report.peak_bytes = MemoryMeter::peak_bytes();
  report.wire = reducer.times();
  report.events = executor.record().events();
  for (const Moment& final : finals) report.final_seconds.push_back(final.seconds(started));
  return report;
}

}  // namespace reprise
