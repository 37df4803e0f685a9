import { SingleBar } from 'cli-progress'
import type { Terminal } from './terminal.ts'

export interface ProgressBar {
  /** `note` stands behind the bar, such as "3 failed". */
  update(value: number, note?: string): void
  /** Ends the bar where it is. */
  stop(): void
}

/** A bar where a person looks, a line for each tenth elsewhere. */
export function startProgressBar(terminal: Terminal, label: string, total: number): ProgressBar {
  return terminal.isTty ? drawnBar(terminal, label, total) : printedSteps(terminal, label, total)
}

function drawnBar(terminal: Terminal, label: string, total: number): ProgressBar {
  const { colors } = terminal
  const bar = new SingleBar({
    format: `${label} ${colors.cyan('{bar}')} {value}/{total} ${colors.dim('{duration_formatted}')} {note}`,
    barCompleteChar: '━',
    barIncompleteChar: colors.dim('─'),
    barsize: Math.max(10, Math.min(40, terminal.columns - label.length - 40)),
    hideCursor: true,
    fps: 20,
  })
  bar.start(total, 0, { note: '' })
  return {
    update: (value, note = '') => bar.update(value, { note }),
    stop: () => bar.stop(),
  }
}

function printedSteps(terminal: Terminal, label: string, total: number): ProgressBar {
  let told = -1
  let last = ''
  return {
    update(value, note = '') {
      const step = total === 0 ? 10 : Math.floor((value * 10) / total)
      last = `${label} ${value}/${total}${note === '' ? '' : `, ${note}`}`
      if (step <= told) return
      told = step
      terminal.note(last)
      last = ''
    },
    stop() {
      if (last !== '') terminal.note(last)
      last = ''
    },
  }
}
