import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { expect, test } from 'vitest'
import { acceptsConnections, freePorts, isPortFree } from './free-ports.ts'

test('ports are distinct, free, and out of the way of outgoing connections', async () => {
  const ports = await freePorts(50)
  expect(new Set(ports).size).toBe(50)
  expect(Math.max(...ports)).toBeLessThan(32_768)
  expect(await Promise.all(ports.map(isPortFree))).not.toContain(false)
})

test('a port that a server listens on is not free, and accepts connections until the server is gone', async () => {
  const server = createServer(socket => socket.end()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  expect([await isPortFree(port), await acceptsConnections(port)]).toEqual([false, true])
  server.close()
  await once(server, 'close')
  expect([await isPortFree(port), await acceptsConnections(port)]).toEqual([true, false])
})
