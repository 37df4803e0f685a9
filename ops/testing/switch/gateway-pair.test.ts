import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { GatewayPair, wasCut } from './gateway-pair.ts'

const names = ['one', 'other'] as const
type Name = (typeof names)[number]

let servers: Map<Name, Server>
let pair: GatewayPair
/** What each does with a request. */
let answers: Record<Name, (path: string, response: ServerResponse) => void>
let asked: string[]

const well = (_: string, response: ServerResponse) => {
  response.setHeader('content-type', 'application/json').end('{}')
}
const breakOff = (_: string, response: ServerResponse) => {
  response.destroy()
}
const breakOffLater = (_: string, response: ServerResponse) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' })
  response.write('{', () => response.destroy())
}

beforeEach(async () => {
  answers = { one: well, other: well }
  asked = []
  servers = new Map()
  const urls = new Map<string, string>()
  for (const name of names) {
    const server = createServer(listenerOf(name))
    await new Promise<void>(resolve => {
      server.listen(0, '127.0.0.1', resolve)
    })
    servers.set(name, server)
    urls.set(name, `http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  }
  pair = new GatewayPair(urls)
})

afterEach(() => {
  for (const server of servers.values()) server.close().closeAllConnections()
})

function listenerOf(name: Name): RequestListener {
  return (request, response) => {
    request.resume().on('end', () => {
      asked.push(name)
      answers[name](request.url!, response)
    })
  }
}

const search = () => pair.client.search({ image: { itemId: 'lamp' } })
const failureOf = (call: Promise<unknown>) => call.then(() => null).catch((thrown: unknown) => thrown)

test.each([breakOff, breakOffLater])('a search whose gateway was killed is made again to the other one', async how => {
  answers.one = (path, response) => {
    pair.killed('one')
    how(path, response)
  }
  await search()
  await search()
  await search()
  expect([asked, pair.resent]).toEqual([['one', 'other', 'other', 'other'], 1])
  answers.one = well
  pair.isBack('one')
  await search()
  await search()
  expect(asked.slice(4).toSorted()).toEqual([...names])
})

test.each([breakOff, breakOffLater])('one that breaks while its gateway lives has failed', async how => {
  answers.one = how
  expect(wasCut(await failureOf(search()))).toBe(false)
  expect([asked, pair.resent]).toEqual([['one'], 0])
})

test('an error that a gateway answers is no kill, also while the other one is away', async () => {
  pair.killed('one')
  answers.one = answers.other = (_, response) => {
    response.writeHead(503, { 'content-type': 'application/json' })
    response.end('{"error":{"code":"not-ready","message":"it starts","retryable":true}}')
  }
  const failure = await failureOf(search())
  expect(failure).toMatchObject({ code: 'not-ready', message: 'it starts' })
  expect([wasCut(failure), pair.resent]).toEqual([false, 0])
})

test('a step is made once: where it was cut the operator is told, and which gateway had it in hand', async () => {
  answers.one = (path, response) => {
    expect(pair.operated).toBe('one')
    pair.killed('one')
    breakOff(path, response)
  }
  const route = () => pair.client.routeGeneration('g2', { share: 1, reason: 'a test' })
  expect(wasCut(await failureOf(route()))).toBe(true)
  expect([asked, pair.operated]).toEqual([['one'], null])
  await route()
  expect(asked).toEqual(['one', 'other'])
})

test('lines come as they are written, and end with the gateway', async () => {
  answers.one = (_, response) => {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    response.write('{"progress":{"done":1,"total":2,"what":"partitions"}}\n')
  }
  const seen: unknown[] = []
  const reading = (async () => {
    for await (const line of pair.client.verifyGeneration('g2', { reason: 'a test' })) {
      seen.push(line)
      pair.killed('one')
      servers.get('one')!.closeAllConnections()
    }
  })()
  expect(wasCut(await failureOf(reading))).toBe(true)
  expect(seen).toHaveLength(1)
})
