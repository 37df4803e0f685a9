import type { Tensor } from '../model-runtime.ts'

/** How a model takes pixels; without it as bytes, NHWC, any scaling being inside its graph. */
export interface PixelForm {
  readonly dtype?: 'uint8' | 'float32'
  readonly layout?: 'NHWC' | 'NCHW'
  /** Of float32: a byte times this, 1/255 when left out; then less the mean and by the standard deviation of its channel. */
  readonly scale?: number
  readonly mean?: readonly [number, number, number]
  readonly std?: readonly [number, number, number]
}

const channels = 3

/** Square RGB pictures of `size`, behind each other as bytes, as the tensor that a model takes. */
export function modelInput(data: Uint8Array, { size, ...form }: PixelForm & { readonly size: number }): Tensor {
  const { dtype = 'uint8', layout = 'NHWC' } = form
  const pixels = size * size
  const count = data.length / (pixels * channels)
  const shape = layout === 'NHWC' ? [count, size, size, channels] : [count, channels, size, size]
  if (dtype === 'uint8' && layout === 'NHWC') return { data, shape }
  const values = dtype === 'uint8' ? new Uint8Array(data.length) : new Float32Array(data.length)
  const tables = dtype === 'uint8' ? null : scaledBytes(form)
  const [pixelStep, channelStep] = layout === 'NHWC' ? [channels, 1] : [1, pixels]
  for (let image = 0; image < count; image++) {
    const from = image * pixels * channels
    for (let channel = 0; channel < channels; channel++) {
      const table = tables?.[channel]
      for (let pixel = 0; pixel < pixels; pixel++) {
        const byte = data[from + pixel * channels + channel]!
        values[from + channel * channelStep + pixel * pixelStep] = table === undefined ? byte : table[byte]!
      }
    }
  }
  return { data: values, shape }
}

/** By channel, what each of the 256 bytes becomes. */
function scaledBytes({ scale = 1 / 255, mean = [0, 0, 0], std = [1, 1, 1] }: PixelForm): readonly Float32Array[] {
  return Array.from({ length: channels }, (_, channel) =>
    Float32Array.from({ length: 256 }, (_, byte) => (byte * scale - mean[channel]!) / std[channel]!),
  )
}
