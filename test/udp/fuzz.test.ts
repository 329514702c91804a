import { describe, expect, it } from 'vitest'
import { soakUdpAssociations, soakUdpDatagrams } from '../soak/udp.soak.js'
import { soakUdpRelay } from '../soak/udp-relay.soak.js'

// The volumes are those of `npm run soak`; here it is a slice. An exception that nobody catches fails the run.
describe('UDP and garbage', () => {
  it('S110 S112 S113 S114 thousands of datagrams of garbage from every side of a relay throw nothing, and it still works', async () => {
    const { relayed, dropped } = await soakUdpRelay({ runs: 4_000, seed: 1 })
    // Not a test of nothing.
    expect(relayed).toBeGreaterThan(300)
    for (const [reason, count] of Object.entries(dropped))
      if (reason !== 'system') expect(count, reason).toBeGreaterThan(0)
  })

  it('S110 S116 nor do those from every side of a server with its hooks, and of a client', async () => {
    const lines: string[] = []
    await soakUdpDatagrams({ runs: 4_000, seed: 3, tell: (line) => lines.push(line) })
    expect(lines).toHaveLength(1)
    for (const figure of lines[0]?.match(/\d+/g) ?? []) expect(Number(figure)).toBeGreaterThanOrEqual(0)
    expect(lines[0]).not.toMatch(/took 0|refused 0/)
  })

  it('S98 S121 associations opened and closed leave no descriptor behind, and no heap', async () => {
    const lines: string[] = []
    await soakUdpAssociations({ runs: 100, seed: 2, tell: (line) => lines.push(line) })
    expect(lines[0]).toMatch(/^associations: 100 opened and closed, descriptors (\d+) \(\1 at the start\)/)
  })
})
