import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openKeyValueStore } from '../topologies/embedded/embedded-key-value-store.ts'
import { TemporaryEnvironment } from '../topologies/embedded/testing/temporary-environment.ts'
import { BlobStore } from './blob-store.ts'
import { HttpImages } from './http-images.ts'
import { ImageSource } from './image-source.ts'
import { temporaryDirectory } from './testing/temporary-directory.ts'

const gif = (name: string) => Buffer.from(`GIF89a ${name}`)
const plainly = { imageVersion: '', refresh: false }

let temporary: TemporaryEnvironment
let directory: string
let blobs: BlobStore
let http: HttpImages
let source: ImageSource
let server: Server
let url: string
/** What the host sends now, and the If-None-Match of each request. */
let offered = gif('first')
let requests: (string | undefined)[] = []

beforeAll(async () => {
  temporary = await TemporaryEnvironment.create()
  directory = await temporaryDirectory()
  await mkdir(join(directory, 'root'))
  blobs = await BlobStore.open({
    directory: join(directory, 'blobs'),
    maxBytes: 1_000_000,
    isReferenced: async () => new Set(),
    clock: () => 0,
  })
  http = new HttpImages({ clock: () => 0, allowPrivateHosts: true })
  source = await ImageSource.open({
    blobs,
    http,
    store: openKeyValueStore(await temporary.open(), 'references'),
    fileRoots: [join(directory, 'root')],
    maxReferences: 1_000,
    random: () => 0,
  })
  server = createServer((request, response) => {
    requests.push(request.headers['if-none-match'])
    const etag = `"${offered}"`
    if (request.headers['if-none-match'] === etag) response.writeHead(304).end()
    else response.writeHead(200, { etag }).end(offered)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
})

afterAll(async () => {
  server.close()
  await http.close()
  await temporary.dispose()
})

let pictures = 0
beforeEach(() => {
  offered = gif('first')
  requests = []
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/${++pictures}.gif`
})

describe('http', () => {
  test('is fetched once, however often it is listed', async () => {
    const digest = await source.resolve(url, plainly)
    expect(await blobs.read(digest)).toEqual(gif('first'))
    offered = gif('second')
    expect(await source.resolve(url, plainly)).toBe(digest)
    expect(requests).toEqual([undefined])
  })

  test('another image version means other bytes', async () => {
    const first = await source.resolve(url, plainly)
    offered = gif('second')
    const second = await source.resolve(url, { imageVersion: '2', refresh: false })
    expect(second).not.toBe(first)
    expect(await blobs.read(second)).toEqual(gif('second'))
  })

  test('refresh asks whether it changed', async () => {
    const first = await source.resolve(url, plainly)
    expect(await source.resolve(url, { ...plainly, refresh: true })).toBe(first)
    offered = gif('second')
    expect(await source.resolve(url, { ...plainly, refresh: true })).not.toBe(first)
    expect(requests).toEqual([undefined, '"GIF89a first"', '"GIF89a first"'])
  })

  test('a failure is not remembered', async () => {
    offered = Buffer.from('<html>')
    await expect(source.resolve(url, plainly)).rejects.toMatchObject({ code: 'image-format' })
    offered = gif('first')
    expect(await blobs.read(await source.resolve(url, plainly))).toEqual(gif('first'))
  })
})

describe('uploads', () => {
  test('are found by their digest', async () => {
    const { digest } = await blobs.put(gif('uploaded'), 1_000)
    expect(await source.resolve(`blob:${digest}`, plainly)).toBe(digest)
  })

  test.each(['0'.repeat(64), '../../etc/passwd', ''])('blob:%s is not there', async name => {
    await expect(source.resolve(`blob:${name}`, plainly)).rejects.toMatchObject({ code: 'blob-not-found' })
  })
})

describe('files', () => {
  const inRoot = (name: string) => pathToFileURL(join(directory, 'root', name)).href

  test('under a root are read, and kept as they were', async () => {
    await writeFile(join(directory, 'root', 'chair 1.gif'), gif('file'))
    const digest = await source.resolve(inRoot('chair 1.gif'), plainly)
    expect(await blobs.read(digest)).toEqual(gif('file'))
    await writeFile(join(directory, 'root', 'chair 1.gif'), gif('changed'))
    expect(await source.resolve(inRoot('chair 1.gif'), plainly)).toBe(digest)
    expect(await source.resolve(inRoot('chair 1.gif'), { ...plainly, refresh: true })).not.toBe(digest)
  })

  test('that are not there', async () => {
    await expect(source.resolve(inRoot('none.gif'), plainly)).rejects.toMatchObject({ code: 'image-not-found' })
  })

  test('elsewhere are refused, and so is every way there', async () => {
    await writeFile(join(directory, 'secret.gif'), gif('secret'))
    await symlink(join(directory, 'secret.gif'), join(directory, 'root', 'link.gif'))
    await symlink(directory, join(directory, 'root', 'up'))
    await mkdir(join(directory, 'root-of-others'))
    await writeFile(join(directory, 'root-of-others', 'a.gif'), gif('others'))
    const refused = [
      pathToFileURL(join(directory, 'secret.gif')).href,
      pathToFileURL(join(directory, 'missing.gif')).href,
      `${inRoot('')}../secret.gif`,
      `${inRoot('')}%2e%2e/secret.gif`,
      inRoot('link.gif'),
      inRoot('up/secret.gif'),
      pathToFileURL(join(directory, 'root-of-others', 'a.gif')).href,
      inRoot(''),
      'file://other-host/a.gif',
      'file:///a%2fb.gif',
    ]
    for (const reference of refused)
      await expect(source.resolve(reference, plainly), reference).rejects.toMatchObject({ code: 'image-not-allowed' })
  })

  test('of no length, and folders', async () => {
    await writeFile(join(directory, 'root', 'empty.gif'), '')
    await mkdir(join(directory, 'root', 'folder'))
    await expect(source.resolve(inRoot('empty.gif'), plainly)).rejects.toMatchObject({ code: 'image-empty' })
    await expect(source.resolve(inRoot('folder'), plainly)).rejects.toMatchObject({ code: 'image-not-allowed' })
  })
})

test.each(['ftp://a/b.gif', 'data:image/gif;base64,AAAA', 'chair.gif', ''])(
  '%s is no image reference',
  async reference => {
    await expect(source.resolve(reference, plainly)).rejects.toMatchObject({ code: 'image-scheme' })
  },
)

test('a root that does not exist stops the start', async () => {
  const store = openKeyValueStore(await temporary.open(), 'elsewhere')
  const options = { blobs, http, store, fileRoots: ['/nowhere'], maxReferences: 1, random: () => 0 }
  await expect(ImageSource.open(options)).rejects.toMatchObject({ code: 'config-invalid' })
})
