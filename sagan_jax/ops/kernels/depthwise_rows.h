// Depthwise 3x3 correlations and their gradients, a row of a map at a time: NHWC, the channels in whole vectors, each
// vector's taps in registers along the row.
#pragma once

#include "products.h"

// Three rows of a map, one above the other, and the step from a pixel to the next: 0 where a row is outside the map.
struct Rows {
  const float* row[3];
  int64_t step[3];

  // Around `row` of the rows of all images, one image's after the other's; `map` has those from `first` on.
  Rows(int64_t row, int64_t height, const float* map, int64_t first, int64_t row_size, int64_t pixel_step,
       const float* zeros) {
    for (int r = 0; r < 3; ++r) {
      const bool outside = (r == 0 && row % height == 0) || (r == 2 && (row + 1) % height == 0);
      this->row[r] = outside ? zeros : map + (row + r - 1 - first) * row_size;
      step[r] = outside ? 0 : pixel_step;
    }
  }
};

// Calls visit(w, taps of the middle row that are inside: first, last) for each pixel of a row.
template <typename Visit>
inline void along_row(int64_t width, const Visit& visit) {
  if (width == 1) return visit.template operator()<1, 1>(0);
  visit.template operator()<1, 2>(0);
  for (int64_t w = 1; w + 1 < width; ++w) visit.template operator()<0, 2>(w);
  visit.template operator()<0, 1>(width - 1);
}

// Nine taps of each copy, or sums for them, one vector of channels: copy j lies j * `channels` further on.
template <int copies>
inline void load_taps(const float* from, int64_t row, int64_t channels, Vector (&taps)[9][copies]) {
#pragma GCC unroll 9
  for (int t = 0; t < 9; ++t)
#pragma GCC unroll 2
    for (int j = 0; j < copies; ++j) taps[t][j] = load(from + t * row + j * channels);
}

// One row of `copies` depthwise correlations, each with its own taps and place among a pixel's results.
template <int copies>
void correlate_row(const Rows& rows, int64_t width, int64_t channels, const float* taps, int64_t tap_row,
                   const float* start, float* results, int64_t result_step) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    Vector tap[9][copies], first_sum[copies];
    load_taps(taps + c, tap_row, channels, tap);
#pragma GCC unroll 2
    for (int j = 0; j < copies; ++j) first_sum[j] = load(start + j * channels + c);
    along_row(width, [&]<int first, int last>(int64_t w) {
      Vector sum[copies];
#pragma GCC unroll 2
      for (int j = 0; j < copies; ++j) sum[j] = first_sum[j];
#pragma GCC unroll 3
      for (int r = 0; r < 3; ++r) {
        const float* pixel = rows.row[r] + w * rows.step[r] + c;
#pragma GCC unroll 3
        for (int t = first; t <= last; ++t) {
          const Vector seen = load(pixel + (t - 1) * rows.step[r]);
#pragma GCC unroll 2
          for (int j = 0; j < copies; ++j) sum[j] += tap[3 * r + t][j] * seen;
        }
      }
#pragma GCC unroll 2
      for (int j = 0; j < copies; ++j) store(results + w * result_step + j * channels + c, sum[j]);
    });
  }
}

// The transpose of that: one row of the gradient by the images, from `copies` gradients by depthwise results.
template <int copies>
void correlate_back_row(const Rows& rows, int64_t width, int64_t channels, const float* taps, int64_t tap_row, bool add,
                        float* result) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    Vector tap[9][copies];
    load_taps(taps + c, tap_row, channels, tap);
    along_row(width, [&]<int first, int last>(int64_t w) {
      float* place = result + w * channels + c;
      Vector sum[copies] = {};
      if (add) sum[0] = load(place);
#pragma GCC unroll 3
      for (int r = 0; r < 3; ++r) {
        const float* pixel = rows.row[r] + w * rows.step[r] + c;
#pragma GCC unroll 3
        for (int t = first; t <= last; ++t)
#pragma GCC unroll 2
          for (int j = 0; j < copies; ++j)
            sum[j] += tap[3 * r + t][j] * load(pixel + (t - 1) * rows.step[r] + j * channels);
      }
      if constexpr (copies == 2) sum[0] += sum[1];
      store(place, sum[0]);
    });
  }
}

// Adds to `sums` [9, ...] what a row of the result's gradient gives for the depthwise kernel.
template <int copies>
void add_kernel_gradient(const Rows& rows, int64_t width, int64_t channels, const float* gradient,
                         int64_t gradient_step, float* sums, int64_t sum_row) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    Vector sum[9][copies];
    load_taps(sums + c, sum_row, channels, sum);
    along_row(width, [&]<int first, int last>(int64_t w) {
      Vector by_result[copies];
#pragma GCC unroll 2
      for (int j = 0; j < copies; ++j) by_result[j] = load(gradient + w * gradient_step + j * channels + c);
#pragma GCC unroll 3
      for (int r = 0; r < 3; ++r) {
        const float* pixel = rows.row[r] + w * rows.step[r] + c;
#pragma GCC unroll 3
        for (int t = first; t <= last; ++t) {
          const Vector seen = load(pixel + (t - 1) * rows.step[r]);
#pragma GCC unroll 2
          for (int j = 0; j < copies; ++j) sum[3 * r + t][j] += seen * by_result[j];
        }
      }
    });
#pragma GCC unroll 9
    for (int t = 0; t < 9; ++t)
#pragma GCC unroll 2
      for (int j = 0; j < copies; ++j) store(sums + t * sum_row + j * channels + c, sum[t][j]);
  }
}

// visit(copy, how many) for all copies, two at a time while there are two.
template <typename Visit>
inline void by_twos(int64_t copies, const Visit& visit) {
  int64_t j = 0;
  for (; j + 1 < copies; j += 2) visit.template operator()<2>(j);
  if (j < copies) visit.template operator()<1>(j);
}
