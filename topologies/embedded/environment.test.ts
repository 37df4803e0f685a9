import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { asPartition } from '../../schemas/ids.ts'
import { EmbeddedEventLog } from './embedded-event-log.ts'
import { EmbeddedFeatureStore } from './embedded-feature-store.ts'
import { openKeyValueStore } from './embedded-key-value-store.ts'
import { EmbeddedWorkQueue } from './embedded-work-queue.ts'
import { EmbeddedEnvironment } from './environment.ts'
import { TemporaryEnvironment } from './testing/temporary-environment.ts'

const topic = {
  name: 't',
  partitions: 2,
  compacted: false,
  retentionMs: null,
  minCompactionLagMs: 0,
  tombstoneRetentionMs: 0,
}
const record = { partition: asPartition(0), key: Buffer.from('k'), value: Buffer.from('v') }
const job = { id: 'job', priority: 'live', payload: Buffer.from('p'), delayMs: 0 } as const
const row = (name: string) => Buffer.from(name)

let temporary: TemporaryEnvironment
let environment: EmbeddedEnvironment

beforeEach(async () => {
  temporary = await TemporaryEnvironment.create()
  environment = await temporary.open()
})

afterEach(() => temporary.dispose())

const put = (name: string) => environment.write(batch => batch.put('keyValues', row(name), row('1')))
const stored = (name: string) => environment.get('keyValues', row(name)) !== undefined
const failing = () =>
  environment.write(() => {
    throw new RangeError('the operation broke')
  })

describe('group commit', () => {
  test('a write resolves with its operations’ result, once its rows can be read', async () => {
    expect(await environment.write(batch => batch.put('keyValues', row('a'), row('1')) ?? 42)).toBe(42)
    expect(stored('a')).toBe(true)
  })

  test('nothing is visible before it is durable', async () => {
    const written = put('a')
    expect(stored('a')).toBe(false)
    await written
  })

  test('all writes of one tick, of all ports, are one transaction: when one fails, none is stored', async () => {
    const log = new EmbeddedEventLog(environment)
    const queue = new EmbeddedWorkQueue(environment)
    const features = new EmbeddedFeatureStore(environment)
    const store = openKeyValueStore(environment, 'items')
    await log.ensureTopic(topic)
    const writeAll = () => [
      log.append('t', [record]),
      queue.add([job]),
      features.raise([{ key: 'f', value: 1 }], 1000),
      store.write([{ key: 'a', value: Buffer.from('1') }]),
    ]
    const outcomes = await Promise.allSettled([...writeAll(), failing(), ...writeAll()])
    const codes = outcomes.map(outcome => outcome.status === 'rejected' && outcome.reason)
    expect(codes[4]).toBeInstanceOf(RangeError)
    expect(codes.toSpliced(4, 1).map(error => error.code)).toEqual(Array(8).fill('storage-failed'))
    expect((await log.offsets('t')).get(record.partition)).toEqual({ start: 0, end: 0 })
    expect(await queue.known(['job'])).toEqual(new Set())
    expect(await features.read(['f'])).toEqual([undefined])
    expect(store.get('a')).toBeUndefined()
    const [appended] = await Promise.all(writeAll())
    expect(appended).toEqual([{ partition: 0, offset: 0, appendTimeMs: temporary.now }])
    expect((await queue.claim(5, 1000, 0)).map(({ id }) => id)).toEqual(['job'])
  })

  test('a failing write leaves those of other ticks alone', async () => {
    const before = put('before')
    await new Promise(setImmediate)
    const broken = failing()
    await new Promise(setImmediate)
    const after = put('after')
    await expect(broken).rejects.toThrow('the operation broke')
    await Promise.all([before, after])
    expect([stored('before'), stored('after')]).toEqual([true, true])
  })

  test('while the event loop is busy all the time, writes of several ticks share transactions', async () => {
    const settledIn = new Set<number>()
    const written: Promise<void>[] = []
    const writes = 12
    let turn = 0
    while (settledIn.size === 0 || written.length < writes) {
      const until = performance.now() + 1
      while (performance.now() < until);
      turn++
      if (written.length < writes) written.push(environment.write(batch => batch.onSettled(() => settledIn.add(turn))))
      await new Promise(setImmediate)
    }
    await Promise.all(written)
    expect(settledIn.size).toBeLessThan(writes / 2)
  })

  test('what was changed in memory is undone in reverse when a transaction fails', async () => {
    const undone: string[] = []
    const change = (name: string) =>
      environment.write(batch => batch.onSettled(committed => undone.push(`${name} ${committed}`)))
    await Promise.allSettled([change('first'), change('second'), failing()])
    expect(undone).toEqual(['second false', 'first false'])
  })

  test('a row key out of bounds is refused before anything of the batch is written', async () => {
    const tooLong = environment.write(batch => {
      batch.put('keyValues', row('a'), row('1'))
      batch.put('keyValues', Buffer.alloc(1979, 1), row('1'))
    })
    await expect(tooLong).rejects.toMatchObject({ code: 'record-too-large' })
    expect(stored('a')).toBe(false)
  })

  test('a tick larger than a transaction’s bounds stays whole, and later ticks follow in order', async () => {
    const results: number[] = []
    const many = Array.from({ length: 6000 }, (_, index) =>
      environment
        .write(batch => batch.put('keyValues', row(`many-${index}`), row('1')))
        .then(() => results.push(index)),
    )
    await Promise.all(many)
    expect(results).toEqual(Array.from({ length: 6000 }, (_, index) => index))
    expect(stored('many-5999')).toBe(true)
  })

  test('two adapters that each think they own a table are refused; one after the other is fine', async () => {
    const first = new EmbeddedEventLog(environment)
    expect(() => new EmbeddedEventLog(environment)).toThrow('two adapters of one environment would write records')
    await first.close()
    await new EmbeddedEventLog(environment).ensureTopic(topic)
  })

  test('closing waits for writes under way and refuses later ones', async () => {
    const written = [put('a'), put('b')]
    await environment.close()
    await Promise.all(written)
    await expect(put('c')).rejects.toMatchObject({ code: 'not-ready' })
    expect(() => stored('a')).toThrow('the storage is closed')
    environment = await temporary.open()
    expect([stored('a'), stored('b')]).toEqual([true, true])
  })
})

describe('space', () => {
  test('below the free space asked for, growing writes are refused, reads and reclaiming writes go on', async () => {
    await put('a')
    await environment.close()
    const options = { directory: environment.directory, clock: () => 0, minFreeBytes: Number.MAX_SAFE_INTEGER }
    const full = await EmbeddedEnvironment.open(options)
    try {
      await expect(full.write(batch => batch.put('keyValues', row('b'), row('1')))).rejects.toMatchObject({
        code: 'storage-full',
        retryable: true,
      })
      expect(full.get('keyValues', row('a'))).toBeDefined()
      await full.write(batch => batch.remove('keyValues', row('a')), { reclaims: true })
      expect(full.get('keyValues', row('a'))).toBeUndefined()
    } finally {
      await full.close()
    }
  })

  test('at its bound of bytes it refuses growing writes until rows are removed', async () => {
    await environment.close()
    const options = { directory: environment.directory, clock: () => 0, maxBytes: 2 ** 20, minFreeBytes: 0 }
    const bounded = await EmbeddedEnvironment.open(options)
    try {
      const fill = async () => {
        for (let index = 0; ; index++)
          await bounded.write(batch => batch.put('keyValues', row(`k-${index}`), Buffer.alloc(50_000)))
      }
      await expect(fill()).rejects.toMatchObject({ code: 'storage-full' })
      const rows = [...bounded.range('keyValues', { start: row('k'), end: row('l') })]
      expect(rows.length).toBeGreaterThan(10)
      await bounded.write(
        batch => {
          for (const { key } of rows) batch.remove('keyValues', key)
        },
        { reclaims: true },
      )
      await bounded.write(batch => batch.put('keyValues', row('again'), row('1')))
      expect(bounded.get('keyValues', row('again'))).toBeDefined()
    } finally {
      await bounded.close()
    }
  })
})

describe('copy', () => {
  test('a copy taken while writes go on opens as a consistent state', async () => {
    const copyDirectory = join(temporary.directory, 'copy')
    let isCopying = true
    let round = 0
    const write = async () => {
      for (; isCopying; round++) {
        await environment.write(batch => {
          for (const name of ['left', 'right']) {
            batch.put('keyValues', row(`${name}-${round}`), Buffer.alloc(1000))
            batch.put('keyValues', row(name), row(`${round}`))
          }
        })
      }
    }
    const writing = write()
    while (round < 50) await new Promise(setImmediate)
    const before = round
    await environment.copyTo(copyDirectory)
    isCopying = false
    await writing

    const copy = await EmbeddedEnvironment.open({ directory: copyDirectory, clock: () => 0, minFreeBytes: 0 })
    try {
      const [left, right] = ['left', 'right'].map(name => copy.get('keyValues', row(name))!.toString())
      expect(left).toBe(right)
      expect(Number(left)).toBeGreaterThanOrEqual(before - 1)
      for (let index = 0; index <= Number(left); index++)
        expect(copy.get('keyValues', row(`right-${index}`))).toHaveLength(1000)
      expect(copy.get('keyValues', row(`left-${Number(left) + 1}`))).toBeUndefined()
      await copy.write(batch => batch.put('keyValues', row('new'), row('1')))
    } finally {
      await copy.close()
    }
  })

  test('a copy holds no free pages', async () => {
    for (let index = 0; index < 20; index++)
      await environment.write(batch => batch.put('keyValues', row(`k-${index}`), Buffer.alloc(100_000)))
    await environment.write(batch => {
      for (let index = 0; index < 20; index++) batch.remove('keyValues', row(`k-${index}`))
    })
    const copyDirectory = join(temporary.directory, 'copy')
    await environment.copyTo(copyDirectory)
    const [original, copy] = await Promise.all(
      [environment.directory, copyDirectory].map(async directory => (await stat(join(directory, 'data.mdb'))).size),
    )
    expect(copy).toBeLessThan(original! / 10)
  })

  test('a directory that holds something is refused and left alone', async () => {
    await expect(environment.copyTo(environment.directory)).rejects.toMatchObject({ code: 'storage-failed' })
    expect(await readdir(environment.directory)).toContain('data.mdb')
    await put('still works')
  })
})
