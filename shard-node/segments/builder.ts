import { type ChildProcess, fork } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { FreshetError } from '../../schemas/errors.ts'
import type { ShardFiles } from '../files/shard-files.ts'
import type { BuildReply, BuildRequest } from './build-messages.ts'
import { setBuildPriority } from './build-priority.ts'
import { graphFileName } from './graph-file.ts'
import { rowsFileName } from './rows-file.ts'
import type { SavedFile, SavedSegment } from './segment.ts'
import type { OnBuildProgress } from './segment-build.ts'

export interface BuilderOptions {
  /** Where inputs are and segments come to be. */
  readonly files: ShardFiles
  /** What the process runs, for tests that make it fail; `build-process.ts` if not given. */
  readonly program?: { readonly path: string; readonly args: readonly string[] }
  /** A process that has told nothing for so long is ended. */
  readonly silenceMs?: number
}

interface Run {
  readonly child: ChildProcess
  readonly done: Promise<SavedSegment>
  /** It has told of progress, so it has given itself the priority to begin with. */
  hasBegun: boolean
  isHurried: boolean
  /** It would have to be raised, or the others on this machine leave it nothing. */
  isStarved: boolean
}

const buildProcess = { path: fileURLToPath(new URL('build-process.ts', import.meta.url)), args: [] }
const stderrTailLength = 2_000

/**
 * Builds segments in child processes, one at a time, a process for each: neither the memory of a merge nor a crash of
 * native code is the owner's. What a build that fails has written is removed.
 */
export class Builder {
  readonly #files: ShardFiles
  readonly #program: Required<BuilderOptions>['program']
  readonly #silenceMs: number
  #run: Run | null = null
  #isClosed = false

  constructor({ files, program = buildProcess, silenceMs = 300_000 }: BuilderOptions) {
    this.#files = files
    this.#program = program
    this.#silenceMs = silenceMs
  }

  /** Process id of the build that is running. */
  get pid(): number | null {
    return this.#run?.child.pid ?? null
  }

  /**
   * The segment's files are durable once this resolves. Inputs must stay until it settles. Not while another build runs.
   * A build that is starved at the lowest priority begins anew at the normal one.
   * Rejects with FreshetError: what the build met (`checkpoint-corrupt`: an input; `storage-full`; `storage-failed`),
   * `internal` when the process died or fell silent, `not-ready` once closed.
   */
  async build(request: Omit<BuildRequest, 'directory'>, onProgress: OnBuildProgress = () => {}): Promise<SavedSegment> {
    if (this.#isClosed) throw closedError()
    if (this.#run !== null) throw new FreshetError('internal', 'a segment is being built already')
    const run = this.#start({ ...request, directory: this.#files.directory }, onProgress)
    try {
      return await run.done
    } catch (thrown) {
      if (!run.isStarved || request.isUrgent || this.#isClosed) throw thrown
    } finally {
      this.#run = null
    }
    return this.build({ ...request, isUrgent: true }, onProgress)
  }

  /** A running build goes on at normal priority; where this process may not raise it, it begins anew. */
  hurry(): void {
    if (this.#run === null || this.#run.isHurried) return
    this.#run.isHurried = true
    if (this.#run.hasBegun) void this.#raise(this.#run)
  }

  /** Ends a running build, which rejects; resolves when its process is gone and its files are removed. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#run?.child.kill('SIGKILL')
    await this.#run?.done.catch(() => undefined)
  }

  #start(request: BuildRequest, onProgress: OnBuildProgress): Run {
    const { path, args } = this.#program
    const child = fork(path, [...args], {
      serialization: 'advanced',
      // The parent's Node options (a debugger, a test runner's loader) are not meant for it.
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    const done = this.#settled(child, request, (rows, of) => {
      this.#noteBegun()
      onProgress(rows, of)
    })
    this.#run = { child, done, hasBegun: false, isHurried: false, isStarved: false }
    return this.#run
  }

  #noteBegun(): void {
    if (this.#run === null || this.#run.hasBegun) return
    this.#run.hasBegun = true
    if (this.#run.isHurried) void this.#raise(this.#run)
  }

  async #raise(run: Run): Promise<void> {
    if (run.child.pid === undefined || (await setBuildPriority(run.child.pid, 'normal'))) return
    run.isStarved = true
    run.child.kill('SIGKILL')
  }

  async #settled(child: ChildProcess, request: BuildRequest, onProgress: OnBuildProgress): Promise<SavedSegment> {
    try {
      const onSilence = (): void => {
        if (this.#run !== null) this.#run.isStarved = true
      }
      const segment = await resultOf(child, { request, onProgress, onSilence, silenceMs: this.#silenceMs })
      for (const saved of [segment.rows, segment.graph]) if (saved !== null) await this.#refuseMissing(saved)
      return segment
    } catch (thrown) {
      await this.#removeFilesOf(request.id)
      throw this.#isClosed ? closedError() : thrown
    }
  }

  async #refuseMissing(saved: SavedFile): Promise<void> {
    const found = await stat(this.#files.path(saved.file)).catch(() => null)
    if (found?.size !== saved.bytes)
      throw new FreshetError('internal', `the build process has not left ${saved.bytes} bytes of ${saved.file}`)
  }

  /** What cannot be removed is in nobody's way: no manifest names it, and its number is not used again. */
  async #removeFilesOf(id: number): Promise<void> {
    const files = [rowsFileName(id), graphFileName(id)].flatMap(file => [file, this.#files.unfinishedName(file)])
    await Promise.allSettled(files.map(file => this.#files.remove(file)))
  }
}

function closedError(): FreshetError {
  return new FreshetError('not-ready', 'the builder is closed')
}

/** Sends the request to a new process and waits for its end, which follows its answer. */
function resultOf(
  child: ChildProcess,
  options: {
    readonly request: BuildRequest
    readonly onProgress: OnBuildProgress
    readonly onSilence: () => void
    readonly silenceMs: number
  },
): Promise<SavedSegment> {
  const { promise, resolve, reject } = Promise.withResolvers<SavedSegment>()
  let result: Exclude<BuildReply, { type: 'progress' }> | null = null
  let stderrTail = ''
  let isSilent = false
  const silence = setTimeout(() => {
    isSilent = true
    options.onSilence()
    child.kill('SIGKILL')
  }, options.silenceMs)
  child.stderr?.on('data', (chunk: Buffer) => {
    stderrTail = (stderrTail + chunk.toString()).slice(-stderrTailLength)
  })
  child.on('message', (reply: BuildReply) => {
    silence.refresh()
    if (reply.type === 'progress') return options.onProgress(reply.rows, reply.of)
    result = reply
    child.kill('SIGKILL')
  })
  child.on('error', cause => reject(new FreshetError('internal', `no build process: ${cause.message}`, { cause })))
  child.on('close', (code, signal) => {
    if (result?.type === 'built') return resolve(result.segment)
    if (result?.type === 'failed') return reject(new FreshetError(result.code, result.message))
    const how = isSilent ? `fell silent for ${options.silenceMs} ms` : `ended with ${signal ?? `exit code ${code}`}`
    reject(new FreshetError('internal', `the build process ${how}${stderrTail && `: ${stderrTail.trim()}`}`))
  })
  // To a child that is gone already it fails here and again, with more to say, in its exit.
  child.send(options.request, () => {})
  return promise.finally(() => clearTimeout(silence))
}
