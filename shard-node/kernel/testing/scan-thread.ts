import { parentPort, workerData } from 'node:worker_threads'
import { type RowMemoryHandle, scratchRows } from '../row-memory.ts'
import { WasmKernel } from '../wasm-kernel.ts'

/** Given to a worker thread that answers every snapshot it is sent with the rows that a scan of it finds. */
export interface ScanThreadData {
  readonly handle: RowMemoryHandle
  readonly thread: number
}

export interface ScannedSnapshot {
  readonly sequence: number
  readonly rows: number
}

const { handle, thread } = workerData as ScanThreadData
const kernel = new WasmKernel(handle, thread)
const zero = new Float32Array(handle.shape.dims)
kernel.prepare(zero, zero)

parentPort?.on('message', ({ sequence, rows }: ScannedSnapshot) => {
  const scanned = kernel.scan({ from: 0, to: rows, sequence, filtered: false }, scratchRows)
  parentPort?.postMessage(scanned.rows.slice())
})
parentPort?.postMessage('ready')
