import { parseItemId } from '../../../schemas/ids.ts'
import type { RegisterMutation } from '../../../schemas/mutation.ts'
import { attributesPut, itemRemoved, objectsPut, workFailed } from '../../testing/shard-on-log.ts'
import type { ModelledStore } from './store-comparison.ts'

const vector = Float32Array.of(1, 0)

/** Items of every standing, replaced often enough that compaction rewrites them; one is forgotten, its number used again. */
export async function fillGolden(modelled: ModelledStore): Promise<void> {
  await applyAll(modelled, [
    attributesPut('forgotten', 1),
    itemRemoved('forgotten', 2),
    ...everyStanding('first '),
    attributesPut('Lampe 💡', 10, { title: 'Stehlampe “Ü”', price: null, regions: [], attributes: { holz: true } }),
    objectsPut('Lampe 💡', 10, [vector, vector, vector]),
  ])
  await forget(modelled, 'forgotten')
  await modelled.store.forgetRemoved(0, () => true)
  await applyAll(modelled, [attributesPut('successor', 20), workFailed('successor', 21, true)])
  for (let offset = 100; offset < 130; offset++) {
    await applyAll(modelled, [attributesPut('busy', offset), objectsPut('busy', offset, [vector])])
    await modelled.store.settled()
  }
  await applyAll(modelled, [...everyStanding('last '), attributesPut('gone', 40), itemRemoved('gone', 41)])
  await forget(modelled, 'gone')
}

async function forget({ store, model }: ModelledStore, itemId: string): Promise<void> {
  await store.forgetRemoved(Number.MAX_SAFE_INTEGER, ({ item }) => store.idOf(item) === itemId)
  model.items.delete(parseItemId(itemId))
}

function everyStanding(prefix: string): RegisterMutation[] {
  return [
    attributesPut(`${prefix}searchable`, 30, { price: 12.5, attributes: { seats: 4, colour: 'red' } }),
    objectsPut(`${prefix}searchable`, 30, [vector]),
    attributesPut(`${prefix}pending`, 31),
    attributesPut(`${prefix}failed`, 32, { available: false }),
    workFailed(`${prefix}failed`, 32),
    attributesPut(`${prefix}deleted`, 33),
    objectsPut(`${prefix}deleted`, 33, [vector]),
    workFailed(`${prefix}deleted`, 34),
    itemRemoved(`${prefix}deleted`, 35),
    objectsPut(`${prefix}unknown`, 36, [vector, vector]),
  ]
}

async function applyAll(modelled: ModelledStore, mutations: readonly RegisterMutation[]): Promise<void> {
  for (const mutation of mutations) modelled.apply(mutation)
  await modelled.store.flush()
}
