import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openDataDirectory } from '../topologies/embedded/data-directory.ts'
import { parseConfig } from './config.ts'
import { diagnose, type Finding, type Patient } from './doctor.ts'

let dataDir: string

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'freshet-doctor-'))
})
afterEach(() => rmSync(dataDir, { recursive: true }))

async function examine(
  flags: Readonly<Record<string, string>> = {},
  change: Partial<Patient> = {},
): Promise<Readonly<Record<string, Finding>>> {
  const { config } = parseConfig({
    machine: { cores: 2 },
    workingDir: '/',
    environment: {},
    flags: { dataDir, port: '0', ...flags },
  })
  const findings: Record<string, Finding> = {}
  const patient = { config, environment: {}, nodeVersion: process.version, cores: 2, ...change }
  for await (const finding of diagnose(patient)) findings[finding.name] = finding
  return findings
}

test('this machine can run a server, and nothing is left behind', async () => {
  const findings = await examine({ dataDir: join(dataDir, 'new') })
  const failed = Object.values(findings).filter(({ outcome }) => outcome === 'fail')
  expect(failed).toEqual([])
  expect(findings.packages?.found).toBe('lmdb, sharp, onnxruntime-node, usearch load')
  expect(findings.vectors?.found).toMatch(
    /^v1: \d golden results, both routes alike; v2: \d golden results, both routes alike$/,
  )
  expect(findings['data directory']?.found).toContain('a server fills it')
  expect(readdirSync(dataDir)).toEqual([])
})

describe('what would stop a server is found, with what to do', () => {
  test('an old Node.js, an unknown model, no browser', async () => {
    const findings = await examine({ model: 'v9' }, { nodeVersion: 'v22.17.1', environment: { PATH: '/nowhere' } })
    expect(findings.node).toMatchObject({ outcome: 'fail', found: 'v22.17.1' })
    expect(findings.models).toMatchObject({ outcome: 'fail', advice: expect.stringContaining('v9') })
    expect(findings.browser).toMatchObject({ outcome: 'warn', advice: expect.stringContaining('CHROMIUM_PATH') })
  })

  test('a port that another program has', async () => {
    const other = createServer((_, response) => response.end('hello'))
    await new Promise<void>(resolve => other.listen(0, '127.0.0.1', resolve))
    const port = String((other.address() as AddressInfo).port)
    const findings = await examine({ port })
    other.close()
    expect(findings.port).toMatchObject({ outcome: 'fail', found: `127.0.0.1:${port} is taken by another program` })
  })

  test('a directory of other things', async () => {
    writeFileSync(join(dataDir, 'letters'), '')
    expect((await examine())['data directory']).toMatchObject({
      outcome: 'fail',
      found: `${dataDir} holds something else`,
    })
  })

  test('a data directory of a newer format', async () => {
    await (await openDataDirectory(dataDir)).close()
    writeFileSync(join(dataDir, 'FORMAT'), '99\n')
    expect((await examine())['data directory']).toMatchObject({ outcome: 'fail', found: `${dataDir} has format 99` })
  })
})

test('a data directory in use is well', async () => {
  const opened = await openDataDirectory(dataDir)
  const whileOpen = (await examine())['data directory']
  await opened.close()
  expect(whileOpen).toMatchObject({ outcome: 'ok', found: expect.stringContaining(`process ${process.pid}`) })
  expect((await examine())['data directory']).toMatchObject({
    outcome: 'ok',
    found: expect.stringContaining('not in use'),
  })
})
