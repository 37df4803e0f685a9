import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { LoadClient } from './load-client.ts'

const type = 'Content-Type: text/plain\r\n'
let server: Server
let client: LoadClient

async function opened(listener: RequestListener, connections = 2): Promise<void> {
  server = createServer(listener)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  client = new LoadClient(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, { connections })
}

afterEach(async () => {
  client.close()
  await new Promise(resolve => server.close(resolve))
})

const echo: RequestListener = async (request, response) => {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  const body = Buffer.concat(parts)
  response.writeHead(body.includes('refuse') ? 503 : 200, { 'content-length': body.length })
  // In two parts, the head and one byte first.
  response.write(body.subarray(0, 1))
  setTimeout(() => response.end(body.subarray(1)), 5)
}

test('each request has its own answer, over as many connections as allowed', async () => {
  const sockets = new Set<unknown>()
  await opened((request, response) => {
    sockets.add(request.socket)
    echo(request, response)
  })
  const bodies = Array.from({ length: 20 }, (_, i) => (i % 3 === 0 ? `refuse ${i}` : `x${'y'.repeat(i * 5_000)}`))
  const answers = await Promise.all(bodies.map(body => client.post('/any', body, type)))
  expect(answers.map(({ body }) => body.toString())).toEqual(bodies)
  expect(answers.map(({ status }) => status)).toEqual(bodies.map((_, i) => (i % 3 === 0 ? 503 : 200)))
  expect(sockets.size).toBe(2)
})

test('an answer that does not come is an error, and the next request has a connection of its own', async () => {
  await opened((request, response) => {
    if (request.url === '/cut') request.socket.destroy()
    else echo(request, response)
  }, 1)
  const cut = client.post('/cut', 'a', type)
  const behind = client.post('/any', 'b', type)
  await expect(cut).rejects.toThrow('before the answer')
  expect((await behind).body.toString()).toBe('b')
  expect((await client.post('/any', 'c', type)).body.toString()).toBe('c')
})

test('an answer of unknown length is told, not waited for', async () => {
  await opened((_, response) => {
    response.write('a')
    response.end('b')
  })
  await expect(client.post('/any', 'a', type)).rejects.toThrow('does not tell its length')
})
