import { SingleBar } from 'cli-progress'
import type { Terminal } from './terminal.ts'

export interface ProgressBar {
  /** `note` stands behind the bar, such as "3 failed". */
  update(value: number, note?: string): void
  /** Ends the bar where it is. */
  stop(): void
}

/**
 * A bar where a person looks, a line for each tenth elsewhere and, where no total is known, for each ten thousand.
 * While a bar is drawn nothing else may be printed.
 */
export function startProgressBar(terminal: Terminal, label: string, total: number | null): ProgressBar {
  if (total === null) return printedSteps(terminal, label, { step: uncountedStep, extent: '' })
  if (terminal.isTty) return drawnBar(terminal, label, total)
  return printedSteps(terminal, label, { step: Math.max(1, total / 10), extent: `/${total}` })
}

const uncountedStep = 10_000

function drawnBar({ colors, columns }: Terminal, label: string, total: number): ProgressBar {
  const bar = new SingleBar({
    format: `${label} ${colors.cyan('{bar}')} {value}/{total} ${colors.dim('{duration_formatted}')} {note}`,
    barCompleteChar: '━',
    barIncompleteChar: '─',
    barsize: Math.max(10, Math.min(40, columns - label.length - 40)),
    hideCursor: true,
    fps: 20,
  })
  bar.start(total, 0, { note: '' })
  return {
    update: (value, note = '') => bar.update(value, { note }),
    stop: () => bar.stop(),
  }
}

interface Steps {
  readonly step: number
  /** What stands behind the value, such as `/820`. */
  readonly extent: string
}

function printedSteps(terminal: Terminal, label: string, { step, extent }: Steps): ProgressBar {
  let told = 0
  let toldLine = ''
  let line = ''
  const tell = (): void => {
    if (line !== toldLine) terminal.note(line)
    toldLine = line
  }
  return {
    update(value, note = '') {
      line = `${label} ${value}${extent}${note === '' ? '' : `, ${note}`}`
      if (Math.floor(value / step) <= told) return
      told = Math.floor(value / step)
      tell()
    },
    stop: tell,
  }
}
