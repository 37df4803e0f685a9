import type {
  BuildAnswer,
  GenerationDetail,
  GenerationView,
  HistoryEntry,
  ProofResult,
  StepAnswer,
} from '../../schemas/http-generations.ts'
import { generationStates } from '../../schemas/http-generations.ts'
import { printable, renderTable } from './table.ts'
import type { Terminal } from './terminal.ts'

type Width = Pick<Terminal, 'columns' | 'colors'>

/** Answers about generations as people read them. */
export function generationTable(generations: readonly GenerationView[], { columns }: Width): readonly string[] {
  return renderTable(
    generations,
    [
      { name: 'id', of: row => row.id },
      { name: 'model', of: row => row.model },
      { name: 'state', of: row => row.state },
      { name: 'queries', of: row => percent(row.share), align: 'right' },
      { name: 'built', of: built, align: 'right' },
      { name: 'items', of: row => String(row.items.searchable), align: 'right' },
      { name: 'age', of: row => (row.indexAgeMs === null ? '–' : duration(row.indexAgeMs)), align: 'right' },
      { name: 'replicas', of: row => `${row.replicas.ready}/${row.replicas.total}`, align: 'right' },
      { name: 'certificate', of: row => row.certificate?.against ?? '–' },
      { name: 'canary', of: row => (row.canary === null ? '–' : 'passed') },
    ],
    columns,
  )
}

export function generationPage(shown: GenerationDetail, width: Width): readonly string[] {
  const { id, state, share, model, dims, shards, rebuild, items, indexAgeMs, replicas, from, history } = shown
  const { bold, dim, green } = width.colors
  const states = generationStates.map(each => (each === state ? green(`[${each}]`) : dim(each))).join(' → ')
  const age = indexAgeMs === null ? 'no replica answers' : `index age ${duration(indexAgeMs)}`
  const copied = from === null ? '' : `, objects copied from ${from}`
  return [
    `${bold(id)}  ${states}`,
    line(
      'queries',
      `${percent(share)}${shown.routedAtMs === null ? ', never had any' : `, since ${time(shown.routedAtMs)}`}`,
    ),
    line('model', `${model}, ${dims} dimensions, ${shards} ${shards === 1 ? 'shard' : 'shards'}${copied}`),
    line('started', `${time(shown.startedAtMs)} by ${shown.startedBy}: ${shown.startedReason}`),
    line('built', `${built(shown)}, ${rebuildText(rebuild)}`),
    line('items', `${items.searchable} searchable, ${items.pending} pending, ${items.failed} failed`),
    line('replicas', `${replicas.ready} of ${replicas.total} ready, ${age}`),
    line('certificate', evidenceText(shown.certificate)),
    line('canary', evidenceText(shown.canary)),
    ...(shown.retirableAtMs === null ? [] : [line('warm until', time(shown.retirableAtMs))]),
    line('may', allowed(shown).join(', ') || 'nothing'),
    ...shown.steps
      .filter(step => !step.allowed)
      .map(({ step, missing }) => line('', dim(`${step} needs ${missing.join(' and ')}`))),
    '',
    ...historyTable(history, width),
  ]
}

export function buildText({ id, estimate, generation }: BuildAnswer): readonly string[] {
  const { items, toEmbed, msPerImage, measured, workers, durationMs, diskBytes, diskFreeBytes, memoryBytes, notes } =
    estimate
  const free =
    diskFreeBytes === null ? '; what is free is unknown here' : ` of ${megabytes(diskFreeBytes)} that are free`
  const perImage = msPerImage === null ? '' : ` × ${msPerImage.toFixed(0)} ms (${measured}) ÷ ${workers} at once`
  return [
    generation === null ? `${id} would take` : `${id} is being built; it takes about`,
    line('time', `${duration(durationMs)}: ${toEmbed} of ${items} pictures to be embedded${perImage}`),
    line('disk', `${megabytes(diskBytes)}${free}`),
    line('memory', megabytes(memoryBytes)),
    ...notes.map(note => line('', note)),
  ]
}

export function stepText({ generation: { id, state }, shares, tookMs, offset }: StepAnswer): string {
  const queries = Object.entries(shares).map(([name, share]) => `${name} ${percent(share)}`)
  return `${id} is ${state}; queries: ${queries.join(', ')} (record ${offset}, ${tookMs} ms)`
}

export function proofText(result: ProofResult, { columns, colors }: Width): readonly string[] {
  const { passed, summary, reasons, digest, measures, against, generation } = result
  const verdict = passed ? colors.green('passed') : colors.red('not passed')
  return [
    ...(measures.length === 0 ? [] : measureTable(measures, columns)),
    `${generation.id} against ${against}: ${verdict}. ${printable(summary)}`,
    ...reasons.map(reason => `  ${printable(reason)}`),
    `evidence ${digest}`,
  ]
}

type Measure = ProofResult['measures'][number]

/** A line for each measure, its sides beside each other. */
function measureTable(measures: readonly Measure[], columns: number): readonly string[] {
  const byName = [...Map.groupBy(measures, ({ name }) => name)]
  const told = (of: readonly Measure[], side: Measure['of']): string => {
    const value = of.find(each => each.of === side)?.value
    return value === undefined || value === null ? '' : String(Number(value.toFixed(4)))
  }
  return renderTable(
    byName,
    [
      { name: 'measure', of: ([name]) => name },
      { name: 'candidate', of: ([, of]) => told(of, 'candidate'), align: 'right' },
      { name: 'reference', of: ([, of]) => told(of, 'reference'), align: 'right' },
      { name: 'ratio', of: ([, of]) => told(of, 'ratio'), align: 'right' },
      { name: '', of: ([, of]) => verdictOf(of) },
      { name: 'bound', of: ([, of]) => of.flatMap(({ bound }) => bound ?? []).join(' and '), flexible: true },
    ],
    columns,
  )
}

function verdictOf(measures: readonly Measure[]): string {
  if (measures.some(({ met }) => met === false)) return 'NOT MET'
  return measures.some(({ met }) => met === true) ? 'met' : ''
}

function historyTable(history: readonly HistoryEntry[], { columns }: Width): readonly string[] {
  return renderTable(
    history,
    [
      { name: 'record', of: row => row.offset, align: 'right' },
      { name: 'when', of: row => time(row.atMs) },
      { name: 'who', of: row => row.by },
      { name: 'what', of: row => (row.rejected === null ? row.summary : `did not count: ${row.summary}`) },
      { name: 'why', of: row => row.rejected ?? row.reason, flexible: true },
    ],
    columns,
  )
}

export function rebuildNote({ items, rebuild }: GenerationView): string {
  const { perSecond, etaMs, throttledBy, phase } = rebuild
  const parts = [
    `${items.searchable} items`,
    ...(phase === 'paused' ? ['paused'] : []),
    ...(perSecond === null ? [] : [`${perSecond.toFixed(1)}/s`]),
    ...(etaMs === null || etaMs === 0 ? [] : [`${duration(etaMs)} left`]),
    ...(throttledBy === null ? [] : [`slowed by ${throttledBy}`]),
  ]
  return parts.join(', ')
}

function rebuildText({
  phase,
  imagesPerSecond,
  done,
  total,
  perSecond,
  etaMs,
  throttledBy,
}: GenerationView['rebuild']) {
  const bound = imagesPerSecond > 0 ? `, at most ${imagesPerSecond} pictures a second` : ''
  const rate = perSecond === null || phase === 'caught-up' ? '' : `, ${perSecond.toFixed(1)}/s`
  const left = etaMs === null || etaMs === 0 ? '' : `, ${duration(etaMs)} left`
  return `${phase}, ${done} of ${total} offsets${bound}${rate}${left}${throttledBy === null ? '' : `, slowed by ${throttledBy}`}`
}

function evidenceText(evidence: GenerationView['certificate']): string {
  if (evidence === null) return 'none'
  const { atMs, by, against, summary, digest } = evidence
  const compared = against === null ? '' : ` against ${against}`
  return `${time(atMs)} by ${by}${compared}: ${printable(summary)} (evidence ${digest})`
}

function allowed({ steps }: GenerationView): readonly string[] {
  return steps.filter(step => step.allowed).map(({ step }) => step)
}

function built({ rebuild: { phase, done, total } }: GenerationView): string {
  if (phase === 'caught-up' || total === 0) return '100%'
  return `${Math.floor((done / total) * 100)}%`
}

const line = (name: string, text: string): string => `  ${name.padEnd(12)} ${text}`
const percent = (share: number): string => `${Number((share * 100).toFixed(2))}%`
const time = (ms: number): string => new Date(ms).toISOString().slice(0, 19).replace('T', ' ')
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`

function duration(ms: number): string {
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`
  return ms < 3_600_000 ? `${(ms / 60_000).toFixed(1)} min` : `${(ms / 3_600_000).toFixed(1)} h`
}
