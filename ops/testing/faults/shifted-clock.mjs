/**
 * Loaded before a role by `--import`: its wall clock is wrong by TEST_CLOCK_SHIFT_MS, for itself and its children.
 * JavaScript, because it is loaded into programs as Node starts.
 */
const shiftMs = Number(process.env.TEST_CLOCK_SHIFT_MS ?? 0)
const RealDate = globalThis.Date

class ShiftedDate extends RealDate {
  constructor(...given) {
    if (given.length === 0) super(RealDate.now() + shiftMs)
    else super(...given)
  }

  static now() {
    return RealDate.now() + shiftMs
  }
}

globalThis.Date = ShiftedDate
