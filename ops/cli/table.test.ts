import { expect, test } from 'vitest'
import { renderTable } from './table.ts'

interface Row {
  readonly id: string
  readonly n: number
}
const columns = [
  { name: 'id', of: (row: Row) => row.id, flexible: true },
  { name: 'count', of: (row: Row) => String(row.n), align: 'right' as const },
]

test('columns are as wide as what is in them', () => {
  const rows = [
    { id: 'a', n: 1 },
    { id: 'long name', n: 12_345_678 },
  ]
  expect(renderTable(rows, columns, 80)).toEqual(['id            count', 'a                 1', 'long name  12345678'])
})

test('a line that is too long is shortened in its flexible column', () => {
  const [, line] = renderTable([{ id: 'x'.repeat(100), n: 1 }], columns, 30)
  expect(line).toBe(`${'x'.repeat(22)}…      1`)
})

test('control characters never reach the terminal', () => {
  const [, line] = renderTable([{ id: 'a\x1b[31mb\n', n: 1 }], columns, 80)
  expect(line).toBe('a·[31mb·      1')
})
