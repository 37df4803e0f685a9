import picocolors from 'picocolors'
import { runCommandLine } from '../cli/program.ts'

export interface Captured {
  readonly exitCode: number
  /** Lines of the answer. */
  readonly out: readonly string[]
  /** Lines about the work. */
  readonly err: readonly string[]
}

export interface CliSurroundings {
  readonly environment?: Readonly<Record<string, string>>
  readonly workingDir?: string
  readonly columns?: number
}

/** Runs one command line of `freshet` in this process and catches what it prints. No colours, no terminal. */
export async function runCli(commandLine: readonly string[], surroundings: CliSurroundings = {}): Promise<Captured> {
  const out: string[] = []
  const err: string[] = []
  const exitCode = await runCommandLine(commandLine, {
    terminal: {
      print: line => out.push(line),
      note: line => err.push(line),
      draw: text => out.push(text),
      isTty: false,
      columns: surroundings.columns ?? 120,
      colors: picocolors.createColors(false),
    },
    environment: surroundings.environment ?? {},
    workingDir: surroundings.workingDir ?? '/nowhere',
    cores: 2,
    interrupted: new AbortController().signal,
    version: '0.0.0',
  })
  return { exitCode, out, err }
}
