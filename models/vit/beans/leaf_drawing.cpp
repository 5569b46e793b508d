#include "leaf_drawing.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "counter_random.hpp"

namespace esp::vit {
namespace {

constexpr int kSide = kLeafSide;
constexpr float kTwoPi = 6.2831853f;

struct Colour {
  float r = 0, g = 0, b = 0;
};

Colour blend(Colour a, Colour b, float t) {
  return {a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}
Colour scale(Colour c, float s) { return {c.r * s, c.g * s, c.b * s}; }
Colour vary(CounterRandom& random, Colour low, Colour high) {
  return {random.between(low.r, high.r), random.between(low.g, high.g), random.between(low.b, high.b)};
}

// Smooth noise in [-1, 1]: random values on a lattice, blended in between.
class Noise {
 public:
  Noise(CounterRandom& random, int cells) : points_(cells + 1), step_(static_cast<float>(cells) / kSide) {
    values_.resize(static_cast<size_t>(points_) * points_);
    for (float& value : values_) value = random.between(-1, 1);
  }
  float at(int x, int y) const {
    const float fx = static_cast<float>(x) * step_, fy = static_cast<float>(y) * step_;
    const int ix = static_cast<int>(fx), iy = static_cast<int>(fy);
    const float tx = fx - static_cast<float>(ix), ty = fy - static_cast<float>(iy);
    const float* row = &values_[static_cast<size_t>(iy) * points_ + ix];
    const float top = row[0] + (row[1] - row[0]) * tx;
    const float bottom = row[points_] + (row[points_ + 1] - row[points_]) * tx;
    return top + (bottom - top) * ty;
  }

 private:
  int points_;
  float step_;
  std::vector<float> values_;
};

// Where the leaf lies: a rotated egg with a midrib along u and side veins; u and v run from -1 to 1.
class Outline {
 public:
  explicit Outline(CounterRandom& random)
      : x_(random.between(0.42f, 0.58f) * kSide),
        y_(random.between(0.42f, 0.58f) * kSide),
        length_(random.between(0.46f, 0.62f) * kSide),
        width_(random.between(0.62f, 0.85f)),
        veins_(random.between(4.5f, 7.5f)) {
    const float angle = random.between(0, kTwoPi);
    cos_ = std::cos(angle);
    sin_ = std::sin(angle);
  }

  struct Place {
    float u, v;   // along and across
    float depth;  // > 0 inside, 1 at the midrib
  };
  Place at(float x, float y) const {
    const float dx = (x - x_) / length_, dy = (y - y_) / length_;
    const float u = dx * cos_ + dy * sin_, v = dy * cos_ - dx * sin_;
    const float t = 1 - u * u;
    if (t <= 0) return {u, v, -1};
    const float half = width_ * std::sqrt(t) * (1 - 0.3f * u);
    return {u, v, 1 - std::abs(v) / half};
  }
  // 1 on a vein, 0 away from it.
  float vein(const Place& place) const {
    const float side = place.u * veins_ - std::abs(place.v) * veins_ * 0.8f;
    const float off_side = std::abs(side - std::round(side)) / veins_;
    return std::clamp(1 - std::min(std::abs(place.v) * 50, off_side * 90), 0.0f, 1.0f);
  }
  // A point on the blade, away from its edge.
  std::array<float, 2> pick(CounterRandom& random) const {
    for (;;) {
      const float x = random.between(8, kSide - 8), y = random.between(8, kSide - 8);
      if (at(x, y).depth > 0.12f) return {x, y};
    }
  }

 private:
  float x_, y_, length_, width_, veins_, cos_ = 1, sin_ = 0;
};

// Pixels as floats in [0, 255] until the drawing is done.
class Canvas {
 public:
  Canvas() : pixels_(static_cast<size_t>(kSide) * kSide) {}
  Colour& at(int x, int y) { return pixels_[static_cast<size_t>(y) * kSide + x]; }

  // Calls paint(colour, dx, dy) for each pixel of a square around a centre.
  template <class Paint>
  void around(float cx, float cy, float radius, const Paint& paint) {
    const auto low = [&](float c) { return std::max(0, static_cast<int>(c - radius)); };
    const auto high = [&](float c) { return std::min(kSide - 1, static_cast<int>(c + radius) + 1); };
    for (int y = low(cy); y <= high(cy); ++y) {
      for (int x = low(cx); x <= high(cx); ++x) paint(at(x, y), static_cast<float>(x) - cx, static_cast<float>(y) - cy);
    }
  }

  // Light, a little grain, rounding.
  RgbImage develop(CounterRandom& random, float light) {
    RgbImage image{kLeafSide, kLeafSide, {}};
    image.pixels.reserve(pixels_.size() * 3);
    for (const Colour& colour : pixels_) {
      const float grain = static_cast<float>(random.bits() >> 60) - 7.5f;
      for (const float channel : {colour.r, colour.g, colour.b}) {
        image.pixels.push_back(static_cast<uint8_t>(std::clamp(channel * light + grain, 0.0f, 255.0f)));
      }
    }
    return image;
  }

 private:
  std::vector<Colour> pixels_;
};

void draw_plant(Canvas& canvas, CounterRandom& random, const Outline& outline) {
  const Colour soil = scale(vary(random, {96, 92, 88}, {108, 104, 102}), random.between(0.6f, 1.5f));
  const Colour weeds = scale(vary(random, {70, 92, 48}, {92, 104, 62}), random.between(0.7f, 1.4f));
  const Colour blade = scale(vary(random, {66, 128, 34}, {104, 144, 52}), random.between(0.8f, 1.2f));
  const Colour tint = vary(random, {130, 140, 30}, {180, 175, 60});  // where the blade turns yellow, in all classes
  const float yellow = random.between(0.05f, 0.45f);
  const Noise coarse(random, 6), fine(random, 48);
  for (int y = 0; y < kSide; ++y) {
    for (int x = 0; x < kSide; ++x) {
      const Outline::Place place = outline.at(static_cast<float>(x), static_cast<float>(y));
      const float big = coarse.at(x, y), small = fine.at(x, y);
      if (place.depth <= 0) {
        canvas.at(x, y) = scale(blend(soil, weeds, std::clamp(0.5f + big, 0.0f, 1.0f)), 0.85f + 0.2f * small);
        continue;
      }
      const Colour flesh = blend(blade, tint, yellow * std::clamp(0.5f + big, 0.0f, 1.0f));
      const Colour veined = blend(flesh, {165, 190, 120}, 0.55f * outline.vein(place));
      canvas.at(x, y) = scale(veined, 0.88f + 0.08f * small + 0.08f * big + 0.08f * std::min(1.0f, place.depth * 4));
    }
  }
}

// Bean rust: many small round pustules, red-brown in a yellow ring.
void draw_rust(Canvas& canvas, CounterRandom& random, const Outline& outline) {
  const int spots = static_cast<int>(random.between(70, 120));
  for (int i = 0; i < spots; ++i) {
    const auto [cx, cy] = outline.pick(random);
    const float radius = random.between(3.0f, 5.5f);
    const Colour core = vary(random, {135, 50, 10}, {180, 85, 35});
    const Colour ring = vary(random, {180, 165, 40}, {215, 200, 90});
    canvas.around(cx, cy, radius * 1.9f, [&](Colour& pixel, float dx, float dy) {
      const float distance = std::sqrt(dx * dx + dy * dy);
      pixel = blend(pixel, ring, 0.6f * std::clamp(1.9f * radius - distance, 0.0f, 1.0f));
      pixel = blend(pixel, core, 0.9f * std::clamp(radius - distance, 0.0f, 1.0f));
    });
  }
}

// Angular leaf spot: fewer, larger patches with straight sides, grey-brown with a dark rim.
void draw_angular(Canvas& canvas, CounterRandom& random, const Outline& outline) {
  const int patches = static_cast<int>(random.between(24, 38));
  for (int i = 0; i < patches; ++i) {
    const auto [cx, cy] = outline.pick(random);
    const float radius = random.between(10, 18);
    const Colour core = vary(random, {78, 44, 18}, {112, 66, 34});
    const float turn = random.between(0, kTwoPi);
    constexpr int kSides = 5;
    std::array<std::array<float, 3>, kSides> sides;  // normal and distance
    for (int s = 0; s < kSides; ++s) {
      const float angle = turn + (static_cast<float>(s) + random.between(-0.25f, 0.25f)) * kTwoPi / kSides;
      sides[s] = {std::cos(angle), std::sin(angle), radius * random.between(0.55f, 1.0f)};
    }
    canvas.around(cx, cy, radius * 1.7f, [&](Colour& pixel, float dx, float dy) {
      float inside = radius;
      for (const auto& [nx, ny, distance] : sides) inside = std::min(inside, distance - dx * nx - dy * ny);
      const Colour patch = blend(scale(core, 0.4f), core, std::clamp(inside * 0.4f, 0.0f, 1.0f));
      pixel = blend(pixel, patch, 0.88f * std::clamp(inside, 0.0f, 1.0f));
    });
  }
}

}  // namespace

RgbImage draw_leaf(LeafKind kind, uint64_t seed, uint64_t stream) {
  CounterRandom random(seed, stream);
  const Outline outline(random);
  const float light = random.between(0.85f, 1.15f);
  Canvas canvas;
  draw_plant(canvas, random, outline);
  if (kind == LeafKind::kBeanRust) draw_rust(canvas, random, outline);
  if (kind == LeafKind::kAngularLeafSpot) draw_angular(canvas, random, outline);
  return canvas.develop(random, light);
}

}  // namespace esp::vit
