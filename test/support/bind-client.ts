import { connect, type Socket } from 'node:net'
import { connectRequest, GREETING_NO_AUTH, hex, type RawClient } from './raw-client.js'
import { cleanup, type Fixture } from './servers.js'

/** A reply as its parts; BND as text. */
export interface ParsedReply {
  readonly code: number
  readonly host: string
  readonly port: number
}

/** Reads one reply of SOCKS5. */
export async function readReply(client: RawClient): Promise<ParsedReply> {
  const head = Buffer.from(await client.read(4), 'hex')
  if (head.length < 4) throw new Error(`no reply: ${head.toString('hex')}`)
  const [, code = 0, , atyp] = head
  const size = atyp === 1 ? 4 : atyp === 4 ? 16 : Number.parseInt(await client.read(1), 16)
  const host = Buffer.from(await client.read(size), 'hex')
  const port = Number.parseInt(await client.read(2), 16)
  if (atyp === 1) return { code, host: [...host].join('.'), port }
  if (atyp === 4) return { code, host: (host.toString('hex').match(/.{4}/g) ?? []).join(':'), port }
  return { code, host: host.toString('latin1'), port }
}

/** Asks a server without authentication to BIND, and reads the first reply. */
export async function requestBind(
  fixture: Pick<Fixture, 'client'>,
  host = '0.0.0.0',
  port = 0,
): Promise<{ client: RawClient; first: ParsedReply }> {
  const client = await fixture.client()
  client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest(host, port, 2)]))
  await client.read(2)
  return { client, first: await readReply(client) }
}

/** A peer that connects to where the first reply said. */
export function peerOf({ host, port }: { host: string; port: number }, localAddress = '127.0.0.1'): Socket {
  const socket = connect({ host, port, localAddress, allowHalfOpen: true })
  socket.on('error', () => {})
  cleanup(() => socket.destroy())
  return socket
}

/** Resolves when the other side has closed. */
export async function dropped(socket: Socket): Promise<void> {
  socket.resume()
  if (!socket.readableEnded && !socket.destroyed) {
    await new Promise<void>((resolve) => {
      for (const event of ['end', 'close']) socket.on(event, () => resolve())
    })
  }
  socket.destroy()
}

/** A request whose address is IPv6. */
export function ipv6Request(sixteen: string, port: number, command = 1): Buffer {
  return Buffer.concat([Buffer.from([5, command, 0, 4]), hex(sixteen), Buffer.from([port >> 8, port & 0xff])])
}
