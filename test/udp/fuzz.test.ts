import { describe, expect, it } from 'vitest'
import { soakUdpAssociations, soakUdpRelay } from './relay.soak.js'

// The volumes are those of `npm run soak`; here it is a slice. An exception that nobody catches fails the run.
describe('UdpRelay and garbage', () => {
  it('S110 S112 S113 S114 thousands of datagrams of garbage from every side throw nothing, and it still works', async () => {
    const { relayed, dropped } = await soakUdpRelay({ runs: 4_000, seed: 1 })
    // Not a test of nothing.
    expect(relayed).toBeGreaterThan(300)
    for (const [reason, count] of Object.entries(dropped))
      if (reason !== 'system') expect(count, reason).toBeGreaterThan(0)
  })

  it('S98 S121 associations opened and closed leave no descriptor behind', async () => {
    await soakUdpAssociations({ runs: 200, seed: 2 })
  })
})
