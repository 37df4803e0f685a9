import { boxBetween, isSearchable, moved, stretched } from './box.js'

/** @import { Box, Point } from './box.js' */

/**
 * @typedef {object} BoxDrawingListener
 * @property {(box: Box) => void} preview on each step of the gesture
 * @property {(box: Box) => void} drawn the box is to be searched
 * @property {() => void} cancelled the gesture came to nothing: show what was there before
 */

/** Below this a press is a tap on what lies there. */
const dragThresholdPx = 6
const keyStep = 0.02

/**
 * Turns pointer and key gestures on a picture into a box.
 *
 * A mouse or pen draws at any time. A finger draws only while armed, because otherwise it scrolls the page; the
 * corner handles of the frame follow a finger at any time. Every gesture is a rectangle between a fixed anchor and the
 * pointer: the point pressed, or the corner opposite to the handle.
 */
export class BoxDrawing {
  #surface
  #frame
  #listener
  /** @type {Box | null} box the frame shows */
  #box = null
  /** @type {{ pointerId: number, anchor: Point, pressedAt: { x: number, y: number }, drags: boolean } | null} */
  #gesture = null
  /** The click that ends a drag must not also choose the object under the pointer. */
  #swallowsClick = false
  #isArmed = false

  /**
   * @param {HTMLElement} surface has the picture's size
   * @param {HTMLElement} frame the focusable frame with a `data-corner` handle per corner
   * @param {BoxDrawingListener} listener
   */
  constructor(surface, frame, listener) {
    this.#surface = surface
    this.#frame = frame
    this.#listener = listener
    surface.addEventListener('pointerdown', event => this.#press(event))
    surface.addEventListener('pointermove', event => this.#drag(event))
    surface.addEventListener('pointerup', event => this.#release(event))
    surface.addEventListener('pointercancel', () => this.#cancel())
    surface.addEventListener('click', event => this.#click(event), { capture: true })
    frame.addEventListener('keydown', event => this.#key(event))
  }

  get isArmed() {
    return this.#isArmed
  }

  get isUnderWay() {
    return this.#isArmed || this.#gesture?.drags === true
  }

  /** @param {boolean} armed a finger draws, and the picture does not scroll */
  arm(armed) {
    this.#isArmed = armed
  }

  /** @param {Box | null} box that handles and keys start from */
  startFrom(box) {
    this.#box = box
  }

  /** @param {PointerEvent} event */
  #press(event) {
    if (event.button !== 0 || this.#gesture !== null) return
    this.#swallowsClick = false
    const corner = event.target instanceof HTMLElement ? event.target.dataset.corner : undefined
    if (corner === undefined && event.pointerType === 'touch' && !this.#isArmed) return
    const anchor = corner !== undefined && this.#box !== null ? opposite(this.#box, corner) : this.#pointOf(event)
    const pressedAt = { x: event.clientX, y: event.clientY }
    this.#gesture = { pointerId: event.pointerId, anchor, pressedAt, drags: false }
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    const gesture = this.#gesture
    if (gesture === null || gesture.pointerId !== event.pointerId) return
    const way = Math.hypot(event.clientX - gesture.pressedAt.x, event.clientY - gesture.pressedAt.y)
    if (!gesture.drags && way < dragThresholdPx) return
    if (!gesture.drags) this.#surface.setPointerCapture(event.pointerId)
    gesture.drags = true
    this.#listener.preview(boxBetween(gesture.anchor, this.#pointOf(event)))
  }

  /** @param {PointerEvent} event */
  #release(event) {
    const gesture = this.#gesture
    if (gesture === null || gesture.pointerId !== event.pointerId) return
    this.#gesture = null
    if (!gesture.drags) return
    this.#swallowsClick = true
    this.#finish(boxBetween(gesture.anchor, this.#pointOf(event)))
  }

  /** @param {Box} box */
  #finish(box) {
    if (!isSearchable(box)) return this.#listener.cancelled()
    this.#box = box
    this.#listener.drawn(box)
  }

  #cancel() {
    if (this.#gesture === null) return
    this.#gesture = null
    this.#listener.cancelled()
  }

  /** @param {MouseEvent} event */
  #click(event) {
    if (!this.#swallowsClick) return
    this.#swallowsClick = false
    event.stopPropagation()
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (this.#box === null || event.target !== this.#frame) return
    const step = stepOf(event.key)
    if (step !== null) {
      const change = event.shiftKey ? stretched : moved
      this.#box = change(this.#box, step.x, step.y)
      this.#listener.preview(this.#box)
    } else if (event.key === 'Enter') this.#finish(this.#box)
    else if (event.key === 'Escape') this.#listener.cancelled()
    else return
    event.preventDefault()
  }

  /**
   * @param {PointerEvent} event
   * @returns {Point}
   */
  #pointOf(event) {
    const { left, top, width, height } = this.#surface.getBoundingClientRect()
    return { x: (event.clientX - left) / width, y: (event.clientY - top) / height }
  }
}

/**
 * @param {Box} box
 * @param {string} corner `nw`, `ne`, `sw` or `se`
 * @returns {Point}
 */
function opposite([left, top, right, bottom], corner) {
  return { x: corner.endsWith('w') ? right : left, y: corner.startsWith('n') ? bottom : top }
}

/**
 * @param {string} key
 * @returns {Point | null}
 */
function stepOf(key) {
  switch (key) {
    case 'ArrowLeft':
      return { x: -keyStep, y: 0 }
    case 'ArrowRight':
      return { x: keyStep, y: 0 }
    case 'ArrowUp':
      return { x: 0, y: -keyStep }
    case 'ArrowDown':
      return { x: 0, y: keyStep }
    default:
      return null
  }
}
