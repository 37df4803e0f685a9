import { type ChildProcess, fork } from 'node:child_process'
import { setPriority } from 'node:os'
import { FreshetError } from '../schemas/errors.ts'
import { type FromModelProcess, fromSentError, type ToModelProcess } from './model-messages.ts'

export interface ModelProcessOptions {
  /** Path of the program the child runs. */
  readonly entry: string
  readonly args: readonly string[]
}

/** Below what answers queries, and still a tenth of their share of a core that is full. */
const backgroundNiceness = 10

export interface ModelProcessListener {
  onReady(): void
  onAnswer(answer: Extract<FromModelProcess, { type: 'answer' }>): void
  /** Called once, whatever the end: exit, signal, refusal to start, failure to spawn. Nothing is called after it. */
  onEnd(cause: FreshetError): void
}

const stderrTailLength = 2_000

/** One life of a child process that runs the models. Restarting is its owner's affair. */
export class ModelProcess {
  readonly #child: ChildProcess
  readonly #listener: ModelProcessListener
  /** Resolves when the process is gone. */
  readonly ended: Promise<void>
  readonly #resolveEnded: () => void
  #refusal: FreshetError | null = null
  #stderrTail = ''
  #hasEnded = false

  /** `isBackground`: it gives way to other processes, for as long as it lives. */
  constructor({ entry, args }: ModelProcessOptions, isBackground: boolean, listener: ModelProcessListener) {
    this.#listener = listener
    const { promise, resolve } = Promise.withResolvers<void>()
    this.ended = promise
    this.#resolveEnded = resolve
    this.#child = fork(entry, [...args], {
      serialization: 'advanced',
      execArgv: ['--max-semi-space-size=2'],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      // Few malloc arenas that give memory back: else a process keeps some 50 MB of pictures long gone. The parent's
      // Node options (a debugger, a test runner's loader) are not meant for it.
      env: { ...process.env, MALLOC_ARENA_MAX: '2', MALLOC_TRIM_THRESHOLD_: '1000000', NODE_OPTIONS: '' },
    })
    if (isBackground) this.#giveWay()
    this.#child.on('message', (message: FromModelProcess) => this.#receive(message))
    this.#child.on('error', cause =>
      this.#end(new FreshetError('internal', `no model process: ${cause.message}`, { cause })),
    )
    this.#child.on('exit', (code, signal) => this.#end(this.#exitError(code, signal)))
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderrTail = (this.#stderrTail + chunk.toString()).slice(-stderrTailLength)
    })
  }

  /** At once, so that the threads it will start inherit it. A child that is gone already tells so by itself. */
  #giveWay(): void {
    try {
      if (this.#child.pid !== undefined) setPriority(this.#child.pid, backgroundNiceness)
    } catch {}
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  send(message: ToModelProcess): void {
    // A message to a child that is already gone fails here and again, with more to say, in its exit event.
    this.#child.send(message, () => {})
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  #receive(message: FromModelProcess): void {
    if (this.#hasEnded) return
    switch (message.type) {
      case 'ready':
        this.#listener.onReady()
        return
      case 'refused':
        this.#refusal = fromSentError(message.error)
        return
      case 'answer':
        this.#listener.onAnswer(message)
    }
  }

  #exitError(code: number | null, signal: string | null): FreshetError {
    if (this.#refusal) return this.#refusal
    const how = signal === null ? `exit code ${code}` : `signal ${signal}`
    const tail = this.#stderrTail.trim()
    return new FreshetError('decoder-crashed', `the model process ended with ${how}${tail ? `: ${tail}` : ''}`)
  }

  #end(cause: FreshetError): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#resolveEnded()
    this.#listener.onEnd(cause)
  }
}
