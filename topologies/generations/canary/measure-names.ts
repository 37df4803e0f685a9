/**
 * Every measure of the canary gate, by its name, and what it is. Those with `@` say how many results were looked at;
 * bounds may be set on each of them and on nothing else.
 */
export const measureNames = {
  'shards.covered': 'share of the shards that have a ready replica',
  'replicas.ready': 'share of the replicas that are ready',
  'index.ageMs': 'age of the oldest event that is not searchable, of the stalest replica',
  'items.searchable': 'searchable items, one replica of each shard counted',
  'items.failedShare': 'share of the items whose newest picture failed',
  'answers.failedShare': 'share of the questions that got an error',
  'answers.degradedShare': 'share of the answers that lack a shard',
  'vectors.wrongDims': 'sampled vectors that are not of the dimension of the model',
  'vectors.normMin': 'length of the shortest sampled vector',
  'vectors.normMax': 'length of the longest sampled vector',
  'vectors.normMean': 'mean length of the sampled vectors',
  'vectors.meanCosine': 'mean cosine of two sampled vectors: near 1 when all point one way',
  'vectors.duplicateShare': 'share of the sampled pictures that have the vector of another picture',
  'index.selfFirst': 'share of the sampled vectors that find their own item first, of the worst replica',
  'index.recall@10': 'share of the true neighbours (exact scan) that the index finds, of the worst replica',
  'picture.found@10': 'share of the items found by their own stored picture',
  'picture.cropFound@1': 'share of the items found first by the middle of their own picture',
  'picture.cropFound@10': 'share of the items found by the middle of their own picture',
  'neighbours.sameCategory@10': 'share of the items like an item that are of its category',
  'neighbours.agreement@10': 'share of the items like an item that both generations name',
  'labelled.recall@1': 'share of the questions of the labelled set with a right answer first',
  'labelled.recall@5': 'the same among the first 5',
  'labelled.recall@10': 'the same among the first 10',
  'labelled.picture.recall@1': 'of the questions that ask by a whole picture: right answer first',
  'labelled.picture.recall@5': 'the same among the first 5',
  'labelled.picture.recall@10': 'the same among the first 10',
  'labelled.picture.ndcg@10': 'how well those answers are ordered by their grades',
  'labelled.box.recall@1': 'of the questions that ask by a box in a picture: right answer first',
  'labelled.box.recall@5': 'the same among the first 5',
  'labelled.box.recall@10': 'the same among the first 10',
  'labelled.detected.recall@1': 'the same questions by the box the detector finds there: right answer first',
  'labelled.detected.recall@5': 'the same among the first 5',
  'labelled.detected.recall@10': 'the same among the first 10',
  'engagement.recall@24': 'share of the items chosen together with an item that a search like it shows',
  'latency.p50Ms': 'half of the searches by picture take at most so long',
  'latency.p95Ms': '95% of the searches by picture take at most so long',
} as const satisfies Readonly<Record<string, string>>

export type MeasureName = keyof typeof measureNames

/** Of both sides; null: could not be measured. */
export type Measured = {
  readonly [Name in MeasureName]?: { readonly candidate: number | null; readonly reference: number | null }
}
