import { expect, test } from 'vitest'
import { decodeJob, type EmbedJob, encodeJob, jobIdOf } from './embed-job.ts'
import { asOffset, asPartition, parseGeneration, parseItemId, type TopicEpoch } from './ids.ts'

const job: EmbedJob = {
  generation: parseGeneration('g1'),
  itemId: parseItemId('söfa/1 🛋'),
  partition: asPartition(3),
  version: { epoch: '00112233445566aa' as TopicEpoch, offset: asOffset(2 ** 40) },
  imageIdentity: '["","blob:ab"]',
  images: ['blob:ab'],
  refresh: false,
  acceptedAtMs: 1_700_000_000_000,
  pendingSinceMs: 1_700_000_000_001,
  traceparent: '',
}

test('a job survives the queue', () => {
  expect(decodeJob(encodeJob(job))).toEqual(job)
})

test.each([
  ['not JSON', Buffer.from('\u0000')],
  ['not an object', Buffer.from('7')],
  ['without a version', Buffer.from(JSON.stringify({ ...job, version: undefined }))],
])('a payload that is %s is refused', (_, payload) => {
  expect(() => decodeJob(payload)).toThrow(expect.objectContaining({ code: 'record-undecodable' }))
})

test('an id names generation, partition and offset, without a colon', () => {
  expect(jobIdOf(job)).toBe('g1-3-1099511627776')
})
