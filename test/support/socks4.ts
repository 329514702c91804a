import type { RawClient } from './raw-client.js'

/** What every refusal looks like. */
export const REJECTED = '005b000000000000'

/** A request of SOCKS4; of SOCKS4a where the host is no IPv4 address. */
export function socks4Request(
  host: string,
  port: number,
  { command = 1, userId = '' }: { command?: number; userId?: string | Uint8Array } = {},
): Buffer {
  const isAddress = /^\d+\.\d+\.\d+\.\d+$/.test(host)
  const ip = isAddress ? host.split('.').map(Number) : [0, 0, 0, 1]
  const name = isAddress ? Buffer.alloc(0) : Buffer.from(`${host}\0`, 'latin1')
  const user = typeof userId === 'string' ? Buffer.from(userId) : userId
  return Buffer.concat([Buffer.from([4, command, port >> 8, port & 0xff, ...ip]), user, Buffer.alloc(1), name])
}

/** Reads one reply of SOCKS4 as its parts. */
export async function readReply4(client: RawClient): Promise<{ code: number; host: string; port: number }> {
  const bytes = Buffer.from(await client.read(8), 'hex')
  if (bytes.length < 8 || bytes[0] !== 0) throw new Error(`no reply of SOCKS4: ${bytes.toString('hex')}`)
  return { code: bytes.readUInt8(1), host: bytes.subarray(4).join('.'), port: bytes.readUInt16BE(2) }
}
