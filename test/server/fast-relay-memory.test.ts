// What tunnels hold while nobody reads, and after. Clients and targets are a process of their own: the memory is the relay's.

import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { SocksServer } from '../../src/server/index.js'
import { Relay } from '../../src/stream/relay.js'
import { ReusedReader } from '../../src/stream/reused-reader.js'
import { settledHeap } from '../soak/datagrams.js'
import type { Hold } from '../soak/relay-peers.js'
import type { EndScript, TunnelScript } from '../soak/relay-script.js'
import { type RelayFigures, RelayPeers, relayServer, watched } from '../soak/relay-stage.js'
import { settlesAt } from '../support/descriptors.js'
import { cleanup } from '../support/servers.js'
import { startTarget } from '../support/targets.js'

const LARGE = 262_144
const MAX_LENT = 128
const MAX_IDLE = 16

let peers: RelayPeers
let site: { readonly server: SocksServer; readonly port: number }
beforeAll(async () => {
  peers = await RelayPeers.start()
  site = await relayServer({})
})
afterAll(async () => {
  await site.server.close({ graceMs: 0 })
  await peers.stop()
})

function script(seed: number, down: number, up: number): TunnelScript {
  const end = { writing: 'bulk', reading: 'fast', pauses: false, waitsForEnd: false } as const
  const client: EndScript = { ...end, name: seed * 2, total: up }
  const target: EndScript = { ...end, name: seed * 2 + 1, total: down }
  return { seed, client, target, early: undefined, cut: undefined, byName: false }
}

/** Opens tunnels that are held, and waits until nothing moves in them. Resolves to what lets them go on. */
async function held(scripts: readonly TunnelScript[], hold: Hold): Promise<() => Promise<RelayFigures[]>> {
  const all = Promise.all(scripts.map((each) => watched(peers, site.port, each, hold)))
  // It is awaited after the release.
  all.catch(() => {})
  expect(await settlesAt(() => site.server.stats().tunnels, scripts.length)).toBe(scripts.length)
  const moved = (): number => site.server.stats().bytesUp + site.server.stats().bytesDown
  for (let before = -1; before !== moved(); await new Promise((resolve) => setTimeout(resolve, 500))) before = moved()
  return () => {
    peers.release()
    return all
  }
}

async function bytes(): Promise<number> {
  await settledHeap()
  return process.memoryUsage().arrayBuffers
}

async function allBack(): Promise<void> {
  expect(await settlesAt(() => site.server.stats().connections, 0)).toBe(0)
  expect(await settlesAt(() => ReusedReader.pool.lent, 0)).toBe(0)
  expect(ReusedReader.pool.idle).toBeLessThanOrEqual(MAX_IDLE)
}

describe('memory of the fast relay', () => {
  it('200 tunnels whose ends read nothing hold a bounded number of buffers, and a reset brings each of them back', async () => {
    const before = await bytes()
    // The system itself holds up to 5 MB of each.
    const cut = { end: 'client', after: 300_000 } as const
    const scripts = Array.from({ length: 200 }, (_, seed) => script(seed, 8_000_000, seed < 40 ? 8_000_000 : 0))
    const release = await held(
      scripts.map((each) => ({ ...each, ...(each.client.total === 0 && { cut }) })),
      'reads',
    )
    const { lent, idle } = ReusedReader.pool
    expect(lent).toBeGreaterThan(0)
    expect([lent <= MAX_LENT, idle <= MAX_IDLE]).toEqual([true, true])
    // Of each: what waits for its client, at most one large buffer; what waits for its target, and what was read behind it.
    const limit = 200 * (LARGE + 2 * 65_536) + (MAX_LENT + MAX_IDLE) * LARGE
    expect((await bytes()) - before).toBeLessThan(limit)
    expect((await release()).filter(({ resets }) => resets > 0)).toHaveLength(160)
    await allBack()
  })

  it('300 idle tunnels after a burst hold no more than all of them together may', async () => {
    const before = await bytes()
    const scripts = Array.from({ length: 300 }, (_, seed) => script(seed, 1_000_000, 300_000))
    const release = await held(scripts, 'ends')
    const { lent, idle } = ReusedReader.pool
    expect([lent <= MAX_LENT, idle <= MAX_IDLE]).toEqual([true, true])
    expect((await bytes()) - before).toBeLessThan((MAX_LENT + MAX_IDLE) * LARGE + 300 * 16_384)
    await release()
    await allBack()
  })

  it('a client that takes nothing is not kept a large buffer for each byte that waits for it', async () => {
    const target = await startTarget()
    cleanup(() => target.close())
    const listener = createServer({ noDelay: true }).listen(0, '127.0.0.1')
    cleanup(() => listener.close())
    await once(listener, 'listening')
    const address = listener.address()
    const far = connect(typeof address === 'object' && address !== null ? address.port : 0, '127.0.0.1')
    const [near]: Socket[] = await once(listener, 'connection')
    if (near === undefined) throw new Error('nobody came')
    const reader = new ReusedReader()
    reader.use()
    const dialed = connect({ port: target.port, host: '127.0.0.1', onread: reader.onread, allowHalfOpen: true })
    const source = await target.connection()
    const relay = new Relay(near, dialed, {}, { reader })
    cleanup(() => [relay.destroy(), far.destroy()])
    let received = 0
    far.on('data', ({ length }) => {
      received += length
    })
    source.write(Buffer.alloc(100_000))
    expect(await settlesAt(() => received, 100_000)).toBe(100_000)
    // From here on all that is written waits, as it does behind a client that does not read.
    near.cork()
    const held = new Set<ArrayBufferLike>()
    const { write } = near
    near.write = (chunk: Uint8Array) => {
      held.add(chunk.buffer)
      return write.call(near, chunk)
    }
    for (let sent = 1; sent <= 100; sent++) {
      source.write('x')
      while (near.writableLength < sent) await new Promise((resolve) => setImmediate(resolve))
    }
    let sum = 0
    for (const { byteLength } of held) sum += byteLength
    expect(sum).toBeLessThanOrEqual(3 * LARGE)
  })
})
