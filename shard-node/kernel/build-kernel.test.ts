import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { compileKernel } from './build-kernel.ts'

test('the committed binary is what the source compiles to', async () => {
  const committed = readFileSync(new URL('kernel.wasm', import.meta.url))
  expect(Buffer.from(await compileKernel()).equals(committed)).toBe(true)
})
