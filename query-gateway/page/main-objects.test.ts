import { expect, test } from 'vitest'
import type { Box } from './box.js'
import { mainObjects } from './main-objects.js'

const seen = (...objects: readonly (readonly [Box, number])[]) => objects.map(([box, score]) => ({ box, score }))

// Boxes and scores as the bundled detector gives them for the rooms named.
test('a lamp is one thing, although the detector is surer of its foot (room 017)', () => {
  const microwave: Box = [0.37, 0.48, 0.66, 0.8]
  const foot: Box = [0.17, 0.69, 0.23, 0.91]
  const lamp: Box = [0.12, 0.57, 0.29, 0.94]
  const shade: Box = [0.12, 0.57, 0.29, 0.7]
  const base: Box = [0.16, 0.85, 0.24, 0.92]
  const objects = seen([microwave, 0.36], [foot, 0.31], [lamp, 0.2], [shade, 0.12], [base, 0.1])
  expect([...mainObjects(objects)]).toEqual([0, 2])
})

test('an unsure box around a sure thing and half of its neighbour is none (room 008)', () => {
  const dryer: Box = [0.73, 0.29, 0.98, 0.8]
  const calendar: Box = [0.36, 0.22, 0.61, 0.65]
  const both: Box = [0.47, 0.29, 0.98, 0.81]
  expect([...mainObjects(seen([dryer, 0.61], [calendar, 0.41], [both, 0.12]))]).toEqual([0, 1])
})

test('an unsure box around two sofas is none of them (room 022)', () => {
  const left: Box = [0.27, 0.61, 0.49, 0.71]
  const right: Box = [0.52, 0.62, 0.74, 0.76]
  const group: Box = [0.27, 0.61, 0.76, 0.77]
  expect([...mainObjects(seen([left, 0.29], [right, 0.28], [group, 0.12]))]).toEqual([0, 1])
})

test('things on a table stay things beside it', () => {
  const table: Box = [0, 0.3, 1, 1]
  const vase: Box = [0.4, 0.4, 0.5, 0.6]
  expect([...mainObjects(seen([table, 0.8], [vase, 0.6]))]).toEqual([0, 1])
})

test('nothing seen is nothing', () => {
  expect([...mainObjects([])]).toEqual([])
})
