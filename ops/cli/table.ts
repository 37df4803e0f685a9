export interface Column<Row> {
  readonly name: string
  readonly of: (row: Row) => string
  readonly align?: 'right'
  /** Shortened first when the line is too long. */
  readonly flexible?: boolean
}

/** Rows as aligned lines under their names, no longer than `columns`. */
export function renderTable<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  width: number,
): readonly string[] {
  const cells = rows.map(row => columns.map(column => printable(column.of(row))))
  const widths = columns.map((column, i) => Math.max(column.name.length, ...cells.map(line => lengthOf(line[i]!))))
  const tooMuch = widths.reduce((sum, each) => sum + each + 2, -2) - width
  const flexible = columns.findIndex(column => column.flexible)
  if (tooMuch > 0 && flexible >= 0) widths[flexible] = Math.max(8, widths[flexible]! - tooMuch)
  const line = (texts: readonly string[]): string =>
    texts
      .map((text, i) => padded(shortened(text, widths[i]!), widths[i]!, columns[i]!.align))
      .join('  ')
      .trimEnd()
  return [line(columns.map(({ name }) => name)), ...cells.map(line)]
}

const lengthOf = (text: string): number => [...text].length

/** Titles and ids come from outside: a control character must not reach the terminal. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, '·')
}

function shortened(text: string, width: number): string {
  return lengthOf(text) <= width ? text : `${[...text].slice(0, width - 1).join('')}…`
}

function padded(text: string, width: number, align: 'right' | undefined): string {
  const gap = ' '.repeat(Math.max(0, width - lengthOf(text)))
  return align === 'right' ? gap + text : text + gap
}
