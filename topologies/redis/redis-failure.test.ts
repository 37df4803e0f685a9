import { expect, test } from 'vitest'
import { FreshetError } from '../../schemas/errors.ts'
import { redisFailure } from './redis-failure.ts'

function reply(message: string): Error {
  return Object.assign(new Error(message), { name: 'ReplyError', command: { name: 'auth', args: ['secret'] } })
}

const withCode = (code: string): Error => Object.assign(new Error('no'), { code })

test.each([
  ["OOM command not allowed when used memory > 'maxmemory'. script: 1f, on @user_script:25.", 'out-of-memory'],
  ['ERR Error running script (call to f_1f): @user_script:25: -OOM command not allowed', 'out-of-memory'],
  ["READONLY You can't write against a read only replica.", 'read-only'],
  ['LOADING Redis is loading the dataset in memory', 'loading'],
  ["MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", 'loading'],
  ['MISCONF Errors writing to the AOF file: No space left on device', 'persistence-failed'],
  ['BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.', 'busy'],
  ['ERR max number of clients reached', 'busy'],
])('%s', (message, reason) => {
  const failure = redisFailure(reply(message), 'queue-unavailable')
  expect(failure).toMatchObject({ code: 'queue-unavailable', retryable: true, details: { reason } })
  expect(failure.message).toContain(message)
})

test.each([
  ['NOAUTH Authentication required.'],
  ['WRONGPASS invalid username-password pair or user is disabled.'],
  ["NOPERM User freshet has no permissions to run the 'evalsha' command"],
  ['ERR invalid password'],
])('%s', message => {
  expect(redisFailure(reply(message), 'queue-unavailable')).toMatchObject({ code: 'access-denied', retryable: false })
})

test.each([['ECONNREFUSED'], ['ECONNRESET'], ['ENOTFOUND'], ['ETIMEDOUT']])('%s', code => {
  expect(redisFailure(withCode(code), 'feature-store-unavailable')).toMatchObject({
    code: 'feature-store-unavailable',
    details: { reason: 'unreachable' },
  })
})

test.each([['DEPTH_ZERO_SELF_SIGNED_CERT'], ['CERT_HAS_EXPIRED'], ['ERR_TLS_CERT_ALTNAME_INVALID']])('%s', code => {
  expect(redisFailure(withCode(code), 'queue-unavailable').code).toBe('access-denied')
})

test('what only a defect brings about is internal', () => {
  expect(redisFailure(new TypeError('x is not a function'), 'queue-unavailable').code).toBe('internal')
  expect(redisFailure(reply("ERR unknown command 'FOO'"), 'queue-unavailable').code).toBe('internal')
})

test('arguments of a refused command are not passed on', () => {
  const failure = redisFailure(reply('WRONGPASS invalid username-password pair'), 'queue-unavailable')
  expect(failure.cause).toBeUndefined()
  expect(JSON.stringify({ ...failure })).not.toContain('secret')
})

test('an error of ours stays as it is', () => {
  const ours = new FreshetError('bad-request', 'no')
  expect(redisFailure(ours, 'queue-unavailable')).toBe(ours)
})
