import { describe, expect, it } from 'vitest'
import { soakCodec } from '../soak/codec.soak.js'

describe('garbage and mutated conversations', () => {
  it('bring nothing but a SocksError out of decoders and sessions', async () => {
    const { runs, seed } = await soakCodec({ runs: 2_000 })
    expect(runs).toBe(2_000)
    expect(Number.isInteger(seed)).toBe(true)
  })

  it('can be repeated by their seed', async () => {
    expect(await soakCodec({ runs: 10, seed: 1928 })).toEqual({ runs: 10, seed: 1928 })
  })
})
