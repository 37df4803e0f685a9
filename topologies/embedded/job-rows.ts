import type { WorkPriority } from '../../schemas/embed-job.ts'
import { FreshetError } from '../../schemas/errors.ts'
import type { EmbeddedEnvironment } from './environment.ts'

/*
 * Rows of the embedded work queue, by job number. Integers are big-endian.
 *
 * jobs       key  number u48
 *            row  time added in ms u48 · not before in ms u48 · priority u8 · id length u16 · id in UTF-8 · payload
 * jobStates  key  number u48; exists once the job has been claimed or put back, and overrides its row in `jobs`
 *            row  attempts u32 · not before in ms u48 · priority u8 · order u48 (place in its line)
 */

export interface StoredJob {
  readonly number: number
  readonly id: string
  readonly addedAtMs: number
  readonly notBeforeMs: number
  readonly priority: WorkPriority
  readonly attempt: number
  readonly order: number
}

export const priorities = ['live', 'standby', 'backfill'] as const satisfies readonly WorkPriority[]
const fixedJobBytes = 15
const maxIdBytes = 0xffff

export function jobKey(number: number): Buffer {
  const key = Buffer.allocUnsafe(6)
  key.writeUIntBE(number, 0, 6)
  return key
}

/** @throws FreshetError `record-too-large` */
export function requireJobId(id: string): void {
  const bytes = Buffer.byteLength(id)
  if (bytes > maxIdBytes)
    throw new FreshetError('record-too-large', `a job id has ${bytes} bytes, the limit is ${maxIdBytes}`)
}

export function encodeJob(job: Omit<StoredJob, 'number' | 'attempt' | 'order'>, payload: Uint8Array): Buffer {
  const idBytes = Buffer.byteLength(job.id)
  const row = Buffer.allocUnsafe(fixedJobBytes + idBytes + payload.length)
  row.writeUIntBE(job.addedAtMs, 0, 6)
  row.writeUIntBE(job.notBeforeMs, 6, 6)
  row[12] = priorities.indexOf(job.priority)
  row.writeUInt16BE(idBytes, 13)
  row.write(job.id, fixedJobBytes)
  row.set(payload, fixedJobBytes + idBytes)
  return row
}

/** The payload, which shares the row's memory. */
export function payloadOf(row: Buffer): Buffer {
  return row.subarray(fixedJobBytes + row.readUInt16BE(13))
}

export function encodeJobState(job: Pick<StoredJob, 'attempt' | 'notBeforeMs' | 'priority' | 'order'>): Buffer {
  const row = Buffer.allocUnsafe(17)
  row.writeUInt32BE(job.attempt, 0)
  row.writeUIntBE(job.notBeforeMs, 4, 6)
  row[10] = priorities.indexOf(job.priority)
  row.writeUIntBE(job.order, 11, 6)
  return row
}

/** All stored jobs in the order of their lines. */
export function loadJobs(environment: EmbeddedEnvironment): readonly StoredJob[] {
  const all = { start: Buffer.alloc(1), end: Buffer.alloc(6, 0xff) }
  const jobs = Array.from(environment.range('jobs', all), ({ key, value }) => {
    const stored = decodeJob(key.readUIntBE(0, 6), value)
    const state = environment.get('jobStates', key)
    return state === undefined ? stored : { ...stored, ...decodeJobState(state) }
  })
  return jobs.sort((a, b) => a.order - b.order)
}

function decodeJob(number: number, row: Buffer): StoredJob {
  return {
    number,
    id: row.toString('utf8', fixedJobBytes, fixedJobBytes + row.readUInt16BE(13)),
    addedAtMs: row.readUIntBE(0, 6),
    notBeforeMs: row.readUIntBE(6, 6),
    priority: priorities[row[12]!]!,
    attempt: 0,
    order: number,
  }
}

function decodeJobState(row: Buffer): Pick<StoredJob, 'attempt' | 'notBeforeMs' | 'priority' | 'order'> {
  return {
    attempt: row.readUInt32BE(0),
    notBeforeMs: row.readUIntBE(4, 6),
    priority: priorities[row[10]!]!,
    order: row.readUIntBE(11, 6),
  }
}
