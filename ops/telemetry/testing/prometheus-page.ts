export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export interface Family {
  readonly type: string
  readonly help: string
  readonly samples: Sample[]
}

const typeNames = new Set(['counter', 'gauge', 'histogram'])
const suffixes: Readonly<Record<string, readonly string[]>> = { histogram: ['_bucket', '_sum', '_count'] }

/**
 * Prometheus' text format, read strictly: each family once, with help and type before its samples; each series once;
 * buckets cumulative, up to all that were counted.
 * @throws Error with the line that is wrong
 */
export function parsePrometheusPage(text: string): ReadonlyMap<string, Family> {
  const families = new Map<string, Family>()
  const series = new Set<string>()
  let help: { readonly name: string; readonly text: string } | null = null
  let current: readonly [name: string, family: Family] | null = null
  for (const line of text.split('\n')) {
    const fail = (why: string): never => {
      throw new Error(`${why}: ${line}`)
    }
    if (line === '') continue
    const comment = /^# (HELP|TYPE) ([a-zA-Z_][a-zA-Z0-9_]*) (.+)$/.exec(line)
    if (comment !== null) {
      const [, kind, name, rest] = comment as unknown as [string, string, string, string]
      if (kind === 'HELP') {
        if (families.has(name)) fail('a family that was there before')
        if (rest === 'description missing') fail('no description')
        help = { name, text: rest }
        continue
      }
      if (help?.name !== name) fail('a type without help')
      if (!typeNames.has(rest)) fail('an unknown type')
      current = [name, { type: rest, help: help!.text, samples: [] }]
      families.set(...current)
      continue
    }
    const sample = parseSample(line) ?? fail('neither comment nor sample')
    const [family, { type, samples }] = current ?? fail('a sample of no family')
    const names = (suffixes[type] ?? ['']).map(suffix => family + suffix)
    if (!names.includes(sample.name)) fail(`not of the family ${family}`)
    const key = `${sample.name}${JSON.stringify(Object.entries(sample.labels).sort())}`
    if (series.has(key)) fail('a series that was there before')
    series.add(key)
    samples.push(sample)
  }
  for (const [name, family] of families) if (family.type === 'histogram') requireCumulative(name, family)
  return families
}

function parseSample(line: string): Sample | null {
  const match = /^([a-zA-Z_][a-zA-Z0-9_]*)(?:\{(.*)\})? ([-+]?(?:Inf|NaN|[\d.]+(?:[eE][-+]?\d+)?))$/.exec(line)
  if (match === null) return null
  const [, name, labelText = '', value] = match as unknown as [string, string, string | undefined, string]
  const labels: Record<string, string> = {}
  const label = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y
  while (label.lastIndex < labelText.length) {
    const found = label.exec(labelText)
    if (found === null || found[1]! in labels) return null
    labels[found[1]!] = found[2]!
  }
  return { name, labels, value: value.endsWith('Inf') ? Number(value.replace('Inf', 'Infinity')) : Number(value) }
}

function requireCumulative(name: string, { samples }: Family): void {
  const counts = samples.filter(sample => sample.name === `${name}_count`)
  for (const { labels, value: count } of counts) {
    const isOfSame = (sample: Sample): boolean =>
      sample.name === `${name}_bucket` && Object.entries(labels).every(([label, text]) => sample.labels[label] === text)
    const buckets = samples.filter(isOfSame).filter(({ labels: { le, ...rest } }) => sameLabels(rest, labels))
    const values = buckets.map(({ value }) => value)
    const isRising = values.every((value, i) => i === 0 || value >= values[i - 1]!)
    if (!isRising || buckets.at(-1)?.labels.le !== '+Inf' || values.at(-1) !== count)
      throw new Error(`the buckets of ${name}${JSON.stringify(labels)} are ${values.join(', ')} of ${count}`)
  }
}

function sameLabels(a: Sample['labels'], b: Sample['labels']): boolean {
  return Object.keys(a).length === Object.keys(b).length
}

/** The value of the one sample with these labels, others besides allowed; undefined when there is none. */
export function sampleOf(
  families: ReadonlyMap<string, Family>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const all = [...families.values()].flatMap(({ samples }) => samples)
  return all.find(
    sample => sample.name === name && Object.entries(labels).every(([label, text]) => sample.labels[label] === text),
  )?.value
}
