import { expect, test } from 'vitest'
import { FreshetError } from '../schemas/errors.ts'
import { ImageHosts } from './image-hosts.ts'

const busy = new FreshetError('image-host-busy', 'busy')
const isTrouble = (thrown: unknown) => (thrown === busy ? { pauseMs: 0 } : null)
let now = 0

test('a few requests at a time, the others in order', async () => {
  const hosts = open()
  const gates = Array.from({ length: 4 }, () => Promise.withResolvers<void>())
  const begun: number[] = []
  const visits = gates.map((gate, i) =>
    visit(hosts, () => {
      begun.push(i)
      return gate.promise
    }),
  )
  await turn()
  expect(begun).toEqual([0, 1])
  gates[1]!.resolve()
  await visits[1]
  await turn()
  expect(begun).toEqual([0, 1, 2])
  for (const gate of gates) gate.resolve()
  await Promise.all(visits)
  expect(begun).toEqual([0, 1, 2, 3])
})

test('trouble begins a pause that doubles; meanwhile requests fail at once, those of other hosts do not', async () => {
  const hosts = open()
  await expect(visit(hosts, fail)).rejects.toBe(busy)
  await expect(visit(hosts, succeed)).rejects.toMatchObject({ details: { retryAfterMs: 1_000 } })
  expect(await visit(hosts, succeed, 'other')).toBe('done')
  now += 1_000
  await expect(visit(hosts, fail)).rejects.toBe(busy)
  now += 1_999
  await expect(visit(hosts, succeed)).rejects.toMatchObject({ code: 'image-host-busy', retryable: true })
  now += 1
  expect(await visit(hosts, succeed)).toBe('done')
  expect(await visit(hosts, succeed)).toBe('done')
})

test('those who wait for a host that gets into trouble are told at once', async () => {
  const hosts = open()
  const gate = Promise.withResolvers<void>()
  const running = [visit(hosts, () => gate.promise), visit(hosts, () => gate.promise)]
  const waiting = visit(hosts, succeed)
  gate.reject(busy)
  for (const result of await Promise.allSettled([...running, waiting]))
    expect(result).toMatchObject({ status: 'rejected', reason: { code: 'image-host-busy' } })
})

test('the host says how long', async () => {
  const hosts = open()
  await expect(hosts.visit('host', fail, () => ({ pauseMs: 30_000 }))).rejects.toBe(busy)
  now += 29_999
  await expect(visit(hosts, succeed)).rejects.toMatchObject({ details: { retryAfterMs: 1 } })
})

test('what is the fault of one picture does not stop the host', async () => {
  const hosts = open()
  await expect(visit(hosts, () => Promise.reject(new FreshetError('image-not-found', 'gone')))).rejects.toThrow('gone')
  expect(await visit(hosts, succeed)).toBe('done')
})

test('only so many wait', async () => {
  const hosts = open()
  const gate = Promise.withResolvers<void>()
  const visits = Array.from({ length: 5 }, () => visit(hosts, () => gate.promise))
  await expect(visit(hosts, succeed)).rejects.toMatchObject({ code: 'image-host-busy' })
  gate.resolve()
  await Promise.all(visits)
})

test('of ever new hosts in trouble only the newest are remembered', async () => {
  const hosts = new ImageHosts({ maxPerHost: 2, maxWaitingPerHost: 3, clock: () => now, maxHosts: 2 })
  for (const host of ['a', 'b', 'c']) await expect(visit(hosts, fail, host)).rejects.toBe(busy)
  await expect(visit(hosts, succeed, 'c')).rejects.toMatchObject({ code: 'image-host-busy' })
  await expect(visit(hosts, succeed, 'b')).rejects.toMatchObject({ code: 'image-host-busy' })
  expect(await visit(hosts, succeed, 'a')).toBe('done')
})

const succeed = async () => 'done'
const fail = () => Promise.reject(busy)
const turn = () => new Promise(setImmediate)

function open(): ImageHosts {
  return new ImageHosts({ maxPerHost: 2, maxWaitingPerHost: 3, clock: () => now })
}

function visit<T>(hosts: ImageHosts, call: () => Promise<T>, host = 'host'): Promise<T> {
  return hosts.visit(host, call, isTrouble)
}
