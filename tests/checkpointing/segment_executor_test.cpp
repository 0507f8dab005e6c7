// Over 300 lines because all tests play the same toy chain.
#include "checkpointing/segment_executor.h"

#include <gtest/gtest.h>
#include <torch/csrc/profiler/stubs/base.h>

#include <stdexcept>

#include "checkpointing/memory_meter.h"
#include "checkpointing/policies.h"

namespace reprise {
namespace {

constexpr int64_t kRows = 6, kColumns = 50;
constexpr uint64_t kBoundaryBytes = 4 * kRows * kColumns, kTokenBytes = 8 * kRows;

// What a stage saw when its forward began.
struct Call {
  int stage;
  bool with_graph;
  uint64_t held_bytes;
  StageContext context;
};

struct Log {
  std::vector<Call> calls;
  uint64_t idle_bytes = 0;  // held before the micro-batch
  int throw_in_forward_of = -1, throw_in_backward_of = -1;
};

struct Failing : torch::autograd::Function<Failing> {
  static torch::Tensor forward(torch::autograd::AutogradContext*, const torch::Tensor& x) { return x.clone(); }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*, torch::autograd::variable_list) {
    throw std::runtime_error("backward fails");
  }
};

// x → x + tanh(w x): saves x and tanh, one boundary each. The first stage looks rows up, the last one sums.
class ToyStage final : public Stage {
 public:
  ToyStage(int index, int layers, torch::Tensor weight, Log& log)
      : Stage("toy" + std::to_string(index), index == 0 || index > layers ? -1 : index - 1,
              index > 0 && index <= layers),
        weight_(std::move(weight)),
        log_(log) {}

  torch::Tensor forward(torch::Tensor input, const StageContext& context) override {
    log_.calls.push_back(
        {context.stage, at::GradMode::is_enabled(), MemoryMeter::current_bytes() - log_.idle_bytes, context});
    if (context.stage == log_.throw_in_forward_of) throw std::runtime_error("forward fails");
    if (!input.is_floating_point()) return weight_.index_select(0, input);
    if (layer < 0) return (input * weight_).sum() * (context.training ? context.loss_scale : 1.0);
    if (context.stage == log_.throw_in_backward_of) input = Failing::apply(input);
    const torch::Tensor activation = torch::tanh(input * weight_);
    return input + activation;
  }

 private:
  torch::Tensor weight_;
  Log& log_;
};

class Executor : public ::testing::Test {
 protected:
  static constexpr int kLayers = 5;

  void SetUp() override {
    MemoryMeter::install();
    torch::manual_seed(1);
    std::vector<std::unique_ptr<Stage>> stages;
    for (int s = 0; s < kLayers + 2; ++s) {
      torch::Tensor weight = torch::randn({s == 0 ? kRows : 1, kColumns}).set_requires_grad(true);
      weight.mutable_grad() = torch::zeros_like(weight);
      weights_.push_back(weight);
      stages.push_back(std::make_unique<ToyStage>(s, kLayers, weight, log_));
    }
    chain_ = std::make_unique<StageChain>(std::move(stages), ParameterTable());
    batch_.tokens = torch::arange(kRows);
    batch_.targets = torch::arange(kRows);
    batch_.step = 4;
    batch_.first_sequence = 70;
  }

  SegmentExecutor executor_for(PolicySetting setting) {
    return SegmentExecutor(*chain_, plan_of(setting, shapes_of(*chain_)), /*seed=*/9);
  }
  SegmentExecutor executor_for(const std::string& policy) {
    PolicySetting setting;
    setting.policy = policy;
    return executor_for(setting);
  }

  torch::Tensor run(
      SegmentExecutor& executor, const PointFinal& on_final = [](int) {}) {
    log_.calls.clear();
    for (torch::Tensor& weight : weights_) weight.mutable_grad().zero_();
    log_.idle_bytes = MemoryMeter::current_bytes();
    return executor.run(batch_, 1.0, on_final);
  }

  std::vector<torch::Tensor> gradients() const {
    std::vector<torch::Tensor> copies;
    for (const torch::Tensor& weight : weights_) copies.push_back(weight.grad().clone());
    return copies;
  }

  void expect_gradients(const std::vector<torch::Tensor>& expected) const {
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(torch::equal(weights_[i].grad(), expected[i])) << i;
  }

  Log log_;
  std::vector<torch::Tensor> weights_;
  std::unique_ptr<StageChain> chain_;
  Batch batch_;
};

TEST_F(Executor, GradientsAreThoseOfOneGraph) {
  torch::Tensor hidden = weights_[0].index_select(0, batch_.tokens);
  for (size_t s = 1; s <= kLayers; ++s) hidden = hidden + torch::tanh(hidden * weights_[s]);
  const torch::Tensor joint_loss = (hidden * weights_.back()).sum();
  joint_loss.backward();
  const std::vector<torch::Tensor> expected = gradients();
  for (const char* policy : {"none", "full", "group", "every", "sqrt"}) {
    SegmentExecutor executor = executor_for(policy);
    const torch::Tensor loss = run(executor);
    EXPECT_TRUE(torch::equal(loss, joint_loss)) << policy;
    EXPECT_FALSE(loss.requires_grad());
    expect_gradients(expected);
  }
}

TEST_F(Executor, CountsThePointsDownToZero) {
  for (const char* policy : {"none", "full", "group", "every"}) {
    SegmentExecutor executor = executor_for(policy);
    std::vector<int> order;
    run(executor, [&](int point) {
      order.push_back(point);
      const int stage = point / 2;  // a toy has no early parameters: both of its points come at its end
      EXPECT_TRUE(weights_[static_cast<size_t>(stage)].grad().any().item<bool>());
      for (int s = 0; s < stage; ++s) EXPECT_FALSE(weights_[static_cast<size_t>(s)].grad().any().item<bool>());
    });
    EXPECT_EQ(order, (std::vector<int>{13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0})) << policy;
  }
}

TEST_F(Executor, ReplaysExactlyWhatThePlanForgets) {
  SegmentExecutor executor = executor_for("group");  // layers 0 to 2, layers 3 and 4
  executor.begin_step(4);
  run(executor);
  run(executor);
  std::vector<std::pair<EventKind, int>> expected;
  for (int s = 0; s <= 6; ++s) expected.emplace_back(EventKind::forward, s);
  expected.emplace_back(EventKind::backward, 6);
  for (const int s : {4, 5}) expected.emplace_back(EventKind::recompute, s);
  for (const int s : {5, 4}) expected.emplace_back(EventKind::backward, s);
  for (const int s : {1, 2, 3}) expected.emplace_back(EventKind::recompute, s);
  for (const int s : {3, 2, 1, 0}) expected.emplace_back(EventKind::backward, s);
  const std::vector<StageEvent> events = executor.record().events();
  ASSERT_EQ(events.size(), 2 * expected.size());
  double end_seconds = 0;
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].kind, expected[i % expected.size()].first) << i;
    EXPECT_EQ(events[i].stage, expected[i % expected.size()].second) << i;
    EXPECT_EQ(events[i].micro_batch, i < expected.size() ? 0 : 1);
    EXPECT_GE(events[i].start_seconds, end_seconds);
    end_seconds = events[i].end_seconds;
  }
  executor.begin_step(5);
  EXPECT_TRUE(executor.record().events().empty());
}

// What a CUDA build registers: writes the ranges down.
struct Tracer final : torch::profiler::impl::ProfilerStubs {
  void record(c10::DeviceIndex*, torch::profiler::impl::ProfilerVoidEventStub*, int64_t*) const override {}
  float elapsed(const torch::profiler::impl::ProfilerVoidEventStub*,
                const torch::profiler::impl::ProfilerVoidEventStub*) const override {
    return 0;
  }
  void mark(const char*) const override {}
  void rangePush(const char* name) const override { pushed.emplace_back(name), ++open; }
  void rangePop() const override { --open; }
  bool enabled() const override { return true; }
  void onEachDevice(std::function<void(int)>) const override {}
  void synchronize() const override {}
  mutable std::vector<std::string> pushed;
  mutable int open = 0;
};

TEST_F(Executor, NamesEachEventInATraceAndClosesItWhenAStageThrows) {
  const auto* usual = torch::profiler::impl::cudaStubs();
  Tracer tracer;
  torch::profiler::impl::registerCUDAMethods(&tracer);
  SegmentExecutor executor = executor_for("full");
  executor.begin_step(4);
  run(executor);
  EXPECT_EQ(tracer.pushed.size(), executor.record().events().size());
  EXPECT_EQ(tracer.pushed.front(), "forward " + (*chain_)[0].name);
  EXPECT_EQ(tracer.pushed[8], "recompute " + (*chain_)[5].name);
  EXPECT_EQ(tracer.pushed.back(), "backward " + (*chain_)[0].name);
  EXPECT_EQ(tracer.open, 0);
  log_.throw_in_backward_of = 4;
  EXPECT_THROW(run(executor), std::runtime_error);
  EXPECT_EQ(tracer.open, 0);
  torch::profiler::impl::registerCUDAMethods(const_cast<torch::profiler::impl::ProfilerStubs*>(usual));
}

TEST_F(Executor, AReplaySeesTheSameContext) {
  PolicySetting setting;
  setting.policy = "full";
  setting.save = {SaveLevel::lean};
  SegmentExecutor executor = executor_for(setting);
  run(executor);
  ASSERT_EQ(log_.calls.size(), 12U);
  for (const Call& call : log_.calls) {
    EXPECT_EQ(call.context.seed, 9U);
    EXPECT_EQ(call.context.step, 4);
    EXPECT_EQ(call.context.first_sequence, 70);
    EXPECT_TRUE(call.context.training);
    EXPECT_EQ(call.context.save, SaveLevel::lean);
    EXPECT_EQ(call.context.targets.defined(), call.stage == 6);
  }
  for (size_t i = 1; i <= 5; ++i) {
    EXPECT_FALSE(log_.calls[i].with_graph);
    EXPECT_TRUE(log_.calls[12 - i].with_graph);
    EXPECT_EQ(log_.calls[i].stage, static_cast<int>(i));
    EXPECT_EQ(log_.calls[12 - i].stage, static_cast<int>(i));
  }
}

TEST_F(Executor, OnlyTheLastStageOfAReplayStopsEarlyUnlessItIsVerified) {
  for (const bool verifies : {false, true}) {
    SegmentExecutor executor = executor_for("group");  // layers 0 to 2, layers 3 and 4
    executor.verify_replays({verifies ? 1 : 0, 1, ""});
    executor.begin_step(0);
    run(executor);
    std::vector<bool> stops;
    for (const Call& call : log_.calls) stops.push_back(call.context.early_stop);
    std::vector<bool> expected(7, false);  // the forward; then stages 4, 5 and 1, 2, 3, which are verified first
    expected.insert(expected.end(), {false, true, false, false, !verifies});
    EXPECT_EQ(stops, expected);
  }
}

// The bytes that the plan's memory model says are held when stage `stage` starts, or (after) when its backward has
// ended. A kept layer holds its input and its tanh; the head's product holds its input; the embedding the tokens of the
// batch.
uint64_t modelled_bytes(const Plan& plan, int stage, bool replayed) {
  uint64_t bytes = 0;
  for (const Segment& segment : plan.segments) {
    for (int s = segment.first; s <= segment.last && s < stage; ++s) {
      const bool live = !segment.recompute || (replayed && stage <= segment.last);
      if (s > 0 && live) bytes += 2 * kBoundaryBytes;
      if (s == segment.first && !live) bytes += kBoundaryBytes;
    }
  }
  return bytes;
}

TEST_F(Executor, HoldsExactlyTheBytesOfTheModel) {
  const uint64_t loss_bytes = 4;
  for (const char* policy : {"none", "full", "group", "every", "sqrt"}) {
    SegmentExecutor executor = executor_for(policy);
    const Plan& plan = executor.plan();
    run(executor, [&](int point) {
      const int stage = point / 2;
      const uint64_t gradient = stage == 0 ? 0 : kBoundaryBytes;
      EXPECT_EQ(MemoryMeter::current_bytes() - log_.idle_bytes,
                modelled_bytes(plan, stage, true) + gradient + loss_bytes)
          << policy << " after the backward of stage " << stage;
    });
    for (size_t i = 0; i < log_.calls.size(); ++i) {
      const Call& call = log_.calls[i];
      const bool replay = i > 6;
      const uint64_t own_input = call.stage == 0 ? 0 : kBoundaryBytes;
      const uint64_t waiting = replay ? kBoundaryBytes + loss_bytes : 0;
      const uint64_t expected = modelled_bytes(plan, call.stage, replay) + own_input + waiting;
      EXPECT_EQ(call.held_bytes, expected) << policy << " call " << i << " stage " << call.stage;
    }
    EXPECT_EQ(MemoryMeter::current_bytes(), log_.idle_bytes);
  }
}

TEST_F(Executor, ReleasesEverythingWhenAnythingThrowsAndRunsAgain) {
  SegmentExecutor executor = executor_for("every");
  uint64_t last_word = 0;
  executor.record().tell_moves_to([&last_word](uint64_t word) { last_word = word; });
  executor.begin_step(4);
  run(executor);
  const std::vector<torch::Tensor> expected = gradients();
  const auto expect_recovery = [&](const PointFinal& on_final) {
    executor.begin_step(4);
    EXPECT_THROW(run(executor, on_final), std::runtime_error);
    EXPECT_EQ(MemoryMeter::current_bytes(), log_.idle_bytes);
    EXPECT_EQ(last_word >> 16 & 0xff, 0U);
    log_.throw_in_forward_of = log_.throw_in_backward_of = -1;
    executor.begin_step(4);
    run(executor);
    expect_gradients(expected);
    EXPECT_EQ(executor.record().events().front().micro_batch, 0);
    EXPECT_GT(executor.record().seconds(EventKind::recompute), 0);
  };
  const auto quiet = [](int) {};
  for (const int stage : {0, 1, 2, 6}) {
    log_.throw_in_forward_of = stage;
    expect_recovery(quiet);
  }
  for (const int stage : {1, 2}) {
    log_.throw_in_backward_of = stage;
    expect_recovery(quiet);
  }
  log_.throw_in_forward_of = -1;
  expect_recovery([&](int point) {
    if (point == 6) throw std::runtime_error("callback fails");
  });
  expect_recovery([&](int point) {
    if (point == 4) log_.throw_in_forward_of = 1;  // in the replay only
  });
}

TEST_F(Executor, EvaluatesWithoutGraphOrTraining) {
  SegmentExecutor executor = executor_for("every");
  const torch::Tensor trained = run(executor);
  log_.calls.clear();
  for (torch::Tensor& weight : weights_) weight.mutable_grad().zero_();
  const torch::Tensor loss = executor.evaluate(batch_);
  EXPECT_TRUE(torch::equal(loss, trained));
  EXPECT_FALSE(loss.requires_grad());
  ASSERT_EQ(log_.calls.size(), 7U);
  for (const Call& call : log_.calls) {
    EXPECT_FALSE(call.with_graph);
    EXPECT_FALSE(call.context.training);
    EXPECT_LE(call.held_bytes - log_.calls.front().held_bytes, kBoundaryBytes);
  }
  for (const torch::Tensor& weight : weights_) EXPECT_FALSE(weight.grad().any().item<bool>());
}

TEST_F(Executor, WorksUnderTheCallersNoGradGuard) {
  SegmentExecutor executor = executor_for("every");
  run(executor);
  const std::vector<torch::Tensor> expected = gradients();
  const at::NoGradGuard no_grad;
  run(executor);
  expect_gradients(expected);
}

TEST_F(Executor, PassesTheLossScaleToTheHeadOnly) {
  SegmentExecutor executor = executor_for("full");
  executor.run(batch_, 0.5, [](int) {});
  for (const Call& call : log_.calls) EXPECT_EQ(call.context.loss_scale, call.stage == 6 ? 0.5 : 1.0);
}

TEST_F(Executor, RefusesAPlanOfAnotherChain) {
  Plan plan = plan_of(PolicySetting{}, shapes_of(*chain_));
  plan.segments.pop_back();
  EXPECT_THROW(SegmentExecutor(*chain_, plan, 1), std::invalid_argument);
}

}  // namespace
}  // namespace reprise
