import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { parseDestination, ReplyCode, replyError, type SocksError } from '../codec/index.js'
import type { HostAndPort } from './bind-options.js'
import type { Candidate } from './dial.js'
import { hookError } from './operation.js'

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
  try {
    const told = advertise(bound)
    assertAddress(told, 'advertise')
    return told
  } catch (cause) {
    throw hookError('advertise', cause, ReplyCode.generalFailure)
  }
}

/** This host has no address that a peer of that family could reach. */
export function noAddress(cause?: unknown): SocksError {
  return replyError(ReplyCode.addressTypeNotSupported, 'no address of this host leads to such a peer', { cause })
}

/** @throws TypeError for what is no address that a client can be told, of a hook called `name`. */
export function assertAddress(address: unknown, name: string): asserts address is HostAndPort {
  // `as`: looked at property by property.
  const { host, port } = (address ?? {}) as Partial<HostAndPort>
  if (typeof host === 'string' && typeof port === 'number') {
    try {
      parseDestination(host, port)
      return
    } catch {}
  }
  throw new TypeError(`${name} gave no { host, port } that a client can be told`)
}
