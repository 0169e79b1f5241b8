// Winograd's F(2x2, 3x3) and F(4x4, 3x3) for a 3x3 convolution of stride 1 and its gradient by the kernel, float32, NHWC:
// 16 products for each 2x2 tile of the result where the convolution as it is written takes 36, or 36 for each 4x4 tile
// where that takes 144 (Lavin and Gray, 2016). The channels, in and out, come in whole vectors. The gradient by the
// images is the convolution by the mirrored kernel.

#include "products.h"

namespace {

thread_local Workspace shared_memory, own_memory;

// A tile of kPixels x kPixels of the result, and kPlaces places of what is multiplied for it. The transforms here are in
// one dimension, of what lies `step` apart; in two, they run over the columns, then over the rows.
template <int kPixels>
struct Tile;

template <>
struct Tile<2> {
  // B: four pixels of the images.
  static void transform_pixels(Vector* d, int step) {
    const Vector first = d[0] - d[2 * step], second = d[step] + d[2 * step];
    const Vector third = d[2 * step] - d[step], fourth = d[step] - d[3 * step];
    d[0] = first, d[step] = second, d[2 * step] = third, d[3 * step] = fourth;
  }

  // G: three of the kernel's taps, to four places.
  static void transform_taps(Vector* g, int step) {
    const Vector outer = 0.5f * (g[0] + g[2 * step]), middle = 0.5f * g[step];
    g[3 * step] = g[2 * step], g[step] = outer + middle, g[2 * step] = outer - middle;
  }

  // The transpose of G.
  static void transpose_taps(Vector* g, int step) {
    const Vector sum = 0.5f * (g[step] + g[2 * step]), difference = 0.5f * (g[step] - g[2 * step]);
    g[0] = g[0] + sum, g[step] = difference, g[2 * step] = sum + g[3 * step];
  }

  // A: four places, to two pixels of the result.
  static void transform_places(Vector* m, int step) {
    m[0] = m[0] + m[step] + m[2 * step], m[step] = m[step] - m[2 * step] - m[3 * step];
  }

  // The transpose of A.
  static void transpose_places(Vector* m, int step) {
    const Vector first = m[0], second = m[step];
    m[step] = first + second, m[2 * step] = first - second, m[3 * step] = -second;
  }
};

template <>
struct Tile<4> {
  static void transform_pixels(Vector* d, int step) {
    const Vector even = d[4 * step] - 4.0f * d[2 * step], odd = d[3 * step] - 4.0f * d[step];
    const Vector far = d[4 * step] - d[2 * step], near = 2.0f * (d[3 * step] - d[step]);
    d[0] = 4.0f * d[0] - 5.0f * d[2 * step] + d[4 * step];
    d[5 * step] = 4.0f * d[step] - 5.0f * d[3 * step] + d[5 * step];
    d[step] = even + odd, d[2 * step] = even - odd, d[3 * step] = far + near, d[4 * step] = far - near;
  }

  static void transform_taps(Vector* g, int step) {
    const Vector first = g[0], middle = g[step], last = g[2 * step];
    const Vector outer = (-1.0f / 6) * (first + last), wide = (1.0f / 24) * first + (1.0f / 6) * last;
    g[0] = 0.25f * first, g[step] = outer - (1.0f / 6) * middle, g[2 * step] = outer + (1.0f / 6) * middle;
    g[3 * step] = wide + (1.0f / 12) * middle, g[4 * step] = wide - (1.0f / 12) * middle, g[5 * step] = last;
  }

  static void transpose_taps(Vector* g, int step) {
    const Vector sum = (1.0f / 6) * (g[step] + g[2 * step]), difference = (1.0f / 6) * (g[2 * step] - g[step]);
    const Vector wide = (1.0f / 24) * (g[3 * step] + g[4 * step]);
    const Vector middle = (1.0f / 12) * (g[3 * step] - g[4 * step]);
    g[0] = 0.25f * g[0] - sum + wide, g[step] = difference + middle, g[2 * step] = 4.0f * wide - sum + g[5 * step];
  }

  static void transform_places(Vector* m, int step) {
    const Vector sum = m[step] + m[2 * step], difference = m[step] - m[2 * step];
    const Vector wide = m[3 * step] + m[4 * step], slope = 2.0f * (m[3 * step] - m[4 * step]);
    m[0] = m[0] + sum + wide, m[step] = difference + slope;
    m[2 * step] = sum + 4.0f * wide, m[3 * step] = difference + 4.0f * slope + m[5 * step];
  }

  static void transpose_places(Vector* m, int step) {
    const Vector even = m[0] + m[2 * step], odd = m[step] + m[3 * step];
    const Vector far = m[0] + 4.0f * m[2 * step], near = 2.0f * m[step] + 8.0f * m[3 * step];
    m[5 * step] = m[3 * step];
    m[step] = even + odd, m[2 * step] = even - odd, m[3 * step] = far + near, m[4 * step] = far - near;
  }
};

template <int kPixels>
struct Convolution {
  static constexpr int kSide = kPixels + 2, kPlaces = kSide * kSide, kArea = kPixels * kPixels;
  static constexpr int64_t kTiles = (kPixels == 2 ? 11 : 6) * kTall;  // at most so many at a time

  int64_t batch, height, width, channels;  // of the images
  int64_t down, across, out;               // of the result
  int64_t above, left;                     // zeros above and left of the images
  int64_t tiles_down = times(down, kPixels), tiles_across = times(across, kPixels);
  int64_t pixel_step = apart(channels), result_step = apart(out), kernel_size = channels * out;

  int64_t tiles() const { return batch * tiles_down * tiles_across; }

  // So many of them at a time: at most so many, and fewer where some threads would have none.
  int64_t at_a_time(const ffi::ThreadPool& threads, int64_t most) const {
    return std::min(most, times(times(tiles(), threads.num_threads()), kTall) * kTall);
  }

  // Calls visit(image, row, column) with a tile's first pixel in the result.
  template <typename Visit>
  void at(int64_t tile, const Visit& visit) const {
    const int64_t inside = tile % (tiles_down * tiles_across);
    visit(tile / (tiles_down * tiles_across), inside / tiles_across * kPixels, inside % tiles_across * kPixels);
  }

  // The transformed pixels that tiles see, [kPlaces, at most `most` tiles, channels].
  void see(const float* images, int64_t first, int64_t last, int64_t most, float* seen) const {
    for (int64_t tile = first; tile < last; ++tile) {
      at(tile, [&](int64_t image, int64_t row, int64_t column) {
        const float* pixels[kPlaces];  // null outside
        for (int i = 0; i < kPlaces; ++i) {
          const int64_t y = row - above + i / kSide, x = column - left + i % kSide;
          const bool inside = y >= 0 && y < height && x >= 0 && x < width;
          pixels[i] = inside ? images + ((image * height + y) * width + x) * channels : nullptr;
        }
        float* to = seen + (tile - first) * pixel_step;
        for (int64_t c = 0; c < channels; c += kLanes) {
          Vector d[kPlaces];
#pragma GCC unroll 36
          for (int i = 0; i < kPlaces; ++i) d[i] = pixels[i] ? load(pixels[i] + c) : Vector{};
#pragma GCC unroll 6
          for (int i = 0; i < kSide; ++i) Tile<kPixels>::transform_pixels(d + i, kSide);
#pragma GCC unroll 6
          for (int i = 0; i < kSide; ++i) Tile<kPixels>::transform_pixels(d + kSide * i, 1);
#pragma GCC unroll 36
          for (int i = 0; i < kPlaces; ++i) store(to + i * most * pixel_step + c, d[i]);
        }
      });
    }
  }

  // A tile's pixels in an array like the result; null for those outside.
  void pixels_of(int64_t tile, float* result, float* pixels[kArea]) const {
    at(tile, [&](int64_t image, int64_t row, int64_t column) {
      for (int i = 0; i < kArea; ++i) {
        const int64_t y = row + i / kPixels, x = column + i % kPixels;
        pixels[i] = y < down && x < across ? result + ((image * down + y) * across + x) * out : nullptr;
      }
    });
  }

  // Where a pixel of the result, or a tap, lies among the places.
  static constexpr int place_of(int i, int in_row) { return i / in_row * kSide + i % in_row; }

  void forward(ffi::ThreadPool& threads, const float* images, const float* kernel, float* result) const {
    float* panels = shared_memory.of({kPlaces * kernel_size})[0];
    in_parallel(threads, panels_of(out), [&](int64_t i) {  // the transformed kernel
      const int64_t first = i * kPanel, wide = std::min(kPanel, out - first);
      for (int64_t c = 0; c < channels; ++c) {
        for (int64_t o = 0; o < wide; o += kLanes) {
          Vector g[kPlaces];
#pragma GCC unroll 9
          for (int tap = 0; tap < 9; ++tap)
            g[place_of(tap, 3)] = load(kernel + tap * kernel_size + c * out + first + o);
#pragma GCC unroll 3
          for (int column = 0; column < 3; ++column) Tile<kPixels>::transform_taps(g + column, kSide);
#pragma GCC unroll 6
          for (int row = 0; row < kSide; ++row) Tile<kPixels>::transform_taps(g + kSide * row, 1);
#pragma GCC unroll 36
          for (int place = 0; place < kPlaces; ++place)
            store(panels + place * kernel_size + first * channels + c * wide + o, g[place]);
        }
      }
    });
    const int64_t most = at_a_time(threads, kTiles);
    in_parallel(threads, times(tiles(), most), [&](int64_t i) {
      const int64_t first = i * most, last = std::min(tiles(), first + most);
      const auto own = own_memory.of({kPlaces * most * pixel_step, kPlaces * most * result_step, out});
      float *seen = own[0], *products = own[1], *zeros = own[2];
      std::fill_n(zeros, out, 0.0f);
      see(images, first, last, most, seen);
      for (int64_t place = 0; place < kPlaces; ++place)
        product(last - first, channels, out, seen + place * most * pixel_step, pixel_step,
                panels + place * kernel_size, zeros, 0, products + place * most * result_step, result_step);
      for (int64_t tile = first; tile < last; ++tile) {
        float* pixels[kArea];
        pixels_of(tile, result, pixels);
        const float* from = products + (tile - first) * result_step;
        for (int64_t o = 0; o < out; o += kLanes) {
          Vector m[kPlaces];
#pragma GCC unroll 36
          for (int place = 0; place < kPlaces; ++place) m[place] = load(from + place * most * result_step + o);
#pragma GCC unroll 6
          for (int column = 0; column < kSide; ++column) Tile<kPixels>::transform_places(m + column, kSide);
#pragma GCC unroll 4
          for (int row = 0; row < kPixels; ++row) Tile<kPixels>::transform_places(m + kSide * row, 1);
#pragma GCC unroll 16
          for (int pixel = 0; pixel < kArea; ++pixel)
            if (pixels[pixel]) store(pixels[pixel] + o, m[place_of(pixel, kPixels)]);
        }
      }
    });
  }

  void by_kernel(ffi::ThreadPool& threads, const float* images, const float* gradient, float* result) const {
    const int64_t most = at_a_time(threads, 2 * kTiles);  // twice as many, for sums over them are read and written
    const int64_t strips = times(tiles(), most);
    const int64_t parts = parts_of(threads, strips);
    float* all = shared_memory.of({parts * kPlaces * kernel_size})[0];
    in_parts(threads, parts, strips, [&](int64_t part, int64_t from, int64_t to) {
      const auto own = own_memory.of({kPlaces * most * pixel_step, kPlaces * most * result_step});
      float *seen = own[0], *by_products = own[1], *sums = all + part * kPlaces * kernel_size;
      std::fill_n(sums, kPlaces * kernel_size, 0.0f);
      for (int64_t strip = from; strip < to; ++strip) {
        const int64_t first = strip * most, last = std::min(tiles(), first + most);
        see(images, first, last, most, seen);
        for (int64_t tile = first; tile < last; ++tile) {
          float* pixels[kArea];
          pixels_of(tile, const_cast<float*>(gradient), pixels);
          float* to = by_products + (tile - first) * result_step;
          for (int64_t o = 0; o < out; o += kLanes) {
            Vector m[kPlaces];
#pragma GCC unroll 16
            for (int pixel = 0; pixel < kArea; ++pixel)
              m[place_of(pixel, kPixels)] = pixels[pixel] ? load(pixels[pixel] + o) : Vector{};
#pragma GCC unroll 4
            for (int row = 0; row < kPixels; ++row) Tile<kPixels>::transpose_places(m + kSide * row, 1);
#pragma GCC unroll 6
            for (int column = 0; column < kSide; ++column) Tile<kPixels>::transpose_places(m + column, kSide);
#pragma GCC unroll 36
            for (int place = 0; place < kPlaces; ++place) store(to + place * most * result_step + o, m[place]);
          }
        }
        for (int64_t place = 0; place < kPlaces; ++place)
          add_transposed_product(channels, last - first, out, seen + place * most * pixel_step, pixel_step,
                                 by_products + place * most * result_step, result_step, sums + place * kernel_size);
      }
    });
    in_parallel(threads, channels, [&](int64_t c) {
      for (int64_t o = 0; o < out; o += kLanes) {
        const float* from = all + in_panels(c, o, channels, out);
        Vector g[kPlaces] = {};
        for (int64_t part = 0; part < parts; ++part)
#pragma GCC unroll 36
          for (int place = 0; place < kPlaces; ++place)
            g[place] += load(from + (part * kPlaces + place) * kernel_size);
#pragma GCC unroll 6
        for (int row = 0; row < kSide; ++row) Tile<kPixels>::transpose_taps(g + kSide * row, 1);
#pragma GCC unroll 3
        for (int column = 0; column < 3; ++column) Tile<kPixels>::transpose_taps(g + column, kSide);
#pragma GCC unroll 9
        for (int tap = 0; tap < 9; ++tap)
          store(result + tap * kernel_size + c * out + o, g[place_of(tap, 3)]);
      }
    });
  }
};

// Calls visit with the convolution by the tiles that take the fewest products.
template <typename Visit>
ffi::Error by_tiles(ffi::Span<const int64_t> images, ffi::Span<const int64_t> result, int64_t above, int64_t left,
                    const Visit& visit) {
  const Convolution<2> small{images[0], images[1], images[2], images[3], result[1], result[2], result[3], above, left};
  const Convolution<4> large{images[0], images[1], images[2], images[3], result[1], result[2], result[3], above, left};
  if (large.kPlaces * large.tiles() <= small.kPlaces * small.tiles())
    visit(large);
  else
    visit(small);
  return ffi::Error::Success();
}

ffi::Error forward(ffi::ThreadPool threads, Array x, Array kernel, Result result, int64_t above, int64_t left) {
  return by_tiles(x.dimensions(), result->dimensions(), above, left, [&](const auto& convolution) {
    convolution.forward(threads, x.typed_data(), kernel.typed_data(), result->typed_data());
  });
}

ffi::Error by_kernel(ffi::ThreadPool threads, Array x, Array gradient, Result result, int64_t above, int64_t left) {
  return by_tiles(x.dimensions(), gradient.dimensions(), above, left, [&](const auto& convolution) {
    convolution.by_kernel(threads, x.typed_data(), gradient.typed_data(), result->typed_data());
  });
}

}  // namespace

// Images [B, H, W, C], kernel [3, 3, C, O] -> result [B, H', W', O].
CONVOLUTION_KERNEL(sagan_winograd, forward, INTEGER("above") INTEGER("left"));
// Images, gradient by the result -> gradient by the kernel.
CONVOLUTION_KERNEL(sagan_winograd_by_kernel, by_kernel, INTEGER("above") INTEGER("left"));
