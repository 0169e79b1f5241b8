// Winograd's F(2x2, 3x3) for a 3x3 convolution of stride 1 and its gradient by the kernel, float32, NHWC: 16 products
// for each 2x2 tile of the result where the convolution as it is written takes 36 (Lavin and Gray, 2016). The channels,
// in and out, come in whole vectors. The gradient by the images is the convolution by the mirrored kernel.

#include "products.h"

namespace {

thread_local Workspace shared_memory, own_memory;

constexpr int64_t kTiles = 11 * kTall;  // so many at a time, or twice as many where sums over them are read and written
constexpr int kPlaces = 16;             // of a transformed tile

// The transforms in one dimension, of what lies `step` apart; in two, they run over the columns, then over the rows.
// B: four pixels of the images.
inline void transform_pixels(Vector* d, int step) {
  const Vector first = d[0] - d[2 * step], second = d[step] + d[2 * step];
  const Vector third = d[2 * step] - d[step], fourth = d[step] - d[3 * step];
  d[0] = first, d[step] = second, d[2 * step] = third, d[3 * step] = fourth;
}

// G: three of the kernel's taps, to four places.
inline void transform_taps(Vector* g, int step) {
  const Vector outer = 0.5f * (g[0] + g[2 * step]), middle = 0.5f * g[step];
  g[3 * step] = g[2 * step], g[step] = outer + middle, g[2 * step] = outer - middle;
}

// The transpose of G.
inline void transpose_taps(Vector* g, int step) {
  const Vector sum = 0.5f * (g[step] + g[2 * step]), difference = 0.5f * (g[step] - g[2 * step]);
  g[0] = g[0] + sum, g[step] = difference, g[2 * step] = sum + g[3 * step];
}

// A: four places, to two pixels of the result.
inline void transform_places(Vector* m, int step) {
  m[0] = m[0] + m[step] + m[2 * step], m[step] = m[step] - m[2 * step] - m[3 * step];
}

// The transpose of A.
inline void transpose_places(Vector* m, int step) {
  const Vector first = m[0], second = m[step];
  m[step] = first + second, m[2 * step] = first - second, m[3 * step] = -second;
}

struct Convolution {
  int64_t batch, height, width, channels;  // of the images
  int64_t down, across, out;               // of the result
  int64_t above, left;                     // zeros above and left of the images
  int64_t tiles_down = (down + 1) / 2, tiles_across = (across + 1) / 2;
  int64_t pixel_step = apart(channels), result_step = apart(out);

  int64_t tiles() const { return batch * tiles_down * tiles_across; }

  // Calls visit(image, row, column) with a tile's first pixel in the result.
  template <typename Visit>
  void at(int64_t tile, const Visit& visit) const {
    const int64_t inside = tile % (tiles_down * tiles_across);
    visit(tile / (tiles_down * tiles_across), inside / tiles_across * 2, inside % tiles_across * 2);
  }

  // The transformed pixels that tiles see, [kPlaces, at most `most` tiles, channels].
  void see(const float* images, int64_t first, int64_t last, int64_t most, float* seen) const {
    for (int64_t tile = first; tile < last; ++tile) {
      at(tile, [&](int64_t image, int64_t row, int64_t column) {
        const float* pixels[kPlaces];  // null outside
        for (int i = 0; i < kPlaces; ++i) {
          const int64_t y = row - above + i / 4, x = column - left + i % 4;
          const bool inside = y >= 0 && y < height && x >= 0 && x < width;
          pixels[i] = inside ? images + ((image * height + y) * width + x) * channels : nullptr;
        }
        float* to = seen + (tile - first) * pixel_step;
        for (int64_t c = 0; c < channels; c += kLanes) {
          Vector d[kPlaces];
#pragma GCC unroll 16
          for (int i = 0; i < kPlaces; ++i) d[i] = pixels[i] ? load(pixels[i] + c) : Vector{};
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) transform_pixels(d + i, 4);
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) transform_pixels(d + 4 * i, 1);
#pragma GCC unroll 16
          for (int i = 0; i < kPlaces; ++i) store(to + i * most * pixel_step + c, d[i]);
        }
      });
    }
  }

  // A tile's four pixels in an array like the result; null for those outside.
  void pixels_of(int64_t tile, float* result, float* pixels[4]) const {
    at(tile, [&](int64_t image, int64_t row, int64_t column) {
      for (int i = 0; i < 4; ++i) {
        const int64_t y = row + i / 2, x = column + i % 2;
        pixels[i] = y < down && x < across ? result + ((image * down + y) * across + x) * out : nullptr;
      }
    });
  }
};

Convolution of(ffi::Span<const int64_t> images, ffi::Span<const int64_t> result, int64_t above, int64_t left) {
  return Convolution{images[0], images[1], images[2], images[3], result[1], result[2], result[3], above, left};
}

ffi::Error forward(ffi::ThreadPool threads, Array x, Array kernel, Result result, int64_t above, int64_t left) {
  const Convolution conv = of(x.dimensions(), result->dimensions(), above, left);
  const int64_t kernel_size = conv.channels * conv.out;
  float* panels = shared_memory.of({kPlaces * kernel_size})[0];
  in_parallel(threads, panels_of(conv.out), [&](int64_t i) {  // the transformed kernel
    const int64_t first = i * kPanel, wide = std::min(kPanel, conv.out - first);
    for (int64_t c = 0; c < conv.channels; ++c) {
      for (int64_t o = 0; o < wide; o += kLanes) {
        Vector g[kPlaces];
#pragma GCC unroll 9
        for (int tap = 0; tap < 9; ++tap)
          g[tap / 3 * 4 + tap % 3] = load(kernel.typed_data() + tap * kernel_size + c * conv.out + first + o);
#pragma GCC unroll 3
        for (int column = 0; column < 3; ++column) transform_taps(g + column, 4);
#pragma GCC unroll 4
        for (int row = 0; row < 4; ++row) transform_taps(g + 4 * row, 1);
#pragma GCC unroll 16
        for (int place = 0; place < kPlaces; ++place)
          store(panels + place * kernel_size + first * conv.channels + c * wide + o, g[place]);
      }
    }
  });
  in_parallel(threads, times(conv.tiles(), kTiles), [&](int64_t i) {
    const int64_t first = i * kTiles, last = std::min(conv.tiles(), first + kTiles);
    const auto own = own_memory.of({kPlaces * kTiles * conv.pixel_step, kPlaces * kTiles * conv.result_step, conv.out});
    float *seen = own[0], *products = own[1], *zeros = own[2];
    std::fill_n(zeros, conv.out, 0.0f);
    conv.see(x.typed_data(), first, last, kTiles, seen);
    for (int64_t place = 0; place < kPlaces; ++place)
      product(last - first, conv.channels, conv.out, seen + place * kTiles * conv.pixel_step, conv.pixel_step,
              panels + place * kernel_size, zeros, 0, products + place * kTiles * conv.result_step, conv.result_step);
    for (int64_t tile = first; tile < last; ++tile) {
      float* pixels[4];
      conv.pixels_of(tile, result->typed_data(), pixels);
      const float* from = products + (tile - first) * conv.result_step;
      for (int64_t o = 0; o < conv.out; o += kLanes) {
        Vector m[kPlaces];
#pragma GCC unroll 16
        for (int place = 0; place < kPlaces; ++place) m[place] = load(from + place * kTiles * conv.result_step + o);
#pragma GCC unroll 4
        for (int column = 0; column < 4; ++column) transform_places(m + column, 4);
#pragma GCC unroll 2
        for (int row = 0; row < 2; ++row) transform_places(m + 4 * row, 1);
        for (int pixel = 0; pixel < 4; ++pixel)
          if (pixels[pixel]) store(pixels[pixel] + o, m[pixel / 2 * 4 + pixel % 2]);
      }
    }
  });
  return ffi::Error::Success();
}

ffi::Error by_kernel(ffi::ThreadPool threads, Array x, Array gradient, Result result, int64_t above, int64_t left) {
  const Convolution conv = of(x.dimensions(), gradient.dimensions(), above, left);
  const int64_t kernel_size = conv.channels * conv.out, most = 2 * kTiles;
  const int64_t strips = times(conv.tiles(), most);
  const int64_t parts = parts_of(threads, strips);
  float* all = shared_memory.of({parts * kPlaces * kernel_size})[0];
  in_parts(threads, parts, strips, [&](int64_t part, int64_t from, int64_t to) {
    const auto own = own_memory.of({kPlaces * most * conv.pixel_step, kPlaces * most * conv.result_step});
    float *seen = own[0], *by_products = own[1], *sums = all + part * kPlaces * kernel_size;
    std::fill_n(sums, kPlaces * kernel_size, 0.0f);
    for (int64_t strip = from; strip < to; ++strip) {
      const int64_t first = strip * most, last = std::min(conv.tiles(), first + most);
      conv.see(x.typed_data(), first, last, most, seen);
      for (int64_t tile = first; tile < last; ++tile) {
        float* pixels[4];
        conv.pixels_of(tile, const_cast<float*>(gradient.typed_data()), pixels);
        float* to = by_products + (tile - first) * conv.result_step;
        for (int64_t o = 0; o < conv.out; o += kLanes) {
          Vector m[kPlaces];
#pragma GCC unroll 4
          for (int pixel = 0; pixel < 4; ++pixel)
            m[pixel / 2 * 4 + pixel % 2] = pixels[pixel] ? load(pixels[pixel] + o) : Vector{};
#pragma GCC unroll 2
          for (int row = 0; row < 2; ++row) transpose_places(m + 4 * row, 1);
#pragma GCC unroll 4
          for (int column = 0; column < 4; ++column) transpose_places(m + column, 4);
#pragma GCC unroll 16
          for (int place = 0; place < kPlaces; ++place) store(to + place * most * conv.result_step + o, m[place]);
        }
      }
      for (int64_t place = 0; place < kPlaces; ++place)
        add_transposed_product(conv.channels, last - first, conv.out, seen + place * most * conv.pixel_step,
                               conv.pixel_step, by_products + place * most * conv.result_step, conv.result_step,
                               sums + place * kernel_size);
    }
  });
  in_parallel(threads, conv.channels, [&](int64_t c) {
    for (int64_t o = 0; o < conv.out; o += kLanes) {
      const float* from = all + in_panels(c, o, conv.channels, conv.out);
      Vector g[kPlaces] = {};
      for (int64_t part = 0; part < parts; ++part)
#pragma GCC unroll 16
        for (int place = 0; place < kPlaces; ++place)
          g[place] += load(from + (part * kPlaces + place) * kernel_size);
#pragma GCC unroll 4
      for (int row = 0; row < 4; ++row) transpose_taps(g + 4 * row, 1);
#pragma GCC unroll 3
      for (int column = 0; column < 3; ++column) transpose_taps(g + column, 4);
      for (int tap = 0; tap < 9; ++tap)
        store(result->typed_data() + tap * kernel_size + c * conv.out + o, g[tap / 3 * 4 + tap % 3]);
    }
  });
  return ffi::Error::Success();
}

}  // namespace

// Images [B, H, W, C], kernel [3, 3, C, O] -> result [B, H', W', O].
CONVOLUTION_KERNEL(sagan_winograd, forward, INTEGER("above") INTEGER("left"));
// Images, gradient by the result -> gradient by the kernel.
CONVOLUTION_KERNEL(sagan_winograd_by_kernel, by_kernel, INTEGER("above") INTEGER("left"));
