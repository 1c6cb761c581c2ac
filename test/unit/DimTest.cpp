// Symbolic dims against direct evaluation.
#include "onnxopt/ir/Dim.h"

#include "gtest/gtest.h"

#include <functional>

#include <random>

using namespace onnxopt;

namespace {

TEST(Dim, CanonicalForms) {
  DimContext c;
  Dim n = c.symbol("", "N"), b = c.symbol("", "B"), s = c.symbol("", "S");
  auto k = [&](int64_t v) { return c.constant(v); };
  EXPECT_EQ(c.add(n, n), c.mul(n, k(2)));
  EXPECT_EQ(c.sub(n, n), k(0));
  EXPECT_EQ(c.floorDiv(c.floorDiv(n, k(2)), k(2)), c.floorDiv(n, k(4)));
  EXPECT_EQ(c.floorDiv(c.mul(n, k(768)), k(256)), c.mul(n, k(3)));
  EXPECT_EQ(c.floorDiv(c.mul(c.mul(b, s), k(64)), c.mul(s, k(16))), c.mul(b, k(4)));
  EXPECT_EQ(c.max(n, k(1)), n); // an input dim is at least 1
  EXPECT_EQ(c.broadcast(n, k(1)), n);
  EXPECT_EQ(c.broadcast(k(5), n), k(5));
  EXPECT_NE(c.broadcast(n, b), n); // no side is picked without proof
  EXPECT_TRUE(c.proveLe(c.min(n, k(3)), k(3)));
  EXPECT_TRUE(c.proveDifferent(n, c.add(n, k(1))));
}

TEST(Dim, PrintsAndParses) {
  DimContext c;
  for (const char *text : {"N", "N + 1", "2*N - 3", "(N + 3)//4", "Min(N, 512)", "N*M"}) {
    Dim d = c.parse("", text);
    EXPECT_EQ(c.parse("", c.print(d)), d) << text;
  }
  Dim opaque = c.parse("", "past seq::len");
  EXPECT_EQ(opaque.symbolName(), "past seq::len");
  EXPECT_NE(c.parse("", "?"), c.parse("", "?"));
}

TEST(Dim, OverflowIsNeverWrong) {
  DimContext c;
  Dim n = c.symbol("", "N"), big = c.mul(n, c.constant(INT64_MAX));
  EXPECT_TRUE(c.add(big, big).hasGenerated());
  Dim d = n;
  for (int i = 0; i < 100; ++i)
    d = c.mul(d, c.add(d, n));
  EXPECT_TRUE(d.hasGenerated());
}

int64_t floorDivide(int64_t a, int64_t b) {
  int64_t q = a / b;
  return a % b && (a < 0) != (b < 0) ? q - 1 : q;
}

// A million evaluations of random expressions: the canonical form, the printed and parsed form, and the range agree
// with what the expression says.
TEST(Dim, Fuzz) {
  std::mt19937 random(1);
  unsigned evaluations = 0;
  while (evaluations < 1000000) {
    DimContext c;
    std::vector<Dim> pool = {c.symbol("", "A"), c.symbol("", "B"), c.symbol("", "C")};
    std::vector<std::function<std::optional<int64_t>(const int64_t *)>> meaning;
    for (int i = 0; i < 3; ++i)
      meaning.push_back([i](const int64_t *v) { return std::optional(v[i]); });
    for (int step = 0; step < 12; ++step) {
      size_t x = random() % pool.size(), y = random() % pool.size();
      auto f = meaning[x], g = meaning[y];
      int64_t k = int64_t(random() % 9) - 2;
      Dim made;
      std::function<std::optional<int64_t>(const int64_t *)> says;
      auto both = [&](auto op) {
        return [f, g, op](const int64_t *v) -> std::optional<int64_t> {
          auto a = f(v), b = g(v);
          return a && b && std::abs(*a) < (1 << 20) && std::abs(*b) < (1 << 20) ? op(*a, *b) : std::nullopt;
        };
      };
      using Maybe = std::optional<int64_t>;
      switch (random() % 8) {
      case 0:
        made = c.add(pool[x], pool[y]);
        says = both([](int64_t a, int64_t b) { return Maybe(a + b); });
        break;
      case 1:
        made = c.sub(pool[x], pool[y]);
        says = both([](int64_t a, int64_t b) { return Maybe(a - b); });
        break;
      case 2:
        made = c.mul(pool[x], pool[y]);
        says = both([](int64_t a, int64_t b) { return Maybe(a * b); });
        break;
      case 3:
        made = c.min(pool[x], pool[y]);
        says = both([](int64_t a, int64_t b) { return Maybe(std::min(a, b)); });
        break;
      case 4:
        made = c.max(pool[x], pool[y]);
        says = both([](int64_t a, int64_t b) { return Maybe(std::max(a, b)); });
        break;
      case 5:
        made = c.floorDiv(pool[x], pool[y]);
        says = both([](int64_t a, int64_t b) { return b ? Maybe(floorDivide(a, b)) : Maybe(); });
        break;
      case 6:
        made = c.mod(pool[x], pool[y]);
        says = both([](int64_t a, int64_t b) { return b ? Maybe(a - floorDivide(a, b) * b) : Maybe(); });
        break;
      default:
        made = c.floorDiv(c.add(pool[x], c.constant(k)), c.constant(1 + random() % 5 + 0));
        // The divisor is drawn again below, so keep this case simple.
        made = c.floorDiv(c.add(pool[x], c.constant(k)), c.constant(3));
        says = [f, k](const int64_t *v) -> Maybe {
          auto a = f(v);
          return a ? Maybe(floorDivide(*a + k, 3)) : Maybe();
        };
      }
      pool.push_back(made);
      meaning.push_back(says);
    }
    for (int sample = 0; sample < 40; ++sample) {
      int64_t v[3];
      DimBindings bind;
      for (int i = 0; i < 3; ++i) {
        v[i] = 1 + int64_t(random() % (sample % 2 ? 4 : 300));
        bind[std::string(1, char('A' + i))] = v[i];
      }
      for (size_t i = 3; i < pool.size(); ++i) {
        auto want = meaning[i](v);
        auto have = c.evaluate(pool[i], bind);
        ++evaluations;
        if (!want || !have || pool[i].hasGenerated())
          continue;
        ASSERT_EQ(*have, *want) << c.print(pool[i]);
        DimRange r = c.range(pool[i]);
        ASSERT_TRUE(r.lo <= *want && *want <= r.hi) << c.print(pool[i]) << " = " << *want;
        if (sample == 0) {
          auto again = c.evaluate(c.parse("", c.print(pool[i])), bind);
          if (again) {
            ASSERT_EQ(*again, *want) << c.print(pool[i]);
          }
        }
      }
    }
  }
}

} // namespace
