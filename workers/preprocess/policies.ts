/**
 * Names of what preprocessing does, as manifests state them. A change of behaviour gets a new name and so a new
 * fingerprint. Apart from the code behind them, so that who reads a manifest loads no image library.
 */
export const decodePolicy = 'decode-v1'
export const stretchPolicy = 'stretch-v1'
export const cropPolicy = 'crop-square-v1'
