import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, type ItemId, type Offset } from '../../schemas/ids.ts'
import { type Register, type RegisterMutation, registerKey } from '../../schemas/mutation.ts'

/** `none`: no image event seen. `removed`: the newest thing seen is a delete, and `version` is its offset. */
export type ImageState = 'none' | 'pending' | 'embedded' | 'failed' | 'removed'

/**
 * The newest image change or delete the dispatcher has seen for an item, in the catalog or read back: `version` is never
 * below the removal or objects register. Nothing below it may start image work.
 */
export interface ImagePart {
  readonly state: ImageState
  /** Offset of the event that introduced the image, or of the delete; -1 for none. */
  readonly version: Offset
  /** Empty for `none` and `removed`. */
  readonly identity: string
  /** Since when the item waits for any finished image work; 0 unless pending. */
  readonly pendingSinceMs: number
}

/** What the dispatcher remembers of one item. Immutable: every change makes a new one. */
export interface ItemEntry {
  readonly image: ImagePart
  /** Highest offset read back from the mutation log per register: attributes, objects, removal, failure; -1 for never. */
  readonly a: Offset
  readonly o: Offset
  readonly x: Offset
  readonly f: Offset
  /** When the removal record `x` was read back; -1 when there is none or it was collected. */
  readonly removedAtMs: number
  /** Highest version of an ObjectsPut that was refused and is still in the log; -1 for none. */
  readonly refused: Offset
}

const never = asOffset(-1)

export const noImage: ImagePart = { state: 'none', version: never, identity: '', pendingSinceMs: 0 }
export const emptyEntry: ItemEntry = {
  image: noImage,
  a: never,
  o: never,
  x: never,
  f: never,
  removedAtMs: -1,
  refused: never,
}

/** Highest version at which image work of the item is finished, in whichever way. */
export function imageDoneAt(entry: ItemEntry): Offset {
  return asOffset(Math.max(entry.o, entry.f, entry.x))
}

/**
 * The entry after a mutation was read back. State follows the log alone:
 *
 * | read back       | version > image.version   | version = image.version  | version < image.version           |
 * |-----------------|---------------------------|--------------------------|-----------------------------------|
 * | ObjectsPut      | adopted as embedded       | embedded                 | pending counts from now           |
 * | WorkFailed      | adopted as failed         | failed, unless o >= it   | –                                 |
 * | ItemRemoved     | removed                   | removed                  | –                                 |
 *
 * A version above the image's is only seen when the table was lost or is older than the log: the log is right.
 */
export function afterReadBack(entry: ItemEntry, mutation: RegisterMutation, nowMs: number): ItemEntry {
  const version = mutation.version.offset
  const { image } = entry
  switch (mutation.type) {
    case 'AttributesPut':
      return version > entry.a ? { ...entry, a: version } : entry
    case 'ItemRemoved':
      return {
        ...entry,
        ...(version > entry.x ? { x: version, removedAtMs: nowMs } : {}),
        image: version > image.version ? removedAt(version) : image,
      }
    case 'ObjectsPut':
      return {
        ...entry,
        o: highest(entry.o, version),
        image: version >= image.version ? settled('embedded', mutation) : waitingAgain(image, nowMs),
      }
    case 'WorkFailed': {
      const failed = version > image.version || (version === image.version && entry.o < version)
      return { ...entry, f: highest(entry.f, version), image: failed ? settled('failed', mutation) : image }
    }
  }
}

export function removedAt(version: Offset): ImagePart {
  return { state: 'removed', version, identity: '', pendingSinceMs: 0 }
}

function settled(
  state: 'embedded' | 'failed',
  mutation: { readonly version: { readonly offset: Offset }; readonly imageIdentity: string },
): ImagePart {
  return { state, version: mutation.version.offset, identity: mutation.imageIdentity, pendingSinceMs: 0 }
}

function waitingAgain(image: ImagePart, sinceMs: number): ImagePart {
  if (image.state !== 'pending' || image.pendingSinceMs >= sinceMs) return image
  return { ...image, pendingSinceMs: sinceMs }
}

function highest(one: Offset, other: Offset): Offset {
  return one > other ? one : other
}

/**
 * Keys that became garbage with a mutation read back: what counted before it, and the record itself, without what
 * counts now. One formula for all of it: the register's older write, a late old write, everything below a removal, a
 * failure that objects have beaten. What counts is never named.
 */
export function beatenKeys(
  itemId: ItemId,
  change: { readonly before: ItemEntry; readonly after: ItemEntry; readonly read: readonly [Register, Offset] },
): readonly string[] {
  const { before, after, read } = change
  const keys: string[] = []
  for (const register of registers) {
    const counted = countedVersion(before, register)
    const counts = countedVersion(after, register)
    if (counted >= 0 && counted !== counts) keys.push(registerKey(register, itemId, counted))
    if (read[0] === register && read[1] !== counts && read[1] !== counted)
      keys.push(registerKey(register, itemId, read[1]))
  }
  return keys
}

const registers: readonly Register[] = ['a', 'o', 'x', 'f']

/** Version of the register's record that a reader of the log still needs; -1 when it needs none. */
function countedVersion(entry: ItemEntry, register: Register): Offset {
  switch (register) {
    case 'a':
      return entry.a > entry.x ? entry.a : never
    case 'o':
      return entry.o > entry.x ? entry.o : never
    case 'f':
      return entry.f > entry.x && entry.f > entry.o ? entry.f : never
    case 'x':
      return entry.removedAtMs >= 0 ? entry.x : never
  }
}

/**
 * Bytes of an entry, version 1: u8 format (1), u8 image state (index in `states`), then as f64 little-endian
 * image.version, image.pendingSinceMs, a, o, x, f, removedAtMs, refused; then image.identity as UTF-8.
 */
export function encodeEntry(entry: ItemEntry): Uint8Array {
  const { image } = entry
  const bytes = Buffer.allocUnsafe(headerBytes + Buffer.byteLength(image.identity))
  bytes[0] = formatVersion
  bytes[1] = states.indexOf(image.state)
  bytes.writeDoubleLE(image.version, 2)
  bytes.writeDoubleLE(image.pendingSinceMs, 10)
  bytes.writeDoubleLE(entry.a, 18)
  bytes.writeDoubleLE(entry.o, 26)
  bytes.writeDoubleLE(entry.x, 34)
  bytes.writeDoubleLE(entry.f, 42)
  bytes.writeDoubleLE(entry.removedAtMs, 50)
  bytes.writeDoubleLE(entry.refused, 58)
  bytes.write(image.identity, headerBytes)
  return bytes
}

/** @throws FreshetError `data-format` */
export function decodeEntry(value: Uint8Array): ItemEntry {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  const state = states[bytes[1] ?? states.length]
  if (bytes.length < headerBytes || bytes[0] !== formatVersion || state === undefined)
    throw new FreshetError('data-format', `item table entry of format ${bytes[0]}, this version reads ${formatVersion}`)
  return {
    image: {
      state,
      version: asOffset(bytes.readDoubleLE(2)),
      identity: bytes.toString('utf8', headerBytes),
      pendingSinceMs: bytes.readDoubleLE(10),
    },
    a: asOffset(bytes.readDoubleLE(18)),
    o: asOffset(bytes.readDoubleLE(26)),
    x: asOffset(bytes.readDoubleLE(34)),
    f: asOffset(bytes.readDoubleLE(42)),
    removedAtMs: bytes.readDoubleLE(50),
    refused: asOffset(bytes.readDoubleLE(58)),
  }
}

const formatVersion = 1
const headerBytes = 66
const states: readonly ImageState[] = ['none', 'pending', 'embedded', 'failed', 'removed']
