export interface Tensor {
  readonly data: Uint8Array | Float32Array | Int32Array
  readonly shape: readonly number[]
}

/** A loaded model. One owner; runs are never concurrent. */
export interface ModelSession {
  /** Runs the graph on one input. @throws FreshetError `model-invalid` when the graph refuses the shape */
  run(inputName: string, input: Tensor): Promise<Readonly<Record<string, Tensor>>>
  close(): Promise<void>
}

/** Called by the picture pipeline, inside a model process; a native crash ends that process. */
export interface ModelRuntime {
  /** @throws FreshetError `model-invalid` when the file is not a model this runtime can run */
  load(path: string): Promise<ModelSession>
}
