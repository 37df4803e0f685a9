// The inner loops over row memory, in AssemblyScript: a subset of TypeScript that compiles to WebAssembly. Addresses are
// `usize`; row-memory.ts says what lies where. plain-kernel.ts does the same without any of the tricks.
// Memory is read without atomics: an aligned u32 is never torn, and rows are written before the search that may see
// them is sent.

/** `scratchRows` of row-memory.ts. `found` and `distances` have room for twice as many and one block. */
const SCRATCH_ROWS: u32 = 8192
/** `scanBlockRows` of row-memory.ts. */
const BLOCK: u32 = 128
/** Rows whose memory is asked for before the first of them is used. */
const AHEAD: u32 = 32
const LINE_BYTES: usize = 64

// ---- where things lie ----

let dims: u32 = 0
let codeBytes: u32 = 0
let codes: usize = 0
let items: usize = 0
let words: usize = 0
let halves: usize = 0

/** The query, as `prepare` leaves it. */
let query: usize = 0
let mean: usize = 0
let code: usize = 0
let input: usize = 0
let found: usize = 0
let distances: usize = 0
let scores: usize = 0
let histogram: usize = 0
let allowed: usize = 0

// ---- the scan under way ----

let sequence: u32 = 0
let filtered: bool = false
let wanted: u32 = 0
/** Rows farther than this cannot be among those wanted. */
let limit: u32 = 0
/** Rows in `found`. */
let count: u32 = 0
let tightenAt: u32 = 0
/** How many rows of the block before were within the limit. */
let lastNear: u32 = 0

/** Exported, so that loads which only bring memory near are not optimised away. */
export let touched: u32 = 0

export function useColumns(d: u32, codesAt: usize, itemsAt: usize, wordsAt: usize, halvesAt: usize): void {
  dims = d
  codeBytes = d >> 3
  codes = codesAt
  items = itemsAt
  words = wordsAt
  halves = halvesAt
}

export function useScratch(
  queryAt: usize,
  meanAt: usize,
  codeAt: usize,
  inputAt: usize,
  foundAt: usize,
  distancesAt: usize,
  scoresAt: usize,
  histogramAt: usize,
  allowedAt: usize,
): void {
  query = queryAt
  mean = meanAt
  code = codeAt
  input = inputAt
  found = foundAt
  distances = distancesAt
  scores = scoresAt
  histogram = histogramAt
  allowed = allowedAt
}

// ---- f16 and codes ----

/**
 * The bits of an f16 moved to their places in an f32 have an exponent that is 112 too small (127 - 15), and a subnormal
 * f16 becomes a subnormal f32: one product, which is exact, mends both.
 */
const TWO_TO_112: f32 = 5192296858534827628530496329220096.0
/** Sign, lowest five bits of the exponent, highest ten of the fraction. */
const HALF_BITS: u32 = 0x8fffe000

/** Of the f16 in the upper half of each lane, f32 × 2^-112. */
@inline
function upperHalves(lanes: v128): v128 {
  return v128.and(i32x4.shr_s(lanes, 3), i32x4.splat(HALF_BITS))
}

/** Of the f16 in the lower half of each lane, f32 × 2^-112. */
@inline
function lowerHalves(lanes: v128): v128 {
  return upperHalves(i32x4.shl(lanes, 16))
}

/** Eight bits of a code: bit i is set when component i is larger than that of the mean. */
@inline
function codeByte(first: v128, second: v128, means: usize): u32 {
  return (
    i32x4.bitmask(f32x4.gt(first, v128.load(means))) | (i32x4.bitmask(f32x4.gt(second, v128.load(means, 16))) << 4)
  )
}

/**
 * Makes the code of the query in scratch, and brings the query into the form in which `score` reads it: scaled, as the
 * vectors are not, and of eight components those with an even index first, as lanes of two halves deliver them.
 */
export function prepare(): void {
  const scale = f32x4.splat(TWO_TO_112)
  for (let byte: usize = 0; byte < codeBytes; byte++) {
    const at = byte << 5
    const first = v128.load(query + at)
    const second = v128.load(query + at, 16)
    store<u8>(code + byte, codeByte(first, second, mean + at))
    v128.store(query + at, f32x4.mul(v128.shuffle<f32>(first, second, 0, 2, 4, 6), scale))
    v128.store(query + at, f32x4.mul(v128.shuffle<f32>(first, second, 1, 3, 5, 7), scale), 16)
  }
}

/** Writes the codes of rows from..to against the mean in scratch. */
export function encode(from: u32, to: u32): void {
  const scale = f32x4.splat(TWO_TO_112)
  let half = halves + (from as usize) * (dims << 1)
  let out = codes + (from as usize) * codeBytes
  for (let row = from; row < to; row++) {
    for (let byte: usize = 0; byte < codeBytes; byte++) {
      const eight = v128.load(half)
      const first = f32x4.mul(lowerHalves(i32x4.extend_low_i16x8_u(eight)), scale)
      const second = f32x4.mul(lowerHalves(i32x4.extend_high_i16x8_u(eight)), scale)
      store<u8>(out, codeByte(first, second, mean + (byte << 5)))
      half += 16
      out++
    }
  }
}

// ---- scan ----

/** Before `scanRange` or `scanInput`, which may follow one another; `finishScan` ends them. */
export function startScan(atSequence: u32, isFiltered: bool, want: u32): void {
  sequence = atSequence
  filtered = isFiltered
  wanted = want
  limit = dims
  count = 0
  tightenAt = room(want)
}

/** Looks at rows from..to. */
export function scanRange(from: u32, to: u32): void {
  for (let start = from; start < to; start += BLOCK) {
    const end = min(start + BLOCK, to)
    if (codeBytes == 32) keepPassing(nearOfRange256(start, end))
    else if (codeBytes == 48) keepPassing(nearOfRange384(start, end))
    else keepPassing(nearOfRangeAny(start, end))
  }
}

/** Looks at the first `rows` rows of `input`. */
export function scanInput(rows: u32): void {
  for (let start: u32 = 0; start < rows; start += BLOCK) {
    const end = min(start + BLOCK, rows)
    touch(start, end, codes, codeBytes)
    if (codeBytes == 32) keepPassing(nearOfInput256(start, end))
    else if (codeBytes == 48) keepPassing(nearOfInput384(start, end))
    else keepPassing(nearOfInputAny(start, end))
  }
}

// Copies of two loops for the usual numbers of dimensions, with the length of a code as a constant.

function nearOfRange256(from: u32, to: u32): u32 {
  return nearOfRange(from, to, 4)
}

function nearOfRange384(from: u32, to: u32): u32 {
  return nearOfRange(from, to, 6)
}

function nearOfRangeAny(from: u32, to: u32): u32 {
  return nearOfRange(from, to, 0)
}

function nearOfInput256(from: u32, to: u32): u32 {
  return nearOfInput(from, to, 4)
}

function nearOfInput384(from: u32, to: u32): u32 {
  return nearOfInput(from, to, 6)
}

function nearOfInputAny(from: u32, to: u32): u32 {
  return nearOfInput(from, to, 0)
}

/**
 * Appends those of the rows from..to within the limit to those found; returns the new end. Where many are, no branch
 * depends on the data, as it would often be guessed wrong; where few are, one branch passes over four rows.
 * `codeWords` is a constant of each inlined copy; 0: any length.
 */
@inline
function nearOfRange(from: u32, to: u32, codeWords: u32): u32 {
  const many = lastNear > BLOCK / 16
  const max = limit
  const query = code
  const bytes = codeWords == 0 ? codeBytes : codeWords << 3
  let at = codes + (from as usize) * bytes
  let end = count
  let row = from
  for (; row + 4 <= to; row += 4) {
    const d0 = distanceTo(at, query, codeWords)
    const d1 = distanceTo(at + bytes, query, codeWords)
    const d2 = distanceTo(at + 2 * bytes, query, codeWords)
    const d3 = distanceTo(at + 3 * bytes, query, codeWords)
    at += 4 * bytes
    const signs = (max - d0) & (max - d1) & (max - d2) & (max - d3)
    const noneNear = signs >> 31 != 0
    if (noneNear && !many) continue
    end = appended(end, row, d0)
    end = appended(end, row + 1, d1)
    end = appended(end, row + 2, d2)
    end = appended(end, row + 3, d3)
  }
  for (; row < to; row++) {
    end = appended(end, row, distanceTo(at, query, codeWords))
    at += bytes
  }
  return end
}

/** The same of the rows that `input` lists at from..to. */
@inline
function nearOfInput(from: u32, to: u32, codeWords: u32): u32 {
  const bytes = codeWords == 0 ? codeBytes : codeWords << 3
  let end = count
  for (let i = from; i < to; i++) {
    const row = load<u32>(input + ((i as usize) << 2))
    end = appended(end, row, distanceTo(codes + (row as usize) * bytes, code, codeWords))
  }
  return end
}

/** Writes a row behind those found, where it stays if it is near enough. */
@inline
function appended(end: u32, row: u32, distance: u32): u32 {
  store<u32>(found + ((end as usize) << 2), row)
  store<u32>(distances + ((end as usize) << 2), distance)
  return end + u32(distance <= limit)
}

/** Of the rows appended up to `end` keeps those that are visible and allowed. */
function keepPassing(end: u32): void {
  lastNear = end - count
  let kept = count
  for (let i = count; i < end; i++) {
    const row = load<u32>(found + ((i as usize) << 2))
    const distance = load<u32>(distances + ((i as usize) << 2))
    store<u32>(found + ((kept as usize) << 2), row)
    store<u32>(distances + ((kept as usize) << 2), distance)
    const at = (row as usize) << 2
    let passes = isVisible(load<u32>(words + at))
    if (filtered) passes = passes & isAllowed(load<u32>(items + at))
    kept += u32(passes)
  }
  count = kept
  if (count >= tightenAt) tighten()
}

/** Leaves only the nearest in `found` and `distances`; returns how many. */
export function finishScan(): u32 {
  tighten()
  return count
}

/** Hamming distance of the row's code to the query's. */
@inline
function distanceTo(at: usize, query: usize, codeWords: u32): u32 {
  if (codeWords == 0) return distanceOfAnyLength(at, query)
  let bits = popcnt(load<u64>(at) ^ load<u64>(query))
  bits += popcnt(load<u64>(at, 8) ^ load<u64>(query, 8))
  bits += popcnt(load<u64>(at, 16) ^ load<u64>(query, 16))
  bits += popcnt(load<u64>(at, 24) ^ load<u64>(query, 24))
  if (codeWords == 6) {
    bits += popcnt(load<u64>(at, 32) ^ load<u64>(query, 32))
    bits += popcnt(load<u64>(at, 40) ^ load<u64>(query, 40))
  }
  return bits as u32
}

@inline
function distanceOfAnyLength(at: usize, query: usize): u32 {
  let q = query
  let bits: u64 = 0
  for (const end = query + (codeBytes & ~7); q < end; q += 8, at += 8) bits += popcnt(load<u64>(q) ^ load<u64>(at))
  const tailBits: u64 = (codeBytes & 7) << 3
  // What lies behind a code is read too (some column always follows) and masked out.
  if (tailBits) bits += popcnt((load<u64>(q) ^ load<u64>(at)) & (((1 as u64) << tailBits) - 1))
  return bits as u32
}

/** See `visibility` of row-memory.ts. */
@inline
function isVisible(word: u32): bool {
  const before = u32(sequence < (word & 0x3fffffff))
  const shownByIt = word >> 31
  return ((before ^ shownByIt) | u32(word == 0)) != 0
}

@inline
function isAllowed(item: u32): bool {
  return ((load<u32>(allowed + (((item >> 5) as usize) << 2)) >> (item & 31)) & 1) != 0
}

/**
 * Drops all rows farther than the farthest of the `wanted` nearest, and of those as far as it all but the first ones
 * when there are too many to keep. Rows stay in the order they came, so that the first ties are the same ones however
 * often this happens.
 */
function tighten(): void {
  if (count <= wanted) return
  memory.fill(histogram, 0, ((dims + 1) as usize) << 2)
  for (let i: usize = 0; i < count; i++) {
    const bin = histogram + ((load<u32>(distances + (i << 2)) as usize) << 2)
    store<u32>(bin, load<u32>(bin) + 1)
  }
  let nearer: u32 = 0
  let farthest: u32 = 0
  for (; ; farthest++) {
    const here = load<u32>(histogram + ((farthest as usize) << 2))
    if (nearer + here >= wanted) break
    nearer += here
  }
  let ties = SCRATCH_ROWS - nearer
  let kept: usize = 0
  for (let i: usize = 0; i < count; i++) {
    const distance = load<u32>(distances + (i << 2))
    store<u32>(found + (kept << 2), load<u32>(found + (i << 2)))
    store<u32>(distances + (kept << 2), distance)
    const isTie = u32(distance == farthest) & u32(ties > 0)
    ties -= isTie
    kept += u32(distance < farthest) | isTie
  }
  limit = farthest
  count = kept as u32
  tightenAt = room(count)
}

/** When to tighten next: after twice the rows that were kept, and not for a few. */
@inline
function room(kept: u32): u32 {
  return kept + max(kept, 64)
}

// ---- score ----

/** Writes the dot product of each of the first `rows` rows of `input` with the query to `scores`. */
export function scoreInput(rows: u32): void {
  const bytes = dims << 1
  for (let from: u32 = 0; from < rows; from += AHEAD) {
    const to = min(from + AHEAD, rows)
    touch(from, to, halves, bytes)
    let i = from
    for (; i + 4 <= to; i += 4) {
      score4(i, inputVector(i, bytes), inputVector(i + 1, bytes), inputVector(i + 2, bytes), inputVector(i + 3, bytes))
    }
    for (; i < to; i++) score1(i, inputVector(i, bytes))
  }
}

/** The same for rows from..to. */
export function scoreRange(from: u32, to: u32): void {
  const bytes = dims << 1
  const rows = to - from
  let at = halves + (from as usize) * bytes
  let i: u32 = 0
  for (; i + 4 <= rows; i += 4) {
    score4(i, at, at + bytes, at + 2 * bytes, at + 3 * bytes)
    at += 4 * bytes
  }
  for (; i < rows; i++) {
    score1(i, at)
    at += bytes
  }
}

@inline
function inputVector(i: u32, bytes: u32): usize {
  return halves + (load<u32>(input + ((i as usize) << 2)) as usize) * bytes
}

/** Four rows at a time: their sums do not wait for one another, and each part of the query is loaded once. */
@inline
function score4(i: u32, a: usize, b: usize, c: usize, d: usize): void {
  let a0 = f32x4.splat(0)
  let a1 = f32x4.splat(0)
  let b0 = f32x4.splat(0)
  let b1 = f32x4.splat(0)
  let c0 = f32x4.splat(0)
  let c1 = f32x4.splat(0)
  let d0 = f32x4.splat(0)
  let d1 = f32x4.splat(0)
  const bytes = (dims as usize) << 1
  for (let at: usize = 0; at < bytes; at += 16) {
    const q0 = v128.load(query + (at << 1))
    const q1 = v128.load(query + (at << 1), 16)
    const a8 = v128.load(a + at)
    a0 = f32x4.add(a0, f32x4.mul(lowerHalves(a8), q0))
    a1 = f32x4.add(a1, f32x4.mul(upperHalves(a8), q1))
    const b8 = v128.load(b + at)
    b0 = f32x4.add(b0, f32x4.mul(lowerHalves(b8), q0))
    b1 = f32x4.add(b1, f32x4.mul(upperHalves(b8), q1))
    const c8 = v128.load(c + at)
    c0 = f32x4.add(c0, f32x4.mul(lowerHalves(c8), q0))
    c1 = f32x4.add(c1, f32x4.mul(upperHalves(c8), q1))
    const d8 = v128.load(d + at)
    d0 = f32x4.add(d0, f32x4.mul(lowerHalves(d8), q0))
    d1 = f32x4.add(d1, f32x4.mul(upperHalves(d8), q1))
  }
  const out = scores + ((i as usize) << 2)
  store<f32>(out, sum(a0, a1), 0)
  store<f32>(out, sum(b0, b1), 4)
  store<f32>(out, sum(c0, c1), 8)
  store<f32>(out, sum(d0, d1), 12)
}

@inline
function score1(i: u32, a: usize): void {
  let a0 = f32x4.splat(0)
  let a1 = f32x4.splat(0)
  const bytes = (dims as usize) << 1
  for (let at: usize = 0; at < bytes; at += 16) {
    const a8 = v128.load(a + at)
    a0 = f32x4.add(a0, f32x4.mul(lowerHalves(a8), v128.load(query + (at << 1))))
    a1 = f32x4.add(a1, f32x4.mul(upperHalves(a8), v128.load(query + (at << 1), 16)))
  }
  store<f32>(scores + ((i as usize) << 2), sum(a0, a1))
}

@inline
function sum(evens: v128, odds: v128): f32 {
  const pairs = f32x4.add(evens, odds)
  return (
    f32x4.extract_lane(pairs, 0) +
    f32x4.extract_lane(pairs, 1) +
    (f32x4.extract_lane(pairs, 2) + f32x4.extract_lane(pairs, 3))
  )
}

/** Reads a byte of every cache line of the given rows of a column, so that their misses overlap. */
@inline
function touch(from: u32, to: u32, column: usize, bytes: u32): void {
  let seen: u32 = 0
  for (let i = from; i < to; i++) {
    const row = column + (load<u32>(input + ((i as usize) << 2)) as usize) * bytes
    for (let line: usize = 0; line < bytes; line += LINE_BYTES) seen += load<u8>(row + line)
  }
  touched += seen
}
