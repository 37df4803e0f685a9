import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { isAlive, ServerProcess } from './server-process.ts'

const startScript = (script: string, isReady: (output: string) => Promise<boolean>, readyWithinMs = 30_000) =>
  ServerProcess.start({ name: 'the script', command: 'sh', args: ['-c', script], isReady, readyWithinMs })

test('it is started when it is ready, and gone when it is stopped', async () => {
  const server = await startScript('echo loading; echo ready; exec sleep 600', async output => output.includes('ready'))
  expect(server.output()).toBe('loading\nready')
  expect(isAlive(server.pid)).toBe(true)
  await server.stop()
  expect(server.isRunning).toBe(false)
  expect(isAlive(server.pid)).toBe(false)
  await server.stop()
})

test('a server that ignores SIGTERM is killed', async () => {
  const deaf = 'trap "" TERM; echo ready; while :; do sleep 0.1; done'
  const server = await startScript(deaf, async output => output.includes('ready'))
  await server.stop()
  expect(isAlive(server.pid)).toBe(false)
})

test('a server that exits before it is ready: the error has its exit code and what it printed', async () => {
  await expect(startScript('echo "no such disk" >&2; exit 3', async () => false)).rejects.toThrow(
    'the script exited with 3 before it was ready. Its last lines:\nno such disk',
  )
})

test('a server that is late is ended', async () => {
  let output = ''
  const late = startScript(
    'echo "pid $$"; exec sleep 600',
    async printed => {
      output = printed
      return false
    },
    500,
  )
  await expect(late).rejects.toThrow('the script was not ready within 500 ms')
  expect(isAlive(Number(/pid (\d+)/.exec(output)![1]))).toBe(false)
})

test('a program that is not there is named', async () => {
  const start = ServerProcess.start({
    name: 'the server',
    command: 'no-such-program',
    args: [],
    isReady: async () => true,
    readyWithinMs: 1_000,
  })
  await expect(start).rejects.toThrow('the server cannot be started: the program no-such-program was not found.')
})

test('a server ends with its owner, even one that is killed', async () => {
  const owner = spawn(process.execPath, [join(import.meta.dirname, 'testing', 'own-server.ts')])
  const [printed] = (await once(owner.stdout, 'data')) as [Buffer]
  const pid = Number(printed.toString())
  expect(isAlive(pid)).toBe(true)
  owner.kill('SIGKILL')
  await vi.waitUntil(() => !isAlive(pid), { timeout: 30_000 })
})
