import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { FreshetClient } from '../schemas/client.ts'
import type { ClientOptions } from '../schemas/client-transport.ts'
import { type ErrorCode, FreshetError } from '../schemas/errors.ts'
import type { BulkLine } from '../schemas/http-items.ts'

type Answer = (response: ServerResponse, request: IncomingMessage) => void

const servers: Server[] = []

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close()
    server.closeAllConnections()
  }
})

/** A server that answers with these in turn, the last one for ever; what it was asked, and the pauses of the client. */
async function answering(answers: readonly Answer[], options: Partial<ClientOptions> = {}) {
  const asked: IncomingMessage[] = []
  const pausesMs: number[] = []
  const server = createServer((request, response) => {
    request.resume()
    asked.push(request)
    answers[Math.min(asked.length, answers.length) - 1]!(response, request)
  })
  servers.push(server)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const client = new FreshetClient({
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    pause: async ms => {
      pausesMs.push(ms)
    },
    ...options,
  })
  return { client, asked, pausesMs }
}

const json =
  (body: unknown, status = 200, headers: Record<string, string> = {}): Answer =>
  response =>
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))

const failing = (code: ErrorCode, headers: Record<string, string> = {}): Answer => {
  const error = new FreshetError(code, `it is ${code}`)
  return json(error.toBody(), error.httpStatus, headers)
}
const cut: Answer = response => response.destroy()
const silent: Answer = () => undefined
const models = json({ models: [] })

describe('a failure that may pass', () => {
  test('is tried again, after the pause the server asks for', async () => {
    const busy = failing('overloaded', { 'retry-after': '7' })
    const { client, asked, pausesMs } = await answering([busy, failing('rate-limited', { 'retry-after': '3' }), models])
    expect(await client.models()).toEqual({ models: [] })
    expect(asked).toHaveLength(3)
    expect(pausesMs).toEqual([7_000, 3_000])
  })

  test('is told when it does not pass, and the pauses grow', async () => {
    const { client, asked, pausesMs } = await answering([failing('not-ready')])
    await expect(client.models({ attempts: 4 })).rejects.toMatchObject({ code: 'not-ready', retryable: true })
    expect(asked).toHaveLength(4)
    expect(pausesMs).toHaveLength(3)
    expect(pausesMs[2]!).toBeGreaterThan(pausesMs[0]!)
  })

  test('is told at once where the pause is longer than the call may take', async () => {
    const { client, asked, pausesMs } = await answering([failing('overloaded', { 'retry-after': '60' })])
    await expect(client.models({ timeoutMs: 5_000 })).rejects.toMatchObject({ code: 'overloaded' })
    expect([asked.length, pausesMs.length]).toEqual([1, 0])
  })

  test('may be a connection that breaks, also in the middle of an answer', async () => {
    const half: Answer = response => {
      response.writeHead(200, { 'content-length': '100' }).write('{"models"')
      response.socket!.end()
    }
    const { client, asked } = await answering([cut, half, models])
    expect(await client.models()).toEqual({ models: [] })
    expect(asked).toHaveLength(3)
  })

  test('of a write is tried again, with its body', async () => {
    const accepted = { receipt: 'r', itemId: 'a', partition: 0, version: '1' }
    const { client, asked } = await answering([cut, failing('log-unavailable'), json(accepted, 202)])
    expect(await client.publish({ itemId: 'a', images: ['https://shop.example/a.jpg'] })).toEqual(accepted)
    expect(asked.map(({ method, headers }) => [method, headers['content-type']])).toEqual(
      Array.from({ length: 3 }, () => ['PUT', 'application/json']),
    )
  })
})

describe('a call is not made again', () => {
  test.each<ErrorCode>(['bad-request', 'item-not-found', 'forbidden', 'image-host-busy'])('for %s', async code => {
    const { client, asked } = await answering([failing(code)])
    await expect(client.item('a')).rejects.toMatchObject({ code })
    expect(asked).toHaveLength(1)
  })

  test('where it would be done twice, unless the server did not begin', async () => {
    const { client, asked } = await answering([failing('not-ready'), cut])
    await expect(client.backup('/b')).rejects.toMatchObject({ code: 'not-ready', message: /answers at/ })
    expect(asked).toHaveLength(2)
  })

  test('where the caller wants one attempt', async () => {
    const { client, asked } = await answering([failing('overloaded')], { attempts: 1 })
    await expect(client.models()).rejects.toMatchObject({ code: 'overloaded' })
    expect(asked).toHaveLength(1)
  })

  test('when what was sent was a stream', async () => {
    async function* bytes(): AsyncGenerator<Uint8Array> {
      yield Uint8Array.of(1)
    }
    const { client, asked } = await answering([failing('overloaded')])
    await expect(client.putBlob(bytes())).rejects.toMatchObject({ code: 'overloaded' })
    expect(asked).toHaveLength(1)
  })
})

describe('a call ends', () => {
  test('when it took too long, also with its answer half there', async () => {
    const { client } = await answering([silent])
    await expect(client.models({ timeoutMs: 30 })).rejects.toMatchObject({ code: 'timeout', message: /30 ms/ })
    const begun: Answer = response => response.writeHead(200).write('{')
    const { client: other } = await answering([begun])
    await expect(other.models({ timeoutMs: 30 })).rejects.toMatchObject({ code: 'timeout' })
  })

  test('when the caller gives it up, at work or in a pause', async () => {
    const giving = new AbortController()
    const { client } = await answering([() => giving.abort()])
    await expect(client.models({ signal: giving.signal })).rejects.toMatchObject({
      code: 'timeout',
      message: /given up/,
    })
    const pausing = new AbortController()
    const { client: other, asked } = await answering([failing('overloaded')], { pause: async () => pausing.abort() })
    await expect(other.models({ signal: pausing.signal })).rejects.toMatchObject({ code: 'timeout' })
    expect(asked).toHaveLength(1)
  })
})

test('the API key is shown with every call, and in no failure', async () => {
  const { client, asked } = await answering([failing('forbidden')], { apiKey: 's3cret' })
  const thrown: FreshetError = await client.models().catch(error => error)
  expect(asked[0]!.headers.authorization).toBe('Bearer s3cret')
  expect(`${thrown.stack} ${JSON.stringify(thrown)}`).not.toContain('s3cret')
})

test('a code of a newer server is told with whether it may pass', async () => {
  const error = { code: 'of-tomorrow', message: 'it is new', retryable: true, details: { a: 1 } }
  const { client } = await answering([json({ error }, 409)])
  await expect(client.models()).rejects.toMatchObject({
    retryable: true,
    message: 'it is new (of-tomorrow)',
    details: { code: 'of-tomorrow', details: { a: 1 } },
  })
})

describe('a bulk stream', () => {
  const lines: readonly BulkLine[] = ['a', 'b'].map(itemId => ({ delete: { itemId } }))

  async function read(client: FreshetClient): Promise<unknown> {
    const answers: unknown[] = []
    try {
      for await (const answer of client.bulk(lines)) answers.push(answer)
    } catch (thrown) {
      return [...answers, (thrown as FreshetError).code]
    }
    return answers
  }

  test('that the server ends before the last line is told, with what was answered before', async () => {
    const { client } = await answering([response => response.end('{"line":1,"receipt":"r"}\n')])
    expect(await read(client)).toEqual([{ line: 1, receipt: 'r' }, 'not-ready'])
  })

  test('that is refused is told, and not sent again', async () => {
    const { client, asked } = await answering([failing('overloaded')])
    expect(await read(client)).toEqual(['overloaded'])
    expect(asked).toHaveLength(1)
  })
})

test('events come as they are sent, in whatever pieces', async () => {
  const texts = [
    'event: sta',
    'tus\ndata: {"status":{"atMs":1},"recent":[]}\n',
    '\n: a comment\n\nevent: other\n',
    'data: {}\n\n',
  ]
  const { client } = await answering([
    response => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      const next = (): void => {
        const text = texts.shift()
        if (text === undefined) response.end('event: status\ndata: {"status":{"atMs":2},"recent":[]}\n\n')
        else response.write(text, () => setImmediate(next))
      }
      next()
    },
  ])
  const seen: number[] = []
  for await (const { status } of client.events()) seen.push(status.atMs)
  expect(seen).toEqual([1, 2])
})
