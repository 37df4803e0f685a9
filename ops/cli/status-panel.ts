import type { Status } from '../../schemas/http-operations.ts'
import { printable, renderTable } from './table.ts'
import type { Colors } from './terminal.ts'

export interface PanelOptions {
  readonly url: string
  readonly columns: number
  readonly colors: Colors
  /** Index ages of earlier looks, oldest first; drawn as a line of blocks. */
  readonly pastIndexAgesMs: readonly number[]
}

/** The state of a server as lines for a terminal. */
export function renderStatusPanel(status: Status, options: PanelOptions): readonly string[] {
  const { colors, columns } = options
  const label = (text: string): string => colors.dim(text.padEnd(10))
  return [
    headline(status, options),
    '',
    `${label('items')}${itemLine(status, colors, columns)}`,
    `${label('freshness')}${freshnessLine(status, options)}`,
    `${label('rates')}${ratesLine(status)}`,
    `${label('work')}${workLine(status, colors)}`,
    ...status.pipeline.alarms.map(
      ({ code, message }) => `${label('alarm')}${colors.red(`${printable(message)} (${code})`)}`,
    ),
    '',
    ...generationLines(status, colors),
    '',
    ...replicaLines(status, columns),
    '',
    ...processLines(status, colors),
  ]
}

function headline({ ready, atMs }: Status, { url, columns, colors }: PanelOptions): string {
  const state = ready ? colors.green('● ready') : colors.yellow('● not ready')
  const right = `${url}  ${new Date(atMs).toISOString().slice(11, 19)}`
  const gap = Math.max(2, columns - 'freshet  ● '.length - (ready ? 5 : 9) - right.length)
  return `${colors.bold('freshet')}  ${state}${' '.repeat(gap)}${colors.dim(right)}`
}

function itemLine({ items }: Status, colors: Colors, columns: number): string {
  const { searchable, pending, failed, deleted } = items
  const counts = [
    `${colors.green(String(searchable))} searchable`,
    `${pending > 0 ? colors.yellow(String(pending)) : '0'} pending`,
    `${failed > 0 ? colors.red(String(failed)) : '0'} failed`,
    `${deleted} deleted`,
  ].join(' · ')
  const live = searchable + pending + failed
  if (pending === 0 || live === 0) return counts
  const width = Math.max(8, Math.min(30, columns - 70))
  const done = Math.floor((searchable / live) * width)
  return `${colors.green('━'.repeat(done))}${colors.dim('─'.repeat(width - done))} ${counts}`
}

function freshnessLine({ indexAgeMs }: Status, { colors, pastIndexAgesMs }: PanelOptions): string {
  const age = `index age ${duration(indexAgeMs)}`
  const judged = indexAgeMs < 1_000 ? colors.green(age) : indexAgeMs < 10_000 ? colors.yellow(age) : colors.red(age)
  return pastIndexAgesMs.length < 2 ? judged : `${judged}  ${colors.dim(blocks(pastIndexAgesMs))}`
}

const heights = '▁▂▃▄▅▆▇█'

/** Values as blocks, the largest (or a second, if less) being the full height. */
export function blocks(values: readonly number[]): string {
  const top = Math.max(1_000, ...values)
  return values.map(value => heights[Math.min(7, Math.floor((value / top) * 8))]).join('')
}

function ratesLine({ rates }: Status): string {
  const parts = Object.entries(rates).map(([name, value]) => `${name} ${value.toFixed(value < 10 ? 1 : 0)}/s`)
  return parts.length === 0 ? '–' : parts.join(' · ')
}

function workLine({ pipeline }: Status, colors: Colors): string {
  const { queue, deadLetters } = pipeline
  const waiting = `waiting ${queue.live} live, ${queue.standby} standby, ${queue.backfill} backfill`
  const letters = `${deadLetters} dead letters`
  return `${waiting} · in work ${queue.claimed} · delayed ${queue.delayed} · ${deadLetters > 0 ? colors.red(letters) : letters}`
}

function generationLines({ generations }: Status, colors: Colors): readonly string[] {
  return generations.map(({ id, model, dims, state, share }) => {
    const name = share > 0 ? colors.bold(id) : id
    return `generation ${name}  ${state}, ${Math.round(share * 100)}% of queries, model ${model} (${dims} dimensions)`
  })
}

function replicaLines({ shards }: Status, columns: number): readonly string[] {
  const rows = shards.flatMap(({ shard, replicas }) => replicas.map(replica => ({ shard, ...replica })))
  return renderTable(
    rows,
    [
      { name: 'shard', of: row => String(row.shard), align: 'right' },
      { name: 'replica', of: row => row.id },
      { name: 'state', of: row => (row.reason === null ? row.state : `${row.state}: ${row.reason}`), flexible: true },
      { name: 'age', of: row => duration(row.indexAgeMs), align: 'right' },
      { name: 'rows', of: row => String(row.rows), align: 'right' },
      { name: 'tombstones', of: row => String(row.tombstones), align: 'right' },
      { name: 'segments', of: row => String(row.segments), align: 'right' },
      { name: 'memory', of: row => mebibytes(row.memoryBytes), align: 'right' },
      { name: 'searches', of: row => String(row.searchMs.count), align: 'right' },
      { name: 'p50', of: row => `${row.searchMs.p50.toFixed(1)} ms`, align: 'right' },
      { name: 'p99', of: row => `${row.searchMs.p99.toFixed(1)} ms`, align: 'right' },
    ],
    columns,
  )
}

function processLines({ pipeline }: Status, colors: Colors): readonly string[] {
  return pipeline.processes.map(({ name, pid, state, restarts }) => {
    const shown = state === 'running' ? colors.green('●') : colors.yellow('●')
    const again = restarts === 0 ? '' : colors.yellow(`, restarted ${restarts} times`)
    return `${shown} ${name}  ${state}${pid === null ? '' : ` (pid ${pid})`}${again}`
  })
}

function duration(ms: number): string {
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`
  return ms < 3_600_000 ? `${(ms / 60_000).toFixed(1)} min` : `${(ms / 3_600_000).toFixed(1)} h`
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`
