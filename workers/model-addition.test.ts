import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { cp, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type AddModelOptions, addModel } from './model-addition.ts'
import { bundledModels } from './model-manifest.ts'
import { ModelStore } from './model-store.ts'
import { onnxRuntime } from './onnx-runtime.ts'
import { temporaryDirectory } from './testing/temporary-directory.ts'
import { clip, tinyModelDirectory } from './testing/tiny-model.ts'

let directory: string
let store: ModelStore

const addTo = (options: AddModelOptions) => addModel(store, onnxRuntime, options)

beforeEach(async () => {
  directory = await temporaryDirectory()
  store = new ModelStore(directory)
})

describe('from a directory', () => {
  test('a model is tried, kept, and opened as it was given', async () => {
    const source = { directory: await tinyModelDirectory(clip) }
    const { set, isNew } = await addTo({ source })
    expect([set.name, isNew]).toEqual(['mine', true])
    expect(await store.names()).toEqual(['v1', 'v2', 'mine'])
    expect(await new ModelStore(directory).open('mine')).toEqual(set)
    expect(await readdir(join(directory, 'tmp'))).toEqual([])
  })

  test('the same again changes nothing; another one of the name is refused', async () => {
    const source = { directory: await tinyModelDirectory(clip) }
    const { set } = await addTo({ source })
    expect(await addTo({ source })).toMatchObject({ isNew: false, set })
    const other = { directory: await tinyModelDirectory({ ...clip, seed: 2 }) }
    await expect(addTo({ source: other })).rejects.toMatchObject({
      code: 'model-invalid',
      message: expect.stringContaining(set.fingerprint),
    })
    const reserved = { directory: await tinyModelDirectory(clip, { name: 'v1' }) }
    await expect(addTo({ source: reserved })).rejects.toMatchObject({ code: 'model-invalid' })
  })

  test('of the models that come with Freshet a set is taken with what it needs, its detector once', async () => {
    const renamed = await temporaryDirectory()
    await cp(bundledModels, renamed, { recursive: true })
    const text = await readFile(join(renamed, 'manifest.json'), 'utf8')
    await writeFile(
      join(renamed, 'manifest.json'),
      text.replace('"v1": {', '"first": {').replace('"v2": {', '"second": {'),
    )
    const source = { directory: renamed }
    await expect(addTo({ source })).rejects.toMatchObject({ message: expect.stringContaining('first, second') })
    for (const name of ['first', 'second']) {
      const { trial } = await addTo({ source, name })
      expect(trial.goldens.length).toBeGreaterThan(4)
    }
    expect(await readdir(join(directory, 'files'))).toHaveLength(3)
    expect(await store.open('first')).toMatchObject({ fingerprint: (await store.open('v1')).fingerprint })
  })

  test('what is refused leaves nothing', async () => {
    const source = { directory: await tinyModelDirectory({ ...clip, broken: true }) }
    await expect(addTo({ source })).rejects.toMatchObject({ code: 'model-invalid' })
    expect(await store.names()).toEqual(['v1', 'v2'])
    expect(await readdir(join(directory, 'tmp'))).toEqual([])
  })
})

describe('from a web server', () => {
  let files: string
  let server: Server
  let url: string
  /** What each request was for, with the range it asked for. */
  let asked: string[]
  /** Takes over answering; false: it did not. */
  let meddle: (request: IncomingMessage, response: ServerResponse, bytes: Buffer) => boolean

  beforeEach(async () => {
    files = await tinyModelDirectory(clip)
    asked = []
    meddle = () => false
    server = createServer((request, response) => void serve(request, response))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/models/manifest.json`
  })
  afterEach(async () => {
    server.closeAllConnections()
    await new Promise(resolve => server.close(resolve))
  })

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const name = request.url!.replace('/models/', '')
    const { range } = request.headers
    asked.push(range === undefined ? name : `${name} ${range}`)
    const bytes = await readFile(join(files, name)).catch(() => null)
    if (bytes === null) response.writeHead(404).end()
    else if (!meddle(request, response, bytes)) answer(response, bytes, range)
  }

  function answer(response: ServerResponse, bytes: Buffer, range: string | undefined): void {
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0)
    const rest = bytes.subarray(from)
    const headers = {
      'content-length': rest.length,
      'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
    }
    response.writeHead(range === undefined ? 200 : 206, headers).end(rest)
  }

  /** Sends so many bytes from a place on, and breaks off once the other side has written them down. */
  async function breakOff(response: ServerResponse, bytes: Buffer, { from, count }: { from: number; count: number }) {
    const headers = {
      'content-length': bytes.length - from,
      'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
    }
    response.writeHead(from === 0 ? 200 : 206, headers)
    response.write(bytes.subarray(from, from + count))
    await vi.waitFor(async () => {
      const [name] = await readdir(join(directory, 'partial'))
      expect((await stat(join(directory, 'partial', name!))).size).toBe(from + count)
    })
    response.socket!.destroy()
  }

  const add = () => addTo({ source: { url } })
  const isModel = (request: IncomingMessage): boolean => request.url!.endsWith('.onnx')

  test('a model is fetched, tried and kept', async () => {
    const progress: number[] = []
    const { set, isNew } = await addTo({ source: { url }, onProgress: ({ bytes }) => progress.push(bytes) })
    expect([set.name, isNew]).toEqual(['mine', true])
    expect(progress.at(-1)).toBe((await stat(join(files, 'encoder.onnx'))).size)
    expect(await readdir(join(directory, 'partial'))).toEqual([])
  })

  test('a file that breaks off goes on where it was', async () => {
    let breaks = 2
    meddle = (request, response, bytes) => {
      if (!isModel(request) || breaks-- <= 0) return false
      const from = Number(/\d+/.exec(request.headers.range ?? '0')![0])
      void breakOff(response, bytes, { from, count: 1_000 })
      return true
    }
    await add()
    expect(asked).toEqual(['manifest.json', 'encoder.onnx', 'encoder.onnx bytes=1000-', 'encoder.onnx bytes=2000-'])
  })

  test('a server that goes away is told; the next call goes on where this one ended', async () => {
    meddle = (request, response, bytes) => {
      if (!isModel(request)) return false
      if (request.headers.range !== undefined) response.writeHead(503).end()
      else void breakOff(response, bytes, { from: 0, count: 500 })
      return true
    }
    await expect(add()).rejects.toMatchObject({ code: 'model-unavailable', retryable: true })
    meddle = () => false
    asked = []
    await add()
    expect(asked).toEqual(['manifest.json', 'encoder.onnx bytes=500-'])
  })

  test('a server without ranges gives the file from the start', async () => {
    let first = true
    meddle = (request, response, bytes) => {
      if (!isModel(request)) return false
      if (first) void breakOff(response, bytes, { from: 0, count: 500 })
      else response.writeHead(200, { 'content-length': bytes.length }).end(bytes)
      first = false
      return true
    }
    expect((await add()).isNew).toBe(true)
  })

  test('bytes of another digest are refused and not kept', async () => {
    meddle = (request, response, bytes) => {
      if (!isModel(request)) return false
      response.end(Buffer.from(bytes).fill(0, 100, 200))
      return true
    }
    await expect(add()).rejects.toMatchObject({ code: 'model-invalid', message: expect.stringContaining('SHA-256') })
    expect(await readdir(join(directory, 'partial'))).toEqual([])
  })

  test.each([
    [403, 'model-invalid', 1],
    [404, 'model-invalid', 1],
    [500, 'model-unavailable', 5],
  ])('an answer of %i is %s, after %i attempts', async (status, code, attempts) => {
    meddle = (_, response) => {
      response.writeHead(status).end()
      return true
    }
    await expect(add()).rejects.toMatchObject({ code })
    expect(asked).toHaveLength(attempts)
  })

  test('redirects are followed, but not for ever', async () => {
    meddle = (request, response) => {
      if (!request.url!.includes('/models/manifest')) return false
      response.writeHead(302, { location: '/models/manifest.json' }).end()
      return true
    }
    await expect(add()).rejects.toMatchObject({ code: 'model-unavailable' })
    let redirected = false
    meddle = (request, response) => {
      if (!isModel(request) || redirected) return false
      redirected = true
      response.writeHead(307, { location: request.url }).end()
      return true
    }
    expect((await add()).isNew).toBe(true)
  })

  test('a call that is given up ends at once', async () => {
    const giveUp = new AbortController()
    meddle = request => {
      if (isModel(request)) giveUp.abort(new Error('enough'))
      return isModel(request)
    }
    await expect(addTo({ source: { url }, signal: giveUp.signal })).rejects.toThrow('enough')
  })
})

test('digests in the store are those of the files', async () => {
  await addTo({ source: { directory: await tinyModelDirectory(clip) } })
  const [name] = await readdir(join(directory, 'files'))
  expect(
    createHash('sha256')
      .update(await readFile(join(directory, 'files', name!)))
      .digest('hex'),
  ).toBe(name)
})

test.each(['../../outside', 'UPPER', 'a b', '..'])(
  'a set that calls itself %s is refused before anything of it is used',
  async name => {
    const source = { directory: await tinyModelDirectory(clip, { name }) }
    await expect(addTo({ source })).rejects.toMatchObject({ code: 'model-invalid' })
    await expect(addTo({ source, name })).rejects.toMatchObject({ code: 'model-invalid' })
    expect(await readdir(directory)).not.toContain('sets')
  },
)
