import { connect, createServer } from 'node:net'

/**
 * Servers that are killed and started again keep their port, so it lies below the ranges that systems give to outgoing
 * connections (from 32768 on Linux): else a client that reconnects meanwhile may be given the very port of the server
 * it calls, and hold it.
 */
const firstPort = 15_000
const lastPort = 31_999

/** Distinct ports of 127.0.0.1 that nobody listens on now. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const found = new Set<number>()
  while (found.size < count) {
    const port = firstPort + Math.floor(Math.random() * (lastPort - firstPort + 1))
    if (await isPortFree(port)) found.add(port)
  }
  return [...found]
}

export async function freePort(): Promise<number> {
  const [port] = await freePorts(1)
  return port!
}

/** True when a server could listen on this port of 127.0.0.1. */
export function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(false)
      else reject(error)
    })
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
  })
}

/** True when a server accepts connections on this port of 127.0.0.1. */
export function acceptsConnections(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
