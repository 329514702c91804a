import { assertOptions, isPort, outOfRange } from '../codec/arguments.js'
import { isUnspecified } from '../codec/destination.js'
import { type Destination, formatDestination, parseDestination, ReplyCode, SocksError } from '../codec/index.js'
import type { Cancellation } from './cancellation.js'
import type { Candidate } from './dial.js'
import type { OutboundRequest, OutboundTarget, RequestCommand } from './request.js'
import { type Identity, ServerSideSession, type Session } from './session.js'

const TARGET_KEYS = ['host', 'port', 'clientAddress', 'identity', 'session', 'signal']

/** What ends an attempt: the signal that was given, or else the end of the session. */
export function endOf({ signal, session }: OutboundTarget): Cancellation | AbortSignal | undefined {
  return signal ?? (session instanceof ServerSideSession ? session.gone : undefined)
}

/** Canonical destination of a target. @throws SocksError, TypeError and RangeError for what is none. */
export function destinationOf(target: OutboundTarget): Destination {
  const { host, port } = checkedTarget(target)
  return parseDestination(host, port)
}

function checkedTarget(target: OutboundTarget): OutboundTarget {
  assertOptions(target, TARGET_KEYS)
  if (!isPort(target.port)) throw outOfRange('port must be an integer from 0 to 65535')
  return target
}

/** The request as hooks see it. Immutable. */
export class AskedRequest implements OutboundRequest {
  readonly command: RequestCommand
  readonly type: Destination['type']
  readonly host: string
  readonly port: number
  readonly identity: Identity
  readonly clientAddress: string | undefined
  readonly session: Session | undefined
  declare readonly requested?: Destination
  declare readonly addresses?: readonly string[]
  readonly #cancellation: Cancellation

  /** `details`: what only some requests have. */
  constructor(
    command: RequestCommand,
    { type, host, port }: Destination,
    { identity = NO_IDENTITY, clientAddress, session }: OutboundTarget,
    cancellation: Cancellation,
    details?: Pick<OutboundRequest, 'requested' | 'addresses'>,
  ) {
    this.command = command
    this.type = type
    this.host = host
    this.port = port
    this.identity = identity
    this.clientAddress = clientAddress
    this.session = session
    this.#cancellation = cancellation
    if (details !== undefined) Object.assign(this, details)
    Object.freeze(this)
  }

  /** Made when it is asked for, by hooks, which most requests never meet. */
  get signal(): AbortSignal {
    return this.#cancellation.signal
  }

  /** The same request with the addresses that were looked up and allowed. */
  withAddresses(addresses: readonly string[]): OutboundRequest {
    return new AskedRequest(this.command, this, this, this.#cancellation, { addresses })
  }
}

const NO_IDENTITY: Identity = Object.freeze({})

/** A literal is its own candidate; a name has none before it is looked up. */
export function literalOf({ type, host, port }: Destination): Candidate[] | undefined {
  return type === 'domain' ? undefined : [{ type, host, port }]
}

/** Canonical destination of a CONNECT. What no connection can lead to is refused here, whatever the rules say. */
export function dialable(asked: OutboundTarget): Destination {
  const destination = destinationOf(asked)
  const { host, port } = destination
  if (port === 0) {
    throw new SocksError('ERR_SOCKS_INVALID_PORT', 'port 0', {
      replyCode: ReplyCode.generalFailure,
      target: formatDestination(destination),
    })
  }
  // Systems connect 0.0.0.0 and :: to themselves.
  if (isUnspecified(host)) {
    throw new SocksError('ERR_SOCKS_INVALID_HOST', 'unspecified address', {
      replyCode: ReplyCode.hostUnreachable,
      target: formatDestination(destination),
    })
  }
  return destination
}

/** The error of an attempt whose time is up. */
export function dialTimeout(destination: Destination): SocksError {
  const target = formatDestination(destination)
  return new SocksError('ERR_SOCKS_DIAL_TIMEOUT', `no connection to ${target} in time`, {
    replyCode: ReplyCode.ttlExpired,
    target,
  })
}
