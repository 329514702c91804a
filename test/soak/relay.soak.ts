// Tunnels of every kind, 64 at a time, every byte compared: three of four by the fast paths of a relay, the fourth by the
// plain one. Clients and targets are a process of their own, so that the figures of memory are the relay's.

import { ReusedReader } from '../../src/stream/reused-reader.js'
import { descriptors, untilEqual } from './datagrams.js'
import { tunnelScript } from './relay-script.js'
import { type RelayFigures, RelayPeers, relayServer, sum, watched } from './relay-stage.js'

const AT_A_TIME = 64

/** At most this much at a time, of 64 tunnels that all hold what they may: 128 + 64 large buffers, 128 KiB of each client. */
const MEMORY_LIMIT = 400_000_000

/** What a soak has come to. */
export interface RelaySoakFigures extends RelayFigures {
  readonly peakResidentBytes: number
}

interface RelaySoakOptions {
  /** Seconds. */
  readonly runs: number
  readonly seed: number
  /** Told what there is to say at the end. Default: `console.log`. */
  readonly tell?: (line: string) => void
}

/** Tunnels for `runs` seconds. @throws Error with the script of a tunnel that carried a wrong byte, or too few. */
export async function soakRelay({ runs, seed, tell = console.log }: RelaySoakOptions): Promise<RelaySoakFigures> {
  const peers = await RelayPeers.start()
  const before = descriptors()
  const [fast, plain] = [await relayServer({}), await relayServer({ fastRelay: false })]
  const deadline = performance.now() + runs * 1_000
  const peak = { rss: 0, arrayBuffers: 0, lent: 0 }
  const timer = setInterval(() => {
    const { rss, arrayBuffers } = process.memoryUsage()
    peak.rss = Math.max(peak.rss, rss)
    peak.arrayBuffers = Math.max(peak.arrayBuffers, arrayBuffers)
    peak.lent = Math.max(peak.lent, ReusedReader.pool.lent)
  }, 20)
  let next = seed * 1_000
  const lane = async (): Promise<RelayFigures> => {
    const figures: RelayFigures[] = []
    while (performance.now() < deadline) {
      const script = tunnelScript(next++)
      figures.push(await watched(peers, script.seed % 4 === 0 ? plain.port : fast.port, script))
    }
    return sum(figures)
  }
  try {
    const figures = sum(await Promise.all(Array.from({ length: AT_A_TIME }, lane)))
    for (const { server } of [fast, plain]) await untilEqual(() => server.stats().connections, 0)
    await untilEqual(() => ReusedReader.pool.lent, 0)
    for (const { server } of [fast, plain]) await server.close({ graceMs: 0 })
    await untilEqual(descriptors, before)
    tell(
      `relay: ${figures.tunnels} tunnels, ${figures.resets} of them reset, ${mega(figures.bytesUp)} up, ` +
        `${mega(figures.bytesDown)} down, 0 mismatches; peak RSS ${mega(peak.rss)}, buffers ${mega(peak.arrayBuffers)}; ` +
        `large buffers: at most ${peak.lent} lent, ${ReusedReader.pool.lent} lent and ${ReusedReader.pool.idle} idle now`,
    )
    if (peak.arrayBuffers > MEMORY_LIMIT) throw new Error(`buffers of ${mega(peak.arrayBuffers)} are too many`)
    return { ...figures, peakResidentBytes: peak.rss }
  } finally {
    clearInterval(timer)
    await peers.stop()
  }
}

function mega(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}
