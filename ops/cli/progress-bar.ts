import { SingleBar } from 'cli-progress'
import type { Terminal } from './terminal.ts'

export interface ProgressBar {
  /** `note` stands behind the bar, such as "3 failed". */
  update(value: number, note?: string): void
  /** Ends the bar where it is. */
  stop(): void
}

/** A bar where a person looks, a line for each tenth elsewhere. Without a total: a count, or a line per ten thousand. */
export function startProgressBar(terminal: Terminal, label: string, total: number | null): ProgressBar {
  return terminal.isTty ? drawnBar(terminal, label, total) : printedSteps(terminal, label, total)
}

function drawnBar({ colors, columns }: Terminal, label: string, total: number | null): ProgressBar {
  const extent = total === null ? '{value}' : `${colors.cyan('{bar}')} {value}/{total}`
  const bar = new SingleBar({
    format: `${label} ${extent} ${colors.dim('{duration_formatted}')} {note}`,
    barCompleteChar: '━',
    barIncompleteChar: colors.dim('─'),
    barsize: Math.max(10, Math.min(40, columns - label.length - 40)),
    hideCursor: true,
    fps: 20,
  })
  bar.start(total ?? 0, 0, { note: '' })
  return {
    update: (value, note = '') => bar.update(value, { note }),
    stop: () => bar.stop(),
  }
}

const uncountedStep = 10_000

function printedSteps(terminal: Terminal, label: string, total: number | null): ProgressBar {
  const step = total === null ? uncountedStep : Math.max(1, total / 10)
  const extent = total === null ? '' : `/${total}`
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
