declare module 'snappyjs' {
  const snappy: {
    compress(bytes: Buffer): Buffer
    uncompress(bytes: Buffer, maxLength: number): Buffer
  }
  export default snappy
}

declare module 'lz4js' {
  const lz4: {
    compress(bytes: Uint8Array): Uint8Array
    decompress(frame: Uint8Array): Uint8Array
  }
  export default lz4
}
