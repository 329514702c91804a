import type { Duplex } from 'node:stream'
import type { Address } from '../codec/address.js'
import { ClientSession } from '../codec/client-session.js'
import type { Destination } from '../codec/destination.js'
import type { Credentials } from '../codec/userpass.js'
import type { ClientMethod } from './auth-method.js'
import { Negotiation } from './negotiation.js'

/** What the handshake is waiting for; in `'auth'` for a custom method. */
export type HandshakeStage = 'method' | 'status' | 'auth' | 'reply'

/** What to ask of a proxy. */
export interface HandshakeRequest {
  readonly destination: Pick<Destination, 'host' | 'port'>
  /** CMD byte. Default CONNECT. */
  readonly command?: number | undefined
  readonly credentials?: Credentials | undefined
  /** A method of your own, made by `customMethod`, to offer beside the others. Not of SOCKS4. */
  readonly auth?: ClientMethod | undefined
  /** Do not offer "no authentication", so that the proxy cannot let everybody in. Default `false`. */
  readonly requireAuth?: boolean | undefined
  /**
   * Say everything at once: greeting, credentials, request and `firstData` in one write, and then wait. It offers one
   * method, "username and password" where there are credentials, and cannot be used with `auth`. Default `false`.
   */
  readonly optimistic?: boolean | undefined
  /**
   * Bytes for the target of a CONNECT: with `optimistic` sent in the same write, else as soon as the proxy has granted it.
   * They must not be changed before.
   */
  readonly firstData?: Uint8Array | undefined
  /** Version of SOCKS to speak. Default 5; in 4 the username is the USERID, and there is no password. */
  readonly version?: 4 | 5 | undefined
  /** Told when the handshake begins to wait for something. */
  readonly onStage?: ((stage: HandshakeStage) => void) | undefined
}

/** What a proxy answered. */
export interface HandshakeResult {
  /** BND.ADDR and BND.PORT, as they stand on the wire. */
  readonly bound: Address
  /** The stream to go on with: the one that was given, or what the method's `wrap` has put around it. */
  readonly stream: Duplex
}

/**
 * Runs one SOCKS5 handshake over any stream. On success the stream is idle: nothing listens but a guard for `'error'`,
 * bytes behind the reply are unread, and every way of reading starts it. On failure it is destroyed.
 * @throws SocksError (rejects) for a refusal, wrong bytes, or a stream that ends; RangeError for `optimistic` with `auth`.
 */
export async function handshake(stream: Duplex, request: HandshakeRequest): Promise<HandshakeResult> {
  const { bound, stream: tunnel } = await negotiate(stream, request)
  return { bound, stream: tunnel }
}

/** What a proxy answered, and the session in which it did: of BIND there is another reply to come. */
export interface Negotiated extends HandshakeResult {
  readonly session: ClientSession
}

/** As {@link handshake}. `own` is told of a stream that a method puts around the one that was given. */
export function negotiate(
  stream: Duplex,
  request: HandshakeRequest,
  own: (wrapped: Duplex) => void = () => {},
): Promise<Negotiated> {
  return new Promise((resolve, reject) => {
    const session = new ClientSession({ socks4: request.version === 4, optimistic: request.optimistic })
    new Negotiation(stream, session, { resolve, reject, own }).start(request)
  })
}

/** Waits for the second reply of BIND, over a stream that is idle since the first. As {@link handshake} else. */
export function awaitSecondReply(stream: Duplex, session: ClientSession): Promise<Negotiated> {
  return new Promise((resolve, reject) => {
    new Negotiation(stream, session, { resolve, reject, own: () => {} }).resume()
  })
}
