import { invalidArgument } from '../codec/arguments.js'
import type { Destination } from '../codec/index.js'
import type { Arrival, ConnectionSettings } from './arrival.js'
import type { HostAndPort } from './bind-options.js'
import type { ClientConnection } from './client-connection.js'
import { egress } from './egress.js'
import { ForwardConnection } from './forward-connection.js'
import { checkedTarget } from './forward-target.js'
import { FrontDoor, type FrontDoorSettings } from './front-door.js'
import { assertOptionTypes, FRONT_DOOR_OPTION_TYPES } from './option-types.js'
import { type ClientSocket, type FrontDoorOptions, frontDoorSettings } from './options.js'
import type { Session } from './session.js'

/** Options of `createForwardServer`. Those of the way out stand beside its own. */
export interface ForwardServerOptions extends FrontDoorOptions {
  /**
   * Where every client is taken: fixed, or chosen for each socket. A function that returns nothing, throws or rejects
   * turns the client away. A fixed target is the operator's own choice: any address, unless `egress` or the rules of a
   * given `outbound` say otherwise.
   */
  readonly target: HostAndPort | ForwardTarget
  /** Begin each connection to the target with a PROXY protocol header of this version, which tells who the client is. */
  readonly sendProxyHeader?: 1 | 2 | undefined
}

/** Chooses a target: a balancer, or what the client meant to reach (TPROXY: `localAddress` and `localPort` of the socket). */
export type ForwardTarget = (
  socket: ClientSocket,
  session: Session,
) => HostAndPort | undefined | Promise<HostAndPort | undefined>

/** Checked options with every default filled in. */
export interface ForwardSettings extends FrontDoorSettings, ConnectionSettings {
  readonly target: Destination | ForwardTarget
  readonly sendProxyHeader: 1 | 2 | undefined
}

/**
 * A TCP front door without a protocol of its own: `ssh -L`, a TCP proxy, a balancer. It listens on nothing yet.
 * @throws TypeError, RangeError for options that are unknown, of a wrong type, or contradict each other;
 * SocksError `ERR_SOCKS_INVALID_HOST` for a fixed target that can be none.
 */
export function createForwardServer(options: ForwardServerOptions): ForwardServer {
  return new ForwardServer(options)
}

/** See {@link createForwardServer}. */
export class ForwardServer extends FrontDoor {
  readonly #settings: ForwardSettings

  /** Use {@link createForwardServer}. */
  constructor(options: ForwardServerOptions) {
    const settings = forwardSettings(options)
    super(settings)
    this.#settings = settings
  }

  protected override connect(arrival: Arrival): ClientConnection {
    return new ForwardConnection(arrival, this.#settings)
  }
}

function forwardSettings(options: ForwardServerOptions): ForwardSettings {
  assertOptionTypes(options, { ...FRONT_DOOR_OPTION_TYPES, target: 'any', sendProxyHeader: 'any' })
  const { target, sendProxyHeader } = options
  if (sendProxyHeader !== undefined && sendProxyHeader !== 1 && sendProxyHeader !== 2) {
    throw invalidArgument('option sendProxyHeader must be 1 or 2')
  }
  const isFixed = typeof target !== 'function'
  return {
    ...frontDoorSettings(options, isFixed ? egress.any() : undefined),
    // Who may reach it is decided by where it listens; what they reach, by its operator.
    isProtected: true,
    target: isFixed ? checkedTarget(target) : target,
    sendProxyHeader,
  }
}
