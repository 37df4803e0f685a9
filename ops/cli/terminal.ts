import picocolors from 'picocolors'

export type Colors = ReturnType<typeof picocolors.createColors>

/** Where a command prints. Answers go to stdout, talk about the work to stderr. */
export interface Terminal {
  /** A line of the answer. */
  print(line: string): void
  /** A line about the work. */
  note(line: string): void
  /** Text as it is, for panels that redraw themselves. Only where `isTty`. */
  draw(text: string): void
  /** A person looks at stdout: panels and bars instead of lines. */
  readonly isTty: boolean
  readonly columns: number
  readonly colors: Colors
}

/** The streams of this process. A reader that goes away early, as `head` does, ends the process quietly. */
export function processTerminal(): Terminal {
  process.stdout.once('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    process.exit()
  })
  const isTty = process.stdout.isTTY === true && process.stderr.isTTY === true
  return {
    print: line => process.stdout.write(`${line}\n`),
    note: line => process.stderr.write(`${line}\n`),
    draw: text => process.stdout.write(text),
    isTty,
    get columns() {
      return process.stdout.columns || 100
    },
    colors: picocolors.createColors(isTty && picocolors.isColorSupported),
  }
}
