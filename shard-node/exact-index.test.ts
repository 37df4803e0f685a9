import { ExactIndex } from './exact-index.ts'
import { contractDims, testVectorIndex } from './testing/vector-index-contract.ts'

testVectorIndex('the oracle', { open: async ties => new ExactIndex({ dims: contractDims, ties }) })
