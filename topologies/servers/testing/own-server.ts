import { writeSync } from 'node:fs'
import { ServerProcess } from '../server-process.ts'

/** A process that owns a server and is killed by the test. Prints the server's pid once it is ready. */
const server = await ServerProcess.start({
  name: 'the sleeper',
  command: 'sleep',
  args: ['600'],
  isReady: async () => true,
  readyWithinMs: 10_000,
})
writeSync(1, `${server.pid}\n`)
