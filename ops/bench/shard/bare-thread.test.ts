import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { BareThread } from './bare-thread.ts'
import { BareUsearch, buildBareUsearch } from './bare-usearch.ts'
import { ClusteredData } from './clustered-data.ts'
import { queryAt } from './search-load.ts'

const directory = mkdtempSync(join(tmpdir(), 'freshet-bare-'))

afterEach(() => rmSync(directory, { recursive: true, force: true }))

test('a thread answers what the library answers', async () => {
  const data = new ClusteredData({ seed: 3, dims: 32 })
  const file = buildBareUsearch(data.block(0, 500).vectors, { path: join(directory, 'bare'), dims: 32 })
  const bare = new BareUsearch(file, 20)
  const thread = await BareThread.open(bare, file.path, 10)
  const queries = { vectors: data.block(0, 8, 'queries').vectors, dims: 32, count: 8 }
  for (let i = 0; i < queries.count; i++) {
    const query = queryAt(queries, i)
    expect(await thread.search(query)).toEqual(bare.search(query, 10))
  }
  await thread.close()
})
