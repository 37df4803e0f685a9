import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { FreshetError } from '../schemas/errors.ts'
import { BulkAnswer } from '../schemas/http-items.ts'
import type { AppendedRecord } from '../topologies/event-log.ts'
import { bulkAnswers } from './bulk-answers.ts'
import { CatalogIntake } from './catalog-intake.ts'
import { expectShape } from './testing/expect-shape.ts'
import { type GatewayFixture, openGateway, picture } from './testing/gateway-fixture.ts'

let gateway: GatewayFixture
let port: number

beforeEach(async () => {
  gateway = await openGateway()
  port = await listen(gateway)
})

afterEach(() => gateway.close())

async function listen({ app }: GatewayFixture): Promise<number> {
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  return Number(new URL(address).port)
}

const lineOf = (i: number) =>
  `{"itemId":"item-${i}","images":["https://shop.example/${i}.jpg"],"title":"Product ${i}"}\n`

const post = (body: string | Uint8Array, of = gateway) =>
  of.app.inject({
    method: 'POST',
    url: '/v1/items',
    headers: { 'content-type': 'application/x-ndjson' },
    payload: body,
  })

const answersIn = (text: string): readonly BulkAnswer[] =>
  text
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line))

/** A bulk request whose body is sent as the test says, in chunked encoding. */
async function openStream(toPort: number): Promise<Socket> {
  const socket = connect(toPort, '127.0.0.1')
  await once(socket, 'connect')
  socket.write('POST /v1/items HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n')
  return socket
}

const chunk = (text: string) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`

describe('a bulk stream', () => {
  test('answers each line in order; a line that is refused harms no neighbour', async () => {
    const { digest } = await gateway.blobs.put(picture, picture.length)
    const lines = [
      lineOf(1),
      `{"upsert":{"itemId":"b","images":["blob:${digest}"]}}\n`,
      `{"itemId":"c","images":["blob:${'0'.repeat(64)}"]}\n`,
      '{"itemId":"d","images":["https://a.example/"],"price":"9"}\n',
      '{ not json\n',
      '\n',
      '{"delete":{"itemId":"e"}}\n',
      '{"itemId":"f","deleted":true}',
    ]
    const response = await post(lines.join(''))
    expect(response.statusCode).toBe(200)
    expect(response.headers['content-type']).toContain('application/x-ndjson')
    const answers = answersIn(response.body)
    for (const answer of answers) expectShape(BulkAnswer, answer)
    expect(answers.map(answer => [answer.line, 'error' in answer ? answer.error.code : 'accepted'])).toEqual([
      [1, 'accepted'],
      [2, 'accepted'],
      [3, 'blob-not-found'],
      [4, 'bad-request'],
      [5, 'bad-request'],
      [7, 'accepted'],
      [8, 'accepted'],
    ])
    const events = await gateway.catalog()
    expect(new Set(events.map(event => 'itemId' in event && event.itemId))).toEqual(new Set(['item-1', 'b', 'e', 'f']))
    const { receipt } = answers[0] as { receipt: string }
    expect((await gateway.app.inject(`/v1/receipts/${receipt}`)).json()).toMatchObject({
      itemId: 'item-1',
      status: 'accepted',
    })
  })

  test('takes any content type, and nothing at all', async () => {
    const plain = await gateway.app.inject({
      method: 'POST',
      url: '/v1/items',
      payload: lineOf(1),
      headers: { 'content-type': 'text/plain' },
    })
    expect(answersIn(plain.body)).toHaveLength(1)
    expect([(await post('')).statusCode, (await post('')).body]).toEqual([200, ''])
    const none = await gateway.app.inject({ method: 'POST', url: '/v1/items' })
    expect([none.statusCode, none.body]).toEqual([200, ''])
  })

  test('keeps the order of events of one item', async () => {
    const lines = Array.from(
      { length: 3000 },
      (_, i) => `{"itemId":"same","imageUrl":"https://a.example/","title":"${i}"}\n`,
    )
    await post(lines.join(''))
    const titles = (await gateway.catalog()).map(event => 'title' in event && event.title)
    expect(titles).toEqual(lines.map((_, i) => String(i)))
  })

  test('tells each line when the log refuses, and goes on', async () => {
    let calls = 0
    const append: GatewayFixture['log']['append'] = (topic, records) => {
      if (calls++ === 0) return Promise.reject(new FreshetError('storage-full', 'the disk is full'))
      return gateway.log.append(topic, records)
    }
    const flaky = await openGateway({ ports: { log: { append, offsets: gateway.log.offsets.bind(gateway.log) } } })
    const answers = answersIn((await post(Array.from({ length: 600 }, (_, i) => lineOf(i)).join(''), flaky)).body)
    expect(answers).toHaveLength(600)
    expect(answers[0]).toMatchObject({ line: 1, error: { code: 'storage-full', retryable: true } })
    expect(answers[599]).toMatchObject({ line: 600, receipt: expect.any(String) })
    await flaky.close()
  })
})

describe('backpressure', () => {
  const turns = async (count: number) => {
    for (let i = 0; i < count; i++) await nextTurn()
  }

  /** A body without end that counts the lines taken from it, and an intake that counts those appended. */
  function endless(append: GatewayFixture['log']['append']) {
    const counts = { taken: 0, appended: 0 }
    async function* lines(): AsyncGenerator<Buffer> {
      for (;;) {
        counts.taken += 100
        yield Buffer.from(lineOf(1).repeat(100))
      }
    }
    const log = {
      append: (...call: Parameters<typeof append>) => {
        counts.appended += call[1].length
        return append(...call)
      },
    }
    const intake = new CatalogIntake({ ...gateway.ports, log: { ...gateway.ports.log, ...log } }, () => undefined)
    const draining = new AbortController()
    return {
      counts,
      answers: bulkAnswers({
        body: lines(),
        intake,
        trace: {},
        draining: draining.signal,
        calm: async () => undefined,
      }),
    }
  }

  test('no more is read while four batches wait to be durable', async () => {
    const gate = Promise.withResolvers<readonly AppendedRecord[]>()
    const { counts, answers } = endless(() => gate.promise)
    const first = answers.next()
    await turns(200)
    expect(counts).toEqual({ taken: 400, appended: 400 })
    gate.reject(new FreshetError('storage-failed', 'over'))
    expect((await first).value).toContain('storage-failed')
    await answers.return()
  })

  test('no more is read while the answers are not taken', async () => {
    const { counts, answers } = endless((topic, records) => gateway.log.append(topic, records))
    await answers.next()
    const { taken } = counts
    await turns(200)
    expect(counts.taken).toBe(taken)
    expect(taken).toBeLessThanOrEqual(500)
    await answers.return()
  })
})

describe('over a socket', () => {
  test('60,000 lines with a bad one at 50,001, and a reader that takes its time', async () => {
    const total = 60_000
    async function* body(): AsyncGenerator<Uint8Array> {
      for (let i = 1; i <= total; i += 500)
        yield Buffer.from(
          Array.from({ length: 500 }, (_, j) => (i + j === 50_001 ? '{"itemId":\n' : lineOf(i + j))).join(''),
        )
    }
    const response = await fetch(`http://127.0.0.1:${port}/v1/items`, { method: 'POST', body: body(), duplex: 'half' })
    let text = ''
    for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
      text += part
      await nextTurn()
    }
    const answers = answersIn(text)
    expect(answers).toHaveLength(total)
    expect(answers.every((answer, i) => answer.line === i + 1)).toBe(true)
    const refused = answers.filter(answer => 'error' in answer)
    expect(refused).toMatchObject([{ line: 50_001, error: { code: 'bad-request' } }])
    expect(await gateway.catalog()).toHaveLength(total - 1)
  })

  test('a line is answered before the next is sent', async () => {
    const socket = await openStream(port)
    socket.setEncoding('utf8')
    let received = ''
    for (let i = 1; i <= 3; i++) {
      socket.write(chunk(lineOf(i)))
      while (!received.includes(`"line":${i}`)) received += (await once(socket, 'data'))[0]
    }
    socket.end('0\r\n\r\n')
    await once(socket, 'close')
  })

  test('a sender that goes away leaves what was accepted, and no half line', async () => {
    const socket = await openStream(port)
    socket.write(chunk(`${lineOf(1) + lineOf(2)}{"delete":{"itemId":"item-1"}}`))
    let received = ''
    socket.setEncoding('utf8')
    while (!received.includes('"line":2')) received += (await once(socket, 'data'))[0]
    socket.destroy()
    await once(socket, 'close')
    const answer = await gateway.app.inject('/healthz')
    expect(answer.statusCode).toBe(200)
    expect((await gateway.catalog()).map(({ type }) => type)).toEqual(['ItemUpserted', 'ItemUpserted'])
  })

  test('a stream that is open when the server drains is answered as far as it came, and ended', async () => {
    const socket = await openStream(port)
    socket.setEncoding('utf8').write(chunk(lineOf(1)))
    let received = ''
    while (!received.includes('"line":1')) received += (await once(socket, 'data'))[0]
    const closing = gateway.app.close()
    socket.on('data', text => (received += text))
    await once(socket, 'close')
    await closing
    expect(received.trimEnd().endsWith('0')).toBe(true)
  })
})
