import { afterEach } from 'vitest'
import { type Address, decodeUdpDatagram, encodeUdpDatagram } from '../../src/codec/index.js'
import { openUdpRelay, type UdpRelay, type UdpRelayOptions } from '../../src/udp/index.js'
import { utf8 } from '../support/bytes.js'
import { Peer } from './peer.js'

export { Peer } from './peer.js'

const cleanups: (() => unknown)[] = []

/** Runs when the current test is over, whatever came of it. */
export function cleanup(work: () => unknown): void {
  cleanups.push(work)
}

afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work()
  Peer.closeAll()
})

/** Options of a relay under test: those that matter to it. */
export type RelayOptions = Partial<UdpRelayOptions>

/** A relay for a client on 127.0.0.1 that may send anywhere, closed when the test is over. */
export async function openRelay(options: RelayOptions = {}): Promise<UdpRelay> {
  const relay = await openUdpRelay({
    bind: { host: '127.0.0.1' },
    client: { address: '127.0.0.1' },
    decide: anywhere,
    ...options,
  })
  cleanup(() => relay.close())
  return relay
}

/** Allows every destination; the name `target.test` is 127.0.0.1, `six.test` is ::1, and there are no others. */
export async function anywhere({ type, host }: { type: string; host: string }) {
  if (type === 'ipv4' || type === 'ipv6') return { type, host } as const
  if (host === 'target.test') return { type: 'ipv4', host: '127.0.0.1' } as const
  if (host === 'six.test') return { type: 'ipv6', host: '::1' } as const
  throw new Error('ENOTFOUND')
}

/** A datagram to a relay. */
export function wrap(address: Address, payload: Uint8Array | string = '', fragment = 0): Uint8Array {
  return encodeUdpDatagram({ fragment, address, payload: typeof payload === 'string' ? utf8(payload) : payload })
}

/** A datagram of a relay. */
export function unwrap(data: Uint8Array): { fragment: number; address: Address; payload: Buffer } {
  const decoded = decodeUdpDatagram(data)?.value
  if (decoded === undefined) throw new Error('no datagram')
  return { ...decoded, payload: Buffer.from(decoded.payload) }
}

/** The text of the next datagram that a client gets from a relay. */
export async function nextText(client: Peer): Promise<string> {
  return unwrap((await client.next()).data).payload.toString()
}

/** Sends a datagram through a relay to an echo and waits until it is back: what was sent before has been dealt with. */
export async function settle(client: Peer, relay: UdpRelay, echo: Peer, text = 'sentinel'): Promise<void> {
  await client.send(wrap(echo.address, text), relay.address)
  const got = await nextText(client)
  if (got !== text) throw new Error(`${got} came instead of ${text}`)
}

/** Bytes that tell where they belong. */
export function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let index = 0; index < length; index++) bytes[index] = (index * 31 + (index >> 8)) & 0xff
  return bytes
}

/** The counters of a relay that are not zero. */
export function dropsOf(relay: UdpRelay): Record<string, number> {
  return Object.fromEntries(Object.entries(relay.stats().dropped).filter(([, count]) => count > 0))
}
