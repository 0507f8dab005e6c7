#pragma once

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "distributed/agreement.h"
#include "distributed/communicator.h"

// What every communicator promises. A case is called on all ranks at once and uses EXPECT only, so that ranks stay in
// step after a failure.
namespace reprise::contract {

// Values that any order of summation adds exactly in every type, different on every rank and element.
inline torch::Tensor whole_numbers(int64_t count, int rank, torch::ScalarType type) {
  return (torch::arange(count, torch::kInt64) % 17 + 3 * rank).to(type);
}

inline torch::Tensor expected_sum(int64_t count, int size, torch::ScalarType type) {
  return (torch::arange(count, torch::kInt64) % 17 * size + 3 * size * (size - 1) / 2).to(type);
}

inline torch::Tensor noise(int64_t count, int seed) {
  const auto angle = torch::arange(count, torch::kFloat64) * 0.7310585 + 11.0 * seed;
  return (angle.sin() * torch::exp(angle.cos() * 5)).to(torch::kFloat32);
}

inline bool same_bits(const torch::Tensor& a, const torch::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.numel() == b.numel() &&
         (a.numel() == 0 || std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0);
}

inline torch::Tensor sum(Communicator& communicator, torch::Tensor flat) {
  communicator.start_sum(flat)->wait();
  return flat;
}

inline void sums_of_every_size_and_type(Communicator& communicator) {
  for (const auto type : {torch::kFloat32, torch::kFloat64, torch::kBFloat16, torch::kInt64}) {
    for (const int64_t count : {0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 4096, 70001, 1000003}) {
      if (count > 100000 && type != torch::kFloat32) continue;
      const auto got = sum(communicator, whole_numbers(count, communicator.rank(), type));
      EXPECT_TRUE(same_bits(got, expected_sum(count, communicator.size(), type)))
          << count << " elements of " << c10::toString(type);
    }
  }
}

inline void sums_repeat_bit_for_bit(Communicator& communicator) {
  for (const int64_t count : {33, 5000, 200007}) {
    const auto first = sum(communicator, noise(count, communicator.rank()));
    for (int repeat = 0; repeat < 3; ++repeat) {
      EXPECT_TRUE(same_bits(sum(communicator, noise(count, communicator.rank())), first));
    }
    auto reference = first.clone();
    communicator.broadcast(reference, 0);
    EXPECT_TRUE(same_bits(reference, first)) << "all ranks hold the same bits";
  }
}

// With two ranks a sum is a + b wherever the buffer is cut; with one it is the value itself.
inline void two_ranks_sum_the_same_bits_however_cut(Communicator& communicator) {
  if (communicator.size() > 2) return;
  constexpr int64_t kCount = 70003;
  auto expected = noise(kCount, 0);
  if (communicator.size() == 2) expected += noise(kCount, 1);
  for (const int64_t piece : {17L, 4096L, 65520L, kCount}) {
    auto flat = noise(kCount, communicator.rank());
    std::vector<std::unique_ptr<Pending>> pending;
    for (int64_t begin = 0; begin < kCount; begin += piece) {
      pending.push_back(communicator.start_sum(flat.narrow(0, begin, std::min(piece, kCount - begin))));
    }
    for (const auto& each : pending) each->wait();
    EXPECT_TRUE(same_bits(flat, expected)) << "pieces of " << piece;
  }
}

inline void many_sums_at_once_finish_in_order(Communicator& communicator) {
  std::vector<torch::Tensor> flats;
  std::vector<std::unique_ptr<Pending>> pending;
  const std::vector<int64_t> counts{1, 100000, 0, 17, 600000, 5, 5, 40000, 1, 300000};
  for (const int64_t count : counts) {
    flats.push_back(whole_numbers(count, communicator.rank(), torch::kFloat32));
    pending.push_back(communicator.start_sum(flats.back()));
  }
  for (auto each = pending.rbegin(); each != pending.rend(); ++each) (*each)->wait();  // any order of waiting will do
  double finished = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    EXPECT_TRUE(same_bits(flats[i], expected_sum(counts[i], communicator.size(), torch::kFloat32))) << "sum " << i;
    const WireInterval interval = pending[i]->interval();
    EXPECT_LE(interval.enqueued_seconds, interval.started_seconds);
    EXPECT_LE(interval.started_seconds, interval.finished_seconds);
    if (counts[i] == 0 || communicator.size() == 1) continue;
    EXPECT_LE(finished, interval.finished_seconds);
    finished = interval.finished_seconds;
  }
}

inline void broadcasts_from_every_root(Communicator& communicator) {
  for (int root = 0; root < communicator.size(); ++root) {
    for (const int64_t count : {0, 1, 17, 500001}) {
      auto flat = whole_numbers(count, communicator.rank(), torch::kFloat32);
      communicator.broadcast(flat, root);
      EXPECT_TRUE(same_bits(flat, whole_numbers(count, root, torch::kFloat32))) << count << " elements from " << root;
    }
    auto bytes = torch::full({9}, communicator.rank(), torch::kUInt8);
    communicator.broadcast(bytes, root);
    EXPECT_TRUE(same_bits(bytes, torch::full({9}, root, torch::kUInt8)));
  }
}

inline void barriers_and_places(Communicator& communicator) {
  for (int i = 0; i < 20; ++i) communicator.barrier();
  EXPECT_GE(communicator.rank(), 0);
  EXPECT_LT(communicator.rank(), communicator.size());
  EXPECT_EQ(communicator.local_size(), communicator.size()) << "the tests run on one host";
  EXPECT_EQ(communicator.local_rank(), communicator.rank());
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const std::string start = "rank " + std::to_string(rank) + " on ";
    EXPECT_EQ(communicator.describe(rank).substr(0, start.size()), start);
    EXPECT_GT(communicator.describe(rank).size(), start.size());
  }
}

inline void refuses_what_it_cannot_move(Communicator& communicator) {
  EXPECT_THROW(communicator.start_sum(torch::zeros({4}, torch::kUInt8)), std::invalid_argument);
  EXPECT_THROW(communicator.start_sum(torch::zeros({4, 4}).t()), std::invalid_argument);
  EXPECT_THROW(communicator.broadcast(torch::zeros({4}), communicator.size()), std::invalid_argument);
  communicator.barrier();  // and goes on working
}

inline void gathers_texts_and_figures(Communicator& communicator) {
  const auto text_of = [](int rank) { return std::string(rank * 37, 'a' + static_cast<char>(rank)) + '\0' + "end"; };
  const auto texts = gather_texts(communicator, communicator.rank() == 1 ? "" : text_of(communicator.rank()));
  const auto figures = gather_figures(communicator, {1.0 / (communicator.rank() + 3), -0.0});
  const auto none = gather_texts(communicator, "");
  ASSERT_EQ(static_cast<int>(texts.size()), communicator.size());
  ASSERT_EQ(figures.sizes(), (std::vector<int64_t>{communicator.size(), 2}));
  for (int rank = 0; rank < communicator.size(); ++rank) {
    EXPECT_EQ(texts[rank], rank == 1 ? "" : text_of(rank));
    EXPECT_EQ(figures[rank][0].item<double>(), 1.0 / (rank + 3));
    EXPECT_TRUE(std::signbit(figures[rank][1].item<double>()));
    EXPECT_EQ(none[rank], "");
  }
}

inline std::string disagreement(Communicator& communicator, const std::map<std::string, std::string>& fields) {
  try {
    require_agreement(communicator, fields);
  } catch (const Disagreement& error) {
    return error.what();
  }
  return "";
}

inline void agreement_names_the_odd_rank_and_field(Communicator& communicator) {
  const int last = communicator.size() - 1;
  const bool is_odd = last > 0 && communicator.rank() == last;
  std::map<std::string, std::string> fields{{"data.hash", "77"}, {"model.layers", "6"}, {"model.width", "256"}};
  EXPECT_EQ(disagreement(communicator, fields), "");
  if (is_odd) fields["model.width"] = "384";
  const std::string message = disagreement(communicator, fields);
  if (is_odd) fields.erase("model.layers");
  const std::string absent = disagreement(communicator, fields);
  if (last == 0) {
    EXPECT_EQ(message + absent, "");
    return;
  }
  const std::string advice = "start every rank with the same configuration and data";
  const std::string odd = communicator.describe(last);
  EXPECT_EQ(message, odd + " differs: model.width is \"384\", rank 0 has \"256\"; " + advice);
  EXPECT_EQ(absent, odd + " differs: model.layers is absent, rank 0 has \"6\"; " + odd +
                        " differs: model.width is \"384\", rank 0 has \"256\"; " + advice);
}

inline void agreement_follows_the_majority(Communicator& communicator) {
  if (communicator.size() < 3) return;
  const std::string value = communicator.rank() == 0 ? "1" : "2";
  EXPECT_EQ(disagreement(communicator, {{"seed", value}}), communicator.describe(0) +
                                                               " differs: seed is \"1\", rank 1 has \"2\"; "
                                                               "start every rank with the same configuration and data");
}

struct Case {
  const char* name;
  void (*run)(Communicator&);
};

inline const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {"SumsOfEverySizeAndType", sums_of_every_size_and_type},
      {"SumsRepeatBitForBit", sums_repeat_bit_for_bit},
      {"TwoRanksSumTheSameBitsHoweverCut", two_ranks_sum_the_same_bits_however_cut},
      {"ManySumsAtOnceFinishInOrder", many_sums_at_once_finish_in_order},
      {"BroadcastsFromEveryRoot", broadcasts_from_every_root},
      {"BarriersAndPlaces", barriers_and_places},
      {"RefusesWhatItCannotMove", refuses_what_it_cannot_move},
      {"GathersTextsAndFigures", gathers_texts_and_figures},
      {"AgreementNamesTheOddRankAndField", agreement_names_the_odd_rank_and_field},
      {"AgreementFollowsTheMajority", agreement_follows_the_majority},
  };
  return all;
}

}  // namespace reprise::contract
