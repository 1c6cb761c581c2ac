// Canonical forms, ranges and proofs of symbolic dimensions.
#include "onnxopt/ir/Dim.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

namespace onnxopt {

/// Where a symbol comes from, the less known the greater: the file names it; an input leaves it open; only a run tells.
enum class Origin : uint8_t { File, Input, Run };

/// What a polynomial is made of. Floordiv has two operands, Min and Max two or more (sorted), Broadcast two (sorted).
struct DimAtom {
  enum Kind : uint8_t { Symbol, FloorDiv, Min, Max, Broadcast } kind;
  unsigned id;
  unsigned depth = 0;
  Origin origin = Origin::File; // the least known of its symbols'
  std::string scope, name;
  llvm::SmallVector<const DimExpr *, 2> operands;
  DimRange range;
};

struct DimTerm {
  int64_t coefficient;
  llvm::SmallVector<const DimAtom *, 2> factors; // sorted by id, powers repeat
};

/// A sum of terms with distinct factor lists, sorted; the constant term, if any, comes first.
struct DimExpr {
  unsigned id;
  unsigned depth = 0;
  Origin origin = Origin::File; // the least known of its symbols'
  llvm::SmallVector<DimTerm, 1> terms;
};

namespace {

bool factorsLess(llvm::ArrayRef<const DimAtom *> a, llvm::ArrayRef<const DimAtom *> b) {
  if (a.size() != b.size())
    return a.size() < b.size();
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i]->id != b[i]->id)
      return a[i]->id < b[i]->id;
  return false;
}

using Terms = llvm::SmallVector<DimTerm, 4>;

int64_t floorDivInt(int64_t a, int64_t b) {
  int64_t q = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? q - 1 : q;
}

// Sums over possibly infinite ends saturate: INT64_MIN and INT64_MAX stand for the infinities.
int64_t satAdd(int64_t a, int64_t b, bool up) {
  if (a == INT64_MIN || b == INT64_MIN)
    return INT64_MIN;
  if (a == INT64_MAX || b == INT64_MAX)
    return INT64_MAX;
  int64_t r;
  if (__builtin_add_overflow(a, b, &r))
    return a > 0 ? INT64_MAX : INT64_MIN;
  (void)up;
  return r;
}

int64_t satMul(int64_t a, int64_t b) {
  if (a == 0 || b == 0)
    return 0;
  bool negative = (a < 0) != (b < 0);
  int64_t r;
  if (a == INT64_MIN || a == INT64_MAX || b == INT64_MIN || b == INT64_MAX || __builtin_mul_overflow(a, b, &r))
    return negative ? INT64_MIN : INT64_MAX;
  return r;
}

DimRange addRange(DimRange a, DimRange b) { return {satAdd(a.lo, b.lo, false), satAdd(a.hi, b.hi, true)}; }

DimRange mulRange(DimRange a, DimRange b) {
  int64_t p[] = {satMul(a.lo, b.lo), satMul(a.lo, b.hi), satMul(a.hi, b.lo), satMul(a.hi, b.hi)};
  return {*std::min_element(p, p + 4), *std::max_element(p, p + 4)};
}

} // namespace

bool Dim::isConstant() const {
  return expr_ && (expr_->terms.empty() || (expr_->terms.size() == 1 && expr_->terms[0].factors.empty()));
}
int64_t Dim::constant() const { return expr_->terms.empty() ? 0 : expr_->terms[0].coefficient; }

static const DimAtom *soleAtom(const DimExpr *e) {
  if (e && e->terms.size() == 1 && e->terms[0].coefficient == 1 && e->terms[0].factors.size() == 1)
    return e->terms[0].factors[0];
  return nullptr;
}

bool Dim::isSymbol() const {
  const DimAtom *a = soleAtom(expr_);
  return a && a->kind == DimAtom::Symbol;
}
llvm::StringRef Dim::symbolName() const { return isSymbol() ? llvm::StringRef(soleAtom(expr_)->name) : ""; }
bool Dim::hasGenerated() const { return expr_ && expr_->origin != Origin::File; }
bool Dim::dependsOnRun() const { return expr_ && expr_->origin == Origin::Run; }

struct DimContext::Impl {
  std::deque<DimAtom> atoms;
  std::deque<DimExpr> exprs;
  std::map<std::string, const DimAtom *> atomByKey;
  std::unordered_map<std::string, const DimExpr *> exprByKey;
  unsigned freshCount = 0;
  std::map<std::string, Dim> unknowns; // by input and axis
  std::set<std::string> names;         // of all symbols: what is printed must not name two

  const DimExpr *intern(Terms terms) {
    std::string key;
    for (const DimTerm &t : terms) {
      key.append(reinterpret_cast<const char *>(&t.coefficient), 8);
      for (const DimAtom *a : t.factors)
        key.append(reinterpret_cast<const char *>(&a->id), 4);
      key.append("\xff\xff\xff\xff", 4);
    }
    auto [it, inserted] = exprByKey.try_emplace(std::move(key), nullptr);
    if (inserted) {
      DimExpr &e = exprs.emplace_back();
      e.id = exprs.size();
      e.terms.assign(terms.begin(), terms.end());
      for (const DimTerm &t : e.terms)
        for (const DimAtom *a : t.factors) {
          e.depth = std::max(e.depth, a->depth);
          e.origin = std::max(e.origin, a->origin);
        }
      it->second = &e;
    }
    return it->second;
  }

  const DimExpr *fromAtom(const DimAtom *a) {
    Terms t(1);
    t[0].coefficient = 1;
    t[0].factors.push_back(a);
    return intern(std::move(t));
  }

  /// A symbol that is none of the file's, under a name of its own where there is a hint.
  const DimExpr *made(llvm::StringRef hint, DimRange range, Origin origin) {
    DimAtom &a = atoms.emplace_back();
    a.kind = DimAtom::Symbol;
    a.id = atoms.size();
    a.origin = origin;
    if (!hint.empty()) {
      a.name = hint.str();
      while (!names.insert(a.name).second)
        a.name = hint.str() + "_" + std::to_string(++freshCount);
    }
    a.range = range;
    return fromAtom(&a);
  }

  const DimAtom *atom(DimAtom::Kind kind, llvm::ArrayRef<const DimExpr *> operands, DimRange range) {
    std::string key(1, char('0' + kind));
    for (const DimExpr *e : operands)
      key += std::to_string(e->id) + ",";
    auto [it, inserted] = atomByKey.try_emplace(key, nullptr);
    if (inserted) {
      DimAtom &a = atoms.emplace_back();
      a.kind = kind;
      a.id = atoms.size();
      a.operands.assign(operands.begin(), operands.end());
      for (const DimExpr *e : operands) {
        a.depth = std::max(a.depth, e->depth + 1);
        a.origin = std::max(a.origin, e->origin);
      }
      a.range = range;
      it->second = &a;
    }
    return it->second;
  }

  static void normalize(Terms &terms, bool &overflow) {
    llvm::sort(terms, [](const DimTerm &a, const DimTerm &b) { return factorsLess(a.factors, b.factors); });
    Terms out;
    for (DimTerm &t : terms) {
      if (!out.empty() && out.back().factors == t.factors)
        overflow |= __builtin_add_overflow(out.back().coefficient, t.coefficient, &out.back().coefficient);
      else
        out.push_back(std::move(t));
    }
    llvm::erase_if(out, [](const DimTerm &t) { return t.coefficient == 0; });
    terms = std::move(out);
  }
};

DimContext::DimContext() : impl_(std::make_unique<Impl>()) {}
DimContext::~DimContext() = default;

Dim DimContext::constant(int64_t value) {
  Terms t;
  if (value) {
    t.emplace_back();
    t[0].coefficient = value;
  }
  return Dim(impl_->intern(std::move(t)));
}

Dim DimContext::symbol(llvm::StringRef scope, llvm::StringRef name, int64_t lo) {
  std::string key = ("s" + scope + std::string(1, '\0') + name).str();
  auto [it, inserted] = impl_->atomByKey.try_emplace(key, nullptr);
  if (inserted) {
    DimAtom &a = impl_->atoms.emplace_back();
    a.kind = DimAtom::Symbol;
    a.id = impl_->atoms.size();
    a.scope = scope.str();
    a.name = name.str();
    impl_->names.insert(a.name);
    a.range = {lo, INT64_MAX};
    it->second = &a;
  }
  return Dim(impl_->fromAtom(it->second));
}

Dim DimContext::fresh(llvm::StringRef hint, DimRange range) { return Dim(impl_->made(hint, range, Origin::Run)); }

Dim DimContext::unknownOf(llvm::StringRef input, unsigned axis, DimRange range) {
  std::string name;
  for (char c : input)
    name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0])))
    name.insert(0, "_");
  Dim &d = impl_->unknowns[(input + "\n" + llvm::Twine(axis)).str()];
  if (!d)
    d = Dim(impl_->made(name + "_d" + std::to_string(axis), range, Origin::Input));
  return d;
}

Dim DimContext::add(Dim a, Dim b) {
  if (!a || !b)
    return Dim();
  Terms terms;
  terms.append(a.expr()->terms.begin(), a.expr()->terms.end());
  terms.append(b.expr()->terms.begin(), b.expr()->terms.end());
  bool overflow = false;
  Impl::normalize(terms, overflow);
  if (overflow || terms.size() > maxTerms)
    return fresh("", {INT64_MIN, INT64_MAX});
  return Dim(impl_->intern(std::move(terms)));
}

Dim DimContext::sub(Dim a, Dim b) { return add(a, mul(b, constant(-1))); }

Dim DimContext::mul(Dim a, Dim b) {
  if (!a || !b)
    return Dim();
  Terms terms;
  bool overflow = false;
  for (const DimTerm &s : a.expr()->terms)
    for (const DimTerm &t : b.expr()->terms) {
      DimTerm &p = terms.emplace_back();
      overflow |= __builtin_mul_overflow(s.coefficient, t.coefficient, &p.coefficient);
      std::merge(s.factors.begin(), s.factors.end(), t.factors.begin(), t.factors.end(), std::back_inserter(p.factors),
                 [](auto *x, auto *y) { return x->id < y->id; });
      overflow |= p.factors.size() > 16;
    }
  if (!overflow)
    Impl::normalize(terms, overflow);
  if (overflow || terms.size() > maxTerms)
    return fresh("", {INT64_MIN, INT64_MAX});
  return Dim(impl_->intern(std::move(terms)));
}

DimRange DimContext::range(Dim d) const {
  if (!d)
    return {};
  DimRange sum{0, 0};
  for (const DimTerm &t : d.expr()->terms) {
    DimRange r{t.coefficient, t.coefficient};
    for (size_t i = 0; i < t.factors.size(); ++i) {
      DimRange f = t.factors[i]->range;
      r = mulRange(r, f);
    }
    sum = addRange(sum, r);
  }
  return sum;
}

void DimContext::restrict(Dim symbol, DimRange range) {
  if (const DimAtom *a = soleAtom(symbol.expr())) {
    auto *atom = const_cast<DimAtom *>(a);
    atom->range = {std::max(a->range.lo, range.lo), std::min(a->range.hi, range.hi)};
  }
}

// Divides every term by the divisor's single term; nullopt when one does not divide.
static std::optional<Terms> divideByTerm(llvm::ArrayRef<DimTerm> terms, const DimTerm &divisor) {
  Terms out;
  for (const DimTerm &t : terms) {
    if (t.coefficient % divisor.coefficient != 0)
      return std::nullopt;
    DimTerm q;
    q.coefficient = t.coefficient / divisor.coefficient;
    auto f = t.factors.begin();
    size_t matched = 0;
    for (; f != t.factors.end(); ++f) {
      if (matched < divisor.factors.size() && *f == divisor.factors[matched])
        ++matched;
      else
        q.factors.push_back(*f);
    }
    if (matched != divisor.factors.size())
      return std::nullopt;
    out.push_back(std::move(q));
  }
  return out;
}

std::optional<Dim> DimContext::exactDiv(Dim a, Dim b) {
  if (!a || !b || b.isConstant(0))
    return std::nullopt;
  if (a == b)
    return constant(1);
  llvm::ArrayRef<DimTerm> at = a.expr()->terms, bt = b.expr()->terms;
  if (at.empty())
    return constant(0);
  if (bt.size() == 1) {
    if (bt[0].coefficient == -1 && llvm::any_of(at, [](const DimTerm &t) { return t.coefficient == INT64_MIN; }))
      return std::nullopt;
    if (auto q = divideByTerm(at, bt[0])) {
      bool overflow = false;
      Impl::normalize(*q, overflow);
      return Dim(impl_->intern(std::move(*q)));
    }
    return std::nullopt;
  }
  // Polynomial long division by leading terms (the last in order), as long as it goes on exactly.
  Dim rest = a, quotient = constant(0);
  for (int step = 0; step < 8 && !rest.isConstant(0); ++step) {
    auto lead = divideByTerm({rest.expr()->terms.back()}, bt.back());
    if (!lead)
      return std::nullopt;
    Dim q(impl_->intern(std::move(*lead)));
    quotient = add(quotient, q);
    rest = sub(rest, mul(q, b));
    if (rest.hasGenerated() && !a.hasGenerated() && !b.hasGenerated())
      return std::nullopt; // an overflow on the way
  }
  return rest.isConstant(0) ? std::optional(quotient) : std::nullopt;
}

Dim DimContext::floorDiv(Dim a, Dim b) {
  if (!a || !b)
    return Dim();
  if (b.isConstant(0))
    return fresh("", {INT64_MIN, INT64_MAX});
  if (b.isConstant(1))
    return a;
  if (a.isConstant() && b.isConstant()) {
    if (a.constant() == INT64_MIN && b.constant() == -1)
      return fresh("", {INT64_MIN, INT64_MAX});
    return constant(floorDivInt(a.constant(), b.constant()));
  }
  DimRange rb = range(b);
  bool nonzero = rb.lo > 0 || rb.hi < 0;
  // x / x and exact quotients hold only where the divisor cannot be 0.
  if (nonzero)
    if (auto q = exactDiv(a, b))
      return *q;
  if (b.isConstant() && b.constant() > 0) {
    int64_t d = b.constant();
    // Split off the terms that d divides: (d*x + r) // d = x + r // d.
    Terms whole, rest;
    for (const DimTerm &t : a.expr()->terms) {
      if (t.coefficient % d == 0) {
        whole.push_back(t);
        whole.back().coefficient /= d;
      } else if (t.factors.empty()) {
        int64_t q = floorDivInt(t.coefficient, d), r = t.coefficient - q * d;
        if (q) {
          whole.push_back(t);
          whole.back().coefficient = q;
        }
        if (r) {
          rest.push_back(t);
          rest.back().coefficient = r;
        }
      } else {
        rest.push_back(t);
      }
    }
    bool overflow = false;
    Impl::normalize(whole, overflow);
    Impl::normalize(rest, overflow);
    Dim wholeDim(impl_->intern(std::move(whole)));
    if (rest.empty())
      return wholeDim;
    // gcd: (g*x) // (g*d) = x // d, the constant rounded down into its class.
    int64_t g = d;
    for (const DimTerm &t : rest)
      if (!t.factors.empty())
        g = std::gcd(g, t.coefficient);
    if (g > 1) {
      for (DimTerm &t : rest)
        t.coefficient = floorDivInt(t.coefficient, g);
      llvm::erase_if(rest, [](const DimTerm &t) { return t.coefficient == 0; });
      d /= g;
    }
    Dim r(impl_->intern(std::move(rest)));
    if (d == 1)
      return add(wholeDim, r);
    DimRange rr = range(r);
    if (rr.lo >= 0 && rr.hi < d)
      return wholeDim;
    // (x // c) // d = x // (c*d)
    if (const DimAtom *atom = soleAtom(r.expr()); atom && atom->kind == DimAtom::FloorDiv) {
      Dim inner(atom->operands[1]);
      int64_t product;
      if (inner.isConstant() && inner.constant() > 0 && !__builtin_mul_overflow(inner.constant(), d, &product))
        return add(wholeDim, floorDiv(Dim(atom->operands[0]), constant(product)));
    }
    if (r.expr()->depth >= maxDepth)
      return add(wholeDim, fresh("", {INT64_MIN, INT64_MAX}));
    DimRange q = {rr.lo == INT64_MIN ? INT64_MIN : floorDivInt(rr.lo, d),
                  rr.hi == INT64_MAX ? INT64_MAX : floorDivInt(rr.hi, d)};
    const DimAtom *atom = impl_->atom(DimAtom::FloorDiv, {r.expr(), constant(d).expr()}, q);
    return add(wholeDim, Dim(impl_->fromAtom(atom)));
  }
  DimRange ra = range(a);
  if (nonzero && rb.lo > 0) {
    if (ra.lo >= 0 && proveLe(add(a, constant(1)), b))
      return constant(0);
    // Cancel what every term of both sides shares: (g*x) // (g*y) = x // y.
    if (b.expr()->terms.size() == 1 && !a.expr()->terms.empty()) {
      DimTerm common{1, {}};
      for (const DimAtom *f : b.expr()->terms[0].factors)
        if (f->range.lo > 0 && llvm::all_of(a.expr()->terms, [&](const DimTerm &t) {
              return llvm::count(t.factors, f) > llvm::count(common.factors, f);
            }))
          common.factors.push_back(f);
      int64_t g = b.expr()->terms[0].coefficient;
      for (const DimTerm &t : a.expr()->terms)
        g = std::gcd(g, t.coefficient);
      common.coefficient = g;
      if (!common.factors.empty() || g > 1) {
        auto qa = divideByTerm(a.expr()->terms, common), qb = divideByTerm(b.expr()->terms, common);
        bool overflow = false;
        Impl::normalize(*qa, overflow);
        Impl::normalize(*qb, overflow);
        return floorDiv(Dim(impl_->intern(std::move(*qa))), Dim(impl_->intern(std::move(*qb))));
      }
    }
  }
  if (std::max(a.expr()->depth, b.expr()->depth) >= maxDepth)
    return fresh("", {INT64_MIN, INT64_MAX});
  DimRange q{INT64_MIN, INT64_MAX};
  if (rb.lo > 0 && ra.lo >= 0)
    q = {0, ra.hi};
  return Dim(impl_->fromAtom(impl_->atom(DimAtom::FloorDiv, {a.expr(), b.expr()}, q)));
}

Dim DimContext::ceilDiv(Dim a, Dim b) { return mul(floorDiv(mul(a, constant(-1)), b), constant(-1)); }

Dim DimContext::mod(Dim a, Dim b) {
  if (!a || !b)
    return Dim();
  if (b.isConstant(0))
    return fresh("", {INT64_MIN, INT64_MAX});
  return sub(a, mul(floorDiv(a, b), b));
}

bool DimContext::proveLe(Dim a, Dim b) {
  if (!a || !b)
    return false;
  if (a == b)
    return true;
  Dim difference = sub(b, a);
  if (range(difference).lo >= 0)
    return true;
  // min(x, ...) <= x and x <= max(x, ...)
  if (const DimAtom *atom = soleAtom(a.expr()); atom && atom->kind == DimAtom::Min)
    for (const DimExpr *e : atom->operands)
      if (e != a.expr() && proveLe(Dim(e), b))
        return true;
  if (const DimAtom *atom = soleAtom(b.expr()); atom && atom->kind == DimAtom::Max)
    for (const DimExpr *e : atom->operands)
      if (proveLe(a, Dim(e)))
        return true;
  return false;
}

bool DimContext::proveEqual(Dim a, Dim b) {
  return a && b && (a == b || range(sub(a, b)).lo == 0) && (a == b || range(sub(a, b)).hi == 0);
}

bool DimContext::proveDifferent(Dim a, Dim b) {
  if (!a || !b)
    return false;
  DimRange r = range(sub(a, b));
  return r.lo > 0 || r.hi < 0;
}

static void flatten(Dim d, DimAtom::Kind kind, llvm::SmallVectorImpl<const DimExpr *> &out) {
  if (const DimAtom *a = soleAtom(d.expr()); a && a->kind == kind)
    out.append(a->operands.begin(), a->operands.end());
  else
    out.push_back(d.expr());
}

Dim DimContext::min(Dim a, Dim b) {
  if (!a || !b)
    return Dim();
  if (proveLe(a, b))
    return a;
  if (proveLe(b, a))
    return b;
  llvm::SmallVector<const DimExpr *, 4> operands;
  flatten(a, DimAtom::Min, operands);
  flatten(b, DimAtom::Min, operands);
  llvm::sort(operands, [](auto *x, auto *y) { return x->id < y->id; });
  operands.erase(std::unique(operands.begin(), operands.end()), operands.end());
  DimRange r{INT64_MAX, INT64_MAX};
  unsigned depth = 0;
  for (const DimExpr *e : operands) {
    DimRange x = range(Dim(e));
    r = {std::min(r.lo, x.lo), std::min(r.hi, x.hi)};
    depth = std::max(depth, e->depth);
  }
  if (depth >= maxDepth || operands.size() > 8)
    return fresh("", r);
  return Dim(impl_->fromAtom(impl_->atom(DimAtom::Min, operands, r)));
}

Dim DimContext::max(Dim a, Dim b) {
  if (!a || !b)
    return Dim();
  if (proveLe(a, b))
    return b;
  if (proveLe(b, a))
    return a;
  llvm::SmallVector<const DimExpr *, 4> operands;
  flatten(a, DimAtom::Max, operands);
  flatten(b, DimAtom::Max, operands);
  llvm::sort(operands, [](auto *x, auto *y) { return x->id < y->id; });
  operands.erase(std::unique(operands.begin(), operands.end()), operands.end());
  DimRange r{INT64_MIN, INT64_MIN};
  unsigned depth = 0;
  for (const DimExpr *e : operands) {
    DimRange x = range(Dim(e));
    r = {std::max(r.lo, x.lo), std::max(r.hi, x.hi)};
    depth = std::max(depth, e->depth);
  }
  if (depth >= maxDepth || operands.size() > 8)
    return fresh("", r);
  return Dim(impl_->fromAtom(impl_->atom(DimAtom::Max, operands, r)));
}

Dim DimContext::broadcast(Dim a, Dim b) {
  if (!a || !b)
    return Dim();
  if (a == b || b.isConstant(1))
    return a;
  if (a.isConstant(1))
    return b;
  // A dimension known to be other than 1 decides: the other must be 1 or equal to it.
  DimRange ra = range(a), rb = range(b);
  if (a.isConstant() || ra.lo > 1)
    return a;
  if (b.isConstant() || rb.lo > 1)
    return b;
  const DimExpr *x = a.expr(), *y = b.expr();
  if (x->id > y->id)
    std::swap(x, y);
  // broadcast(a, broadcast(a, b)) = broadcast(a, b)
  for (auto [outer, inner] : {std::pair(a, b), std::pair(b, a)})
    if (const DimAtom *atom = soleAtom(outer.expr()); atom && atom->kind == DimAtom::Broadcast)
      if (llvm::is_contained(atom->operands, inner.expr()))
        return outer;
  if (std::max(x->depth, y->depth) >= maxDepth)
    return fresh("", {0, INT64_MAX});
  return Dim(
      impl_->fromAtom(impl_->atom(DimAtom::Broadcast, {x, y}, {std::min({ra.lo, rb.lo}), std::max(ra.hi, rb.hi)})));
}

std::string DimContext::print(Dim d) const {
  if (!d)
    return "?";
  if (d.isConstant())
    return std::to_string(d.constant());
  std::function<std::string(const DimAtom *)> atomText = [&](const DimAtom *a) -> std::string {
    auto operand = [&](const DimExpr *e) {
      std::string s = print(Dim(e));
      bool simple =
          Dim(e).isConstant() ? Dim(e).constant() >= 0 : soleAtom(e) && soleAtom(e)->kind != DimAtom::FloorDiv;
      return simple ? s : "(" + s + ")";
    };
    switch (a->kind) {
    case DimAtom::Symbol:
      return a->name.empty() ? "?" : a->name;
    case DimAtom::FloorDiv:
      return operand(a->operands[0]) + "//" + operand(a->operands[1]);
    default: {
      // Broadcasting equals max wherever sizes are at least 1; the text must be readable by others.
      const char *name = a->kind == DimAtom::Min ? "Min(" : "Max(";
      std::string s = name;
      for (size_t i = 0; i < a->operands.size(); ++i)
        s += (i ? ", " : "") + print(Dim(a->operands[i]));
      return s + ")";
    }
    }
  };
  std::string out;
  llvm::ArrayRef<DimTerm> terms = d.expr()->terms;
  // Constant last, as people write it.
  llvm::SmallVector<const DimTerm *, 8> order;
  for (const DimTerm &t : terms)
    if (!t.factors.empty())
      order.push_back(&t);
  llvm::stable_sort(order, [](auto *a, auto *b) { return a->coefficient > 0 && b->coefficient < 0; });
  for (const DimTerm &t : terms)
    if (t.factors.empty())
      order.push_back(&t);
  for (const DimTerm *t : order) {
    bool negative = t->coefficient < 0;
    out += out.empty() ? (negative ? "-" : "") : (negative ? " - " : " + ");
    std::string magnitude = std::to_string(t->coefficient);
    if (negative)
      magnitude.erase(0, 1);
    llvm::SmallVector<std::string, 4> parts;
    if (magnitude != "1" || t->factors.empty())
      parts.push_back(magnitude);
    for (const DimAtom *a : t->factors) {
      std::string s = atomText(a);
      bool wrap = a->kind == DimAtom::FloorDiv && (t->factors.size() > 1 || magnitude != "1" || negative);
      parts.push_back(wrap ? "(" + s + ")" : s);
    }
    out += llvm::join(parts, "*");
  }
  return out;
}

namespace {

/// Recursive descent over dim_param text.
class DimParser {
public:
  DimParser(DimContext &ctx, llvm::StringRef scope, llvm::StringRef text, int64_t lo)
      : ctx_(ctx), scope_(scope), rest_(text), lo_(lo) {}

  std::optional<Dim> parse() {
    auto d = sum(0);
    rest_ = rest_.ltrim();
    return d && rest_.empty() ? d : std::nullopt;
  }

private:
  bool take(llvm::StringRef token) {
    rest_ = rest_.ltrim();
    return rest_.consume_front(token);
  }

  std::optional<Dim> sum(unsigned depth) {
    if (depth > 32)
      return std::nullopt;
    bool negative = take("-");
    auto d = product(depth);
    if (!d)
      return d;
    if (negative)
      d = ctx_.mul(*d, ctx_.constant(-1));
    while (true) {
      bool plus = take("+");
      if (!plus && !take("-"))
        return d;
      auto e = product(depth);
      if (!e)
        return e;
      d = plus ? ctx_.add(*d, *e) : ctx_.sub(*d, *e);
    }
  }

  std::optional<Dim> product(unsigned depth) {
    auto d = primary(depth);
    while (d) {
      char op = take("//") ? '/' : take("*") ? '*' : take("%") ? '%' : 0;
      if (!op)
        return d;
      auto e = primary(depth);
      if (!e)
        return e;
      d = op == '/' ? ctx_.floorDiv(*d, *e) : op == '*' ? ctx_.mul(*d, *e) : ctx_.mod(*d, *e);
    }
    return d;
  }

  std::optional<Dim> primary(unsigned depth) {
    rest_ = rest_.ltrim();
    if (take("(")) {
      auto d = sum(depth + 1);
      return d && take(")") ? d : std::nullopt;
    }
    if (rest_.starts_with("-")) {
      take("-");
      auto d = primary(depth + 1);
      return d ? std::optional(ctx_.mul(*d, ctx_.constant(-1))) : d;
    }
    size_t n = 0;
    while (n < rest_.size() && (llvm::isAlnum(rest_[n]) || rest_[n] == '_' || rest_[n] == '.'))
      ++n;
    llvm::StringRef word = rest_.take_front(n);
    rest_ = rest_.drop_front(n);
    if (word.empty())
      return std::nullopt;
    if (llvm::isDigit(word[0])) {
      int64_t value;
      return word.getAsInteger(10, value) ? std::nullopt : std::optional(ctx_.constant(value));
    }
    bool isMin = word.equals_insensitive("min"), isMax = word.equals_insensitive("max");
    if ((isMin || isMax) && take("(")) {
      auto d = sum(depth + 1);
      while (d && take(",")) {
        auto e = sum(depth + 1);
        d = e ? std::optional(isMin ? ctx_.min(*d, *e) : ctx_.max(*d, *e)) : e;
      }
      return d && take(")") ? d : std::nullopt;
    }
    return ctx_.symbol(scope_, word, lo_);
  }

  DimContext &ctx_;
  llvm::StringRef scope_, rest_;
  int64_t lo_;
};

} // namespace

Dim DimContext::parse(llvm::StringRef scope, llvm::StringRef text, int64_t lo) {
  if (text.empty() || text == "?")
    return fresh();
  if (auto d = DimParser(*this, scope, text, lo).parse())
    return *d;
  return symbol(scope, text, lo);
}

std::optional<int64_t> DimContext::evaluate(Dim d, const DimBindings &bindings) const {
  if (!d)
    return std::nullopt;
  __int128 sum = 0;
  for (const DimTerm &t : d.expr()->terms) {
    __int128 p = t.coefficient;
    for (const DimAtom *a : t.factors) {
      llvm::SmallVector<int64_t, 4> v;
      for (const DimExpr *e : a->operands) {
        auto x = evaluate(Dim(e), bindings);
        if (!x)
          return std::nullopt;
        v.push_back(*x);
      }
      int64_t value = 0;
      switch (a->kind) {
      case DimAtom::Symbol: {
        auto it = bindings.find(a->name);
        if (it == bindings.end() || a->name.empty())
          return std::nullopt;
        value = it->second;
        break;
      }
      case DimAtom::FloorDiv:
        if (v[1] == 0)
          return std::nullopt;
        value = floorDivInt(v[0], v[1]);
        break;
      case DimAtom::Min:
        value = *std::min_element(v.begin(), v.end());
        break;
      case DimAtom::Max:
        value = *std::max_element(v.begin(), v.end());
        break;
      case DimAtom::Broadcast:
        value = v[0] == 1 ? v[1] : v[0];
        break;
      }
      p *= value;
      if (p > INT64_MAX || p < INT64_MIN)
        return std::nullopt;
    }
    sum += p;
  }
  return sum > INT64_MAX || sum < INT64_MIN ? std::nullopt : std::optional(int64_t(sum));
}

Dim DimContext::substitute(Dim d, const llvm::DenseMap<const DimExpr *, Dim> &map) {
  if (!d || d.isConstant())
    return d;
  Dim sum = constant(0);
  llvm::SmallVector<DimTerm, 2> terms(d.expr()->terms.begin(), d.expr()->terms.end());
  for (const DimTerm &t : terms) {
    Dim p = constant(t.coefficient);
    for (const DimAtom *a : t.factors) {
      Dim v;
      if (a->kind == DimAtom::Symbol) {
        const DimExpr *self = impl_->fromAtom(a);
        auto it = map.find(self);
        v = it == map.end() ? Dim(self) : it->second;
      } else {
        v = substitute(Dim(a->operands[0]), map);
        for (size_t i = 1; i < a->operands.size(); ++i) {
          Dim w = substitute(Dim(a->operands[i]), map);
          v = a->kind == DimAtom::FloorDiv ? floorDiv(v, w)
              : a->kind == DimAtom::Min    ? min(v, w)
              : a->kind == DimAtom::Max    ? max(v, w)
                                           : broadcast(v, w);
        }
      }
      p = mul(p, v);
    }
    sum = add(sum, p);
  }
  return sum;
}

void DimContext::symbols(Dim d, llvm::SmallVectorImpl<Dim> &out) const {
  if (!d)
    return;
  for (const DimTerm &t : d.expr()->terms)
    for (const DimAtom *a : t.factors) {
      if (a->kind == DimAtom::Symbol) {
        Dim s(impl_->fromAtom(a));
        if (!llvm::is_contained(out, s))
          out.push_back(s);
      }
      for (const DimExpr *e : a->operands)
        symbols(Dim(e), out);
    }
}

} // namespace onnxopt
