/**
 * Encoders of images as others export them, small enough to be made in a test: a linear map of the pixels as an ONNX
 * file. Field numbers are those of `onnx.proto3` (ONNX IR version 8, opset 17).
 */
export interface TinyEncoder {
  readonly size: number
  readonly dims: number
  /** `image_embeds` [n, dims], as CLIP has it, or `last_hidden_state` [n, tokens, dims], as DINO has it. */
  readonly tokens?: number
  /** The graph itself makes vectors of unit length. */
  readonly unit?: boolean
  /** NaN for about every other number. */
  readonly broken?: boolean
  /** Weights differ by it. */
  readonly seed?: number
}

export const tinyInput = 'pixel_values'

export function tinyOutput({ tokens }: TinyEncoder): string {
  return tokens === undefined ? 'image_embeds' : 'last_hidden_state'
}

export function tinyOnnx(encoder: TinyEncoder): Buffer {
  const { size, dims, tokens, unit = false, broken = false, seed = 1 } = encoder
  const inputs = 3 * size * size
  const outputs = dims * (tokens ?? 1)
  const steps: [op: string, inputs: string[], attributes: Buffer[]][] = [
    ['Flatten', [tinyInput], [intAttribute('axis', 1)]],
    ['MatMul', ['step0', 'weights'], []],
    ['Reshape', ['step1', 'shape'], []],
  ]
  if (broken) steps.push(['Log', ['step2'], []])
  if (unit)
    steps.push(['LpNormalization', [`step${steps.length - 1}`], [intAttribute('axis', -1), intAttribute('p', 2)]])
  const output = tinyOutput(encoder)
  const nodes = steps.map(([op, from, attributes], i) =>
    message(
      ...from.map(name => text(1, name)),
      text(2, i === steps.length - 1 ? output : `step${i}`),
      text(4, op),
      ...attributes.map(attribute => bytes(5, attribute)),
    ),
  )
  const shape = tokens === undefined ? [-1, dims] : [-1, tokens, dims]
  const outputShape = tokens === undefined ? ['n', dims] : ['n', tokens, dims]
  const graph = message(
    ...nodes.map(node => bytes(1, node)),
    text(2, 'tiny'),
    bytes(5, tensor('weights', 1, [inputs, outputs], weights(inputs * outputs, seed))),
    bytes(5, tensor('shape', 7, [shape.length], Buffer.from(BigInt64Array.from(shape, BigInt).buffer))),
    bytes(11, valueInfo(tinyInput, ['n', 3, size, size])),
    bytes(12, valueInfo(output, outputShape)),
  )
  return message(varint(1, 8), bytes(7, graph), bytes(8, message(text(1, ''), varint(2, 17))))
}

function weights(count: number, seed: number): Buffer {
  let state = seed
  const next = (): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return state / 2 ** 32 - 0.5
  }
  return Buffer.from(Float32Array.from({ length: count }, next).buffer)
}

function tensor(name: string, type: number, dims: readonly number[], data: Buffer): Buffer {
  return message(...dims.map(dim => varint(1, dim)), varint(2, type), text(8, name), bytes(9, data))
}

function valueInfo(name: string, dims: readonly (string | number)[]): Buffer {
  const shape = message(...dims.map(dim => bytes(1, typeof dim === 'string' ? text(2, dim) : varint(1, dim))))
  return message(text(1, name), bytes(2, bytes(1, message(varint(1, 1), bytes(2, shape)))))
}

function intAttribute(name: string, value: number): Buffer {
  return message(text(1, name), varint(3, value), varint(20, 2))
}

function message(...fields: readonly Buffer[]): Buffer {
  return Buffer.concat(fields)
}

function text(field: number, value: string): Buffer {
  return bytes(field, Buffer.from(value))
}

function bytes(field: number, value: Buffer): Buffer {
  return Buffer.concat([number((field << 3) | 2), number(value.length), value])
}

function varint(field: number, value: number): Buffer {
  return Buffer.concat([number(field << 3), number(value)])
}

/** Negative ones take ten bytes, as two's complement. */
function number(value: number): Buffer {
  const out: number[] = []
  let rest = BigInt.asUintN(64, BigInt(value))
  for (; rest > 127n; rest >>= 7n) out.push(Number(rest & 127n) | 128)
  return Buffer.from([...out, Number(rest)])
}
