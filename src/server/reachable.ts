import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { parseDestination, ReplyCode, replyError, type SocksError } from '../codec/index.js'
import type { HostAndPort } from './bind-options.js'
import type { Candidate } from './dial.js'

/**
 * The address that packets to a peer leave from. Nothing is sent: a datagram socket only asks the routing table. Rejects
 * with 08 where none leads there.
 */
export async function routeTo({ type, host }: Candidate): Promise<string> {
  const socket = createSocket(type === 'ipv4' ? 'udp4' : 'udp6')
  try {
    socket.connect(1, host)
    await once(socket, 'connect')
    return socket.address().address
  } catch (cause) {
    throw noAddress(cause)
  } finally {
    socket.close()
  }
}

/** What a client is told in place of the address that is bound. @throws what a function of the application's throws. */
export function advertised(
  advertise: string | ((bound: HostAndPort) => HostAndPort) | undefined,
  bound: HostAndPort,
): HostAndPort {
  if (advertise === undefined) return bound
  if (typeof advertise === 'string') return { host: advertise, port: bound.port }
  const { host, port } = advertise(bound)
  return parseDestination(host, port)
}

/** This host has no address that a peer of that family could reach. */
export function noAddress(cause?: unknown): SocksError {
  return replyError(ReplyCode.addressTypeNotSupported, 'no address of this host leads to such a peer', { cause })
}
