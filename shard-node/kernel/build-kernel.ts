import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import asc from 'assemblyscript/asc'

const sourceName = 'kernel.ts'
const binaryName = 'kernel.wasm'

const compilerOptions = [
  ['-O3', '--noAssert', '--runtime', 'stub'],
  ['--enable', 'simd', '--enable', 'threads'],
  ['--importMemory', '--sharedMemory', '--initialMemory', '1', '--maximumMemory', '65536'],
].flat()

/** The WebAssembly module of `assembly/kernel.ts`: the same bytes on every machine. */
export async function compileKernel(): Promise<Uint8Array> {
  const source = readFileSync(new URL(`assembly/${sourceName}`, import.meta.url), 'utf8')
  let binary: Uint8Array | undefined
  const { error, stderr } = await asc.main([sourceName, '--outFile', binaryName, ...compilerOptions], {
    readFile: name => (name === sourceName ? source : null),
    writeFile: (name, contents) => {
      if (name === binaryName && typeof contents !== 'string') binary = contents
    },
    listFiles: () => [],
  })
  if (error !== null || binary === undefined)
    throw new Error(`the kernel does not compile\n${stderr}`, { cause: error })
  return binary
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(new URL(binaryName, import.meta.url), await compileKernel())
}
