import type { Duplex } from 'node:stream'
import { type Address, UNSPECIFIED_ADDRESS } from '../codec/address.js'
import { ReplyCode } from '../codec/constants.js'
import { isSocksError, SocksError } from '../codec/errors.js'
import type { Connection } from './chain.js'

/** What a server wants dialed. */
export interface DialRequest {
  readonly host: string
  readonly port: number
  readonly signal?: AbortSignal | undefined
  /** Set when the server has looked the name up and checked what it found: then these are dialed, not the name. */
  readonly addresses?: readonly string[] | undefined
}

/** Reaches what a server was asked for. */
export type Dialer = (request: DialRequest) => Promise<{ readonly stream: Duplex; readonly bound: Address }>

/**
 * A dialer whose errors carry the `replyCode` for the client downstream. The target's own fate is passed on as the
 * last proxy told it; trouble on the way to that proxy, or with our credentials there, is a general failure: a client
 * must not read "connection refused" as being about its target.
 */
export function createDialer(
  connect: (request: Omit<DialRequest, 'addresses'>) => Promise<Connection>,
  lastHop: number,
): Dialer {
  return async ({ host, port, signal, addresses }) => {
    try {
      const { socket, bound } = await connect({ host: addresses?.[0] ?? host, port, signal })
      // A name is legal here, but may hold any byte, and no client has a use for it.
      return { stream: socket, bound: bound.type === 'domain' ? UNSPECIFIED_ADDRESS : bound }
    } catch (error) {
      throw isSocksError(error) ? downstream(error, lastHop) : error
    }
  }
}

function downstream(error: SocksError, lastHop: number): SocksError {
  const isAboutTarget = error.hop === undefined || error.hop === lastHop
  if (isAboutTarget && error.replyCode !== undefined) return error
  const { code, message, status, hop, target, cause } = error
  return new SocksError(code, message, { replyCode: ReplyCode.generalFailure, status, hop, target, cause })
}
