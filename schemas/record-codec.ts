/** Where a codec learns schemas from; the registry port fits. */
export interface SchemaSource {
  byId(id: number): Promise<{ readonly id: number; readonly schema: string }>
}

/** Bytes of a topic's values, in Confluent framing: 0x00, schema id as u32 big-endian, Avro binary. */
export interface RecordCodec<T> {
  encode(record: T): Uint8Array
  /**
   * Synchronous, for schema ids already learnt.
   * @throws FreshetError `record-undecodable`; `schema-unknown` when `learn` should be tried first
   */
  decode(value: Uint8Array): T
  /** Fetches the schema of this value from the registry. @throws FreshetError `schema-unknown` | `schema-incompatible` | `record-undecodable` */
  learn(value: Uint8Array): Promise<void>
}
