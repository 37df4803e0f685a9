import type { QueueKeys } from 'bullmq'
import type { RedisClient } from '../redis/redis-connection.ts'

/** A job that is not delayed, as `job-form.ts` has it. */
export interface JobToAdd {
  readonly bullmqId: string
  /** BullMQ's priority. */
  readonly line: number
  readonly name: string
  readonly data: string
  readonly addedAtMs: number
}

export interface JobTaken {
  readonly bullmqId: string
  readonly name: string
  readonly data: string
  readonly addedAtMs: number
  /** With this one. */
  readonly claims: number
}

export interface Taken {
  readonly jobs: readonly JobTaken[]
  /** When the next delayed job is due, by the clock of who claims; null when none is known. */
  readonly nextDueAtMs: number | null
}

export interface Take {
  readonly max: number
  readonly leaseMs: number
  readonly token: string
  readonly nowMs: number
  /** One job of `perTurn` is of the last line, should there be any; so many were taken since the last that was. */
  readonly sinceTurn: number
  readonly perTurn: number
}

/** Redis does nothing else while a script runs: some 10 µs a job. */
const maxJobs = 256

/**
 * What happens to every job, for many of them at once: being added, taken and ended. BullMQ's scripts for that take one
 * job each, and let Redis and caller work several times as much (ops/decisions/0017). These write the same keys in the
 * same form, without BullMQ's stream of events; all else that may happen to a job is left to BullMQ's scripts, for which
 * nothing is different.
 */
export class JobScripts {
  readonly #keys: readonly string[]
  readonly #prefix: string

  /** Of BullMQ's queue. */
  constructor(keys: ReturnType<QueueKeys['getKeys']>) {
    this.#keys = keyNames.map(name => keys[name]!)
    this.#prefix = keys['']!
  }

  /** Those that the queue knows already are passed over. */
  async add(redis: RedisClient, jobs: readonly JobToAdd[]): Promise<void> {
    await inParts(jobs, part => {
      const fields = part.flatMap(({ bullmqId, line, name, data, addedAtMs }) => [
        bullmqId,
        line,
        name,
        data,
        addedAtMs,
      ])
      return this.#run(redis, addScript, fields)
    })
  }

  /** In the order of the lines; fewer than asked for where those are too many for one script. */
  async take(redis: RedisClient, take: Take): Promise<Taken> {
    const { max, leaseMs, token, nowMs, sinceTurn, perTurn } = take
    const args = [Math.min(max, maxJobs), leaseMs, token, nowMs, sinceTurn, perTurn]
    const [nextDueAt, ...fields] = (await this.#run(redis, takeScript, args)) as [string, ...string[]]
    const jobs: JobTaken[] = []
    for (let at = 0; at < fields.length; at += 5) {
      const [bullmqId, name, data, addedAt, claims] = fields.slice(at, at + 5) as [
        string,
        string,
        string,
        string,
        string,
      ]
      jobs.push({ bullmqId, name, data, addedAtMs: Number(addedAt), claims: Number(claims) })
    }
    return { jobs, nextDueAtMs: nextDueAt === '' ? null : Number(nextDueAt) }
  }

  /** Jobs that somebody else holds by now are passed over. */
  async end(redis: RedisClient, jobs: readonly { readonly bullmqId: string; readonly token: string }[]): Promise<void> {
    await inParts(jobs, part => {
      const fields = part.flatMap(({ bullmqId, token }) => [bullmqId, token])
      return this.#run(redis, endScript, fields)
    })
  }

  /** As text each time: a script that Redis has forgotten would be sent again later, and overtaken by what follows it. */
  #run(redis: RedisClient, script: string, args: readonly (string | number)[]): Promise<unknown> {
    return redis.eval(script, this.#keys.length, ...this.#keys, this.#prefix, ...args)
  }
}

/** Ends when all have ended, so that nothing goes on behind the caller's back. @throws the first failure */
async function inParts<T>(all: readonly T[], run: (part: readonly T[]) => Promise<unknown>): Promise<void> {
  const runs: Promise<unknown>[] = []
  for (let at = 0; at < all.length; at += maxJobs) runs.push(run(all.slice(at, at + maxJobs)))
  await Promise.allSettled(runs)
  await Promise.all(runs)
}

const keyNames = ['wait', 'active', 'prioritized', 'delayed', 'stalled', 'meta', 'pc', 'marker'] as const

/**
 * Keys of the queue as BullMQ has them: lists `wait` (priority 0; the first job is on the right) and `active`; sorted
 * sets `prioritized` (by priority × 2³² + a counter, `pc`) and `delayed` (by due time in ms × 4096); the set `stalled` of
 * those that were active at the last look for lost locks; `meta`, of which a field says that the queue is paused;
 * `marker`, a sorted set whose members wake who waits for jobs. A job's hash has its id behind the prefix, its lock
 * `:lock` behind that.
 */
const common = `
local wait, active, prioritized, delayed, stalled, meta, pc, marker = unpack(KEYS)
local prefix = ARGV[1]
local call = redis.call
local isPaused = call('HEXISTS', meta, 'paused') == 1

local function line(id, priority)
  if priority == 0 then call('LPUSH', wait, id)
  else call('ZADD', prioritized, priority * 0x100000000 + call('INCR', pc) % 0x100000000, id) end
end

local function wake()
  if not isPaused then call('ZADD', marker, 0, '0') end
end
`

/** ARGV: id, priority, name, data and time of each. */
const addScript = `${common}
for i = 2, #ARGV, 5 do
  local id, priority, job = ARGV[i], ARGV[i + 1], prefix .. ARGV[i]
  if call('HSETNX', job, 'name', ARGV[i + 2]) == 1 then
    call('HSET', job, 'data', ARGV[i + 3], 'timestamp', ARGV[i + 4], 'priority', priority, 'delay', 0,
      'opts', '{"priority":' .. priority .. '}')
    line(id, tonumber(priority))
  end
end
wake()`

/**
 * ARGV: max, lease, token, now, jobs since the last turn, jobs per turn. Answers when the next delayed job is due, or
 * nothing; then id, name, data, time and claims of each job. One of which only the id is left is dropped.
 */
const takeScript = `${common}
local max, leaseMs, token, nowMs = tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local sinceTurn, perTurn = tonumber(ARGV[6]), tonumber(ARGV[7])
local answer = {''}

for _, id in ipairs(call('ZRANGEBYSCORE', delayed, 0, (nowMs + 1) * 0x1000 - 1, 'LIMIT', 0, 1000)) do
  call('ZREM', delayed, id)
  call('HSET', prefix .. id, 'delay', 0)
  line(id, tonumber(call('HGET', prefix .. id, 'priority')) or 0)
end
local nextDue = call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
if nextDue then answer[1] = string.format('%.0f', math.floor(tonumber(nextDue) / 0x1000)) end

local function take(id)
  local job = call('HMGET', prefix .. id, 'name', 'data', 'timestamp', 'ats')
  if not job[1] then return end
  local claims = (tonumber(job[4]) or 0) + 1
  call('LPUSH', active, id)
  call('SET', prefix .. id .. ':lock', token, 'PX', leaseMs)
  call('HSET', prefix .. id, 'ats', claims, 'processedOn', nowMs)
  local at = #answer
  answer[at + 1], answer[at + 2], answer[at + 3] = id, job[1], job[2] or ''
  answer[at + 4], answer[at + 5] = job[3] or '0', tostring(claims)
end

local lastLine = string.format('%.0f', 2 * 0x100000000)
local waiting = call('LLEN', wait)
local ahead = waiting + call('ZCOUNT', prioritized, '-inf', '(' .. lastLine)
local last = call('ZCOUNT', prioritized, lastLine, '+inf')
local count = isPaused and 0 or math.min(max, ahead + last)
local turns = math.min(math.floor((sinceTurn + count) / perTurn), last) - math.max(0, count - ahead)
if turns > 0 then
  for _, id in ipairs(call('ZRANGEBYSCORE', prioritized, lastLine, '+inf', 'LIMIT', 0, turns)) do
    call('ZREM', prioritized, id)
    take(id)
  end
  count = count - turns
end
local first = math.min(count, waiting)
if first > 0 then
  local ids = call('LRANGE', wait, -first, -1)
  for i = first, 1, -1 do take(ids[i]) end
  call('LTRIM', wait, 0, -first - 1)
end
if count > first then
  local ids = call('ZPOPMIN', prioritized, count - first)
  for i = 1, #ids, 2 do take(ids[i]) end
end
if call('EXISTS', wait, prioritized) > 0 then wake() end
return answer`

/** ARGV: id and token of each. */
const endScript = `${common}
local ended = {}
for i = 2, #ARGV, 2 do
  local id, job = ARGV[i], prefix .. ARGV[i]
  if call('GET', job .. ':lock') == ARGV[i + 1] and call('LREM', active, -1, id) > 0 then
    call('DEL', job, job .. ':lock', job .. ':logs')
    ended[#ended + 1] = id
  end
end
if #ended > 0 then call('SREM', stalled, unpack(ended)) end`
