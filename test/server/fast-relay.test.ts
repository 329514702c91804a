// The two fast paths of a relay: every byte is compared, by the same harness that `npm run soak -- relay` runs for ten minutes.

import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { SocksServer } from '../../src/server/index.js'
import { ReusedReader } from '../../src/stream/reused-reader.js'
import { tunnelScript } from '../soak/relay-script.js'
import { RelayPeers, relayServer, watched } from '../soak/relay-stage.js'
import { settlesAt } from '../support/descriptors.js'

let peers: RelayPeers
beforeAll(async () => {
  peers = await RelayPeers.start()
})
afterAll(() => peers.stop())

describe.each([
  ['fast', true],
  ['plain', false],
])('the %s relay', (_name, fastRelay) => {
  let site: { readonly server: SocksServer; readonly port: number }
  beforeAll(async () => {
    site = await relayServer({ fastRelay })
  })
  afterAll(() => site.server.close({ graceMs: 0 }))

  it('carries every byte of up to 64 tunnels at once to its place, whatever their ends do', async () => {
    // A tunnel is a seed, so that what fails shrinks to the tunnels that it takes.
    const seeds = fc.array(fc.nat(0x3fff_ffff), { minLength: 1, maxLength: 64, size: 'max' })
    await fc.assert(
      fc.asyncProperty(seeds, async (all) => {
        const results = await Promise.allSettled(all.map((seed) => watched(peers, site.port, tunnelScript(seed))))
        for (const result of results) if (result.status === 'rejected') throw result.reason
      }),
      // A run takes seconds, and fails by chance of time: to shrink it tells little more than its script does.
      { numRuns: 12, endOnFailure: true },
    )
    expect(await settlesAt(() => site.server.stats().connections, 0)).toBe(0)
    expect(await settlesAt(() => ReusedReader.pool.lent, 0)).toBe(0)
    expect(ReusedReader.pool.idle).toBeLessThanOrEqual(16)
  })
})
