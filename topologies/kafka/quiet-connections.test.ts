import RequestQueue from 'kafkajs/src/network/requestQueue/index.js'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { quietIdleConnections } from './quiet-connections.ts'

let queue: RequestQueue

beforeEach(() => {
  quietIdleConnections()
  queue = new RequestQueue({
    maxInFlightRequests: null,
    requestTimeout: 1_000,
    enforceRequestTimeout: false,
    clientId: 'test',
    broker: '127.0.0.1:1',
    logger: { debug: () => {} },
  })
})
afterEach(() => queue.destroy())

const isScheduled = () => queue.throttleCheckTimeoutId !== null && queue.throttleCheckTimeoutId !== undefined

test('a connection over which nothing waits sets no timer', () => {
  queue.checkPendingRequests()
  expect(isScheduled()).toBe(false)
})

test('a broker that throttles, or a request that waits, is looked after', () => {
  queue.throttledUntil = Date.now() + 60_000
  queue.checkPendingRequests()
  expect(isScheduled()).toBe(true)
  queue.destroy()
  expect(isScheduled()).toBe(false)
  queue.pending.push({})
  queue.checkPendingRequests()
  expect(isScheduled()).toBe(true)
})

test('told again, it still is', () => {
  quietIdleConnections()
  quietIdleConnections()
  queue.throttledUntil = Date.now() + 60_000
  queue.checkPendingRequests()
  expect(isScheduled()).toBe(true)
})
