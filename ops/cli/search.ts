import { readFile } from 'node:fs/promises'
import { Command } from 'commander'
import type { FreshetClient } from '../../schemas/client.ts'
import { FreshetError } from '../../schemas/errors.ts'
import type { SearchAnswer } from '../../schemas/http-search.ts'
import { asking, type CommandContext, clientFor, type ServerOptions } from './command-context.ts'
import { type SearchFlags, searchQuery } from './search-options.ts'
import { printable, renderTable } from './table.ts'
import type { Colors } from './terminal.ts'

interface SearchOptions extends ServerOptions, SearchFlags {}

export function searchCommand(context: CommandContext): Command {
  const gather = (value: string, before: readonly string[] = []): readonly string[] => [...before, value]
  const command = new Command('search')
    .summary('search by a picture')
    .description('Finds items that look like what is in a picture: the object chosen, else the most salient one.')
    .argument('<image>', 'a file, an http(s) URL, a blob:… reference, or item:ID')
    .option('--object <n>', 'the object with this number, as listed in the answer')
    .option('--box <x0,y0,x1,y1>', 'what to search for, as fractions of the picture')
    .option('--k <n>', 'how many results', '10')
    .option(
      '--filter <name=value>',
      'category=, region=, available=, price=10..100 or an attribute; repeatable',
      gather,
    )
    .option('--exact', 'scan every vector instead of the graph')
    .option('--no-rerank', 'order by similarity alone')
  return asking(
    command,
    'freshet search room.jpg --object 1 --filter category=Lights\nfreshet search item:sofa-17',
  ).action(async (image: string, options: SearchOptions) => {
    const answer = await search(clientFor(context, options), image, options)
    const { colors, columns } = context.terminal
    const lines = options.json ? [JSON.stringify(answer)] : renderAnswer(answer, colors, columns)
    for (const line of lines) context.terminal.print(line)
  })
}

async function search(client: FreshetClient, image: string, options: SearchOptions): Promise<SearchAnswer> {
  const query = searchQuery(options)
  const itemId = image.startsWith('item:') ? image.slice('item:'.length) : null
  if (itemId !== null) {
    const { object, ...rest } = query
    const source = object === undefined ? { itemId } : { itemId, object }
    return client.search({ ...rest, image: source, excludeItemId: itemId })
  }
  if (/^https?:\/\//.test(image)) return client.search({ ...query, image: { url: image } })
  if (image.startsWith('blob:')) return client.search({ ...query, image: { blob: image } })
  return client.searchImage(await pictureFile(image), query)
}

async function pictureFile(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (cause) {
    throw new FreshetError('bad-request', `the picture ${path} cannot be read`, { cause })
  }
}

export function renderAnswer(answer: SearchAnswer, colors: Colors, width: number): readonly string[] {
  const { objects, searched, results, timingMs, degraded } = answer
  const rows = results.map((result, i) => ({ ...result, place: i + 1 }))
  const hasAlike = results.some(({ alike }) => alike !== undefined)
  const price = (value: number | null, currency: string): string => (value === null ? '–' : `${value} ${currency}`)
  return [
    ...objects.map(({ box, score }, i) => {
      const line = `object ${i}  score ${score.toFixed(2)}  box ${box.map(edge => edge.toFixed(3)).join(',')}`
      return i === searched.object ? colors.bold(`${line}  ← searched`) : colors.dim(line)
    }),
    ...(searched.object === null ? [colors.bold(searchedLine(searched.box))] : []),
    ...renderTable(
      rows,
      [
        { name: '#', of: row => String(row.place), align: 'right' },
        { name: 'similarity', of: row => row.similarity.toFixed(3), align: 'right' },
        { name: 'item', of: row => row.itemId },
        { name: 'title', of: row => row.item.title, flexible: true },
        { name: 'category', of: row => row.item.category },
        { name: 'price', of: row => price(row.item.price, row.item.currency), align: 'right' },
        // Nearly the same product, left out.
        ...(hasAlike ? [{ name: 'alike', of: alikeCount, align: 'right' as const }] : []),
      ],
      width,
    ),
    ...(degraded.length === 0 ? [] : [colors.yellow(`not whole: ${degraded.map(printable).join(', ')}`)]),
    colors.dim(
      `${timing(timingMs)} · generation ${answer.generation} · index age ${seconds(answer.freshness.indexAgeMs)}`,
    ),
  ]
}

function alikeCount({ alike }: SearchAnswer['results'][number]): string {
  return alike === undefined ? '' : `+${alike.count}`
}

function searchedLine(box: SearchAnswer['searched']['box']): string {
  if (box === null) return 'searched: the vector as given'
  return box.join() === '0,0,1,1'
    ? 'searched: the whole picture'
    : `searched: box ${box.map(edge => edge.toFixed(3)).join(',')}`
}

function timing({ total, ...parts }: SearchAnswer['timingMs']): string {
  const named = [
    `decode ${ms(parts.decode)}`,
    `detect ${ms(parts.detect)}`,
    `embed ${ms(parts.embed)}`,
    `shards ${ms(parts.fanout)}`,
  ]
  return `${ms(total)} ms (${named.join(', ')})`
}

const ms = (value: number): string => value.toFixed(0)
const seconds = (valueMs: number): string => `${(valueMs / 1_000).toFixed(1)} s`
