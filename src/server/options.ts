import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { invalidArgument } from '../codec/arguments.js'
import type { ServerSessionOptions } from '../codec/index.js'
import type { ConnectionSettings } from './arrival.js'
import { type AuthMethod, noAuth } from './auth.js'
import { type BindOptions, type BindSettings, bindSettings } from './bind-options.js'
import { COMMAND_NAMES, type CommandName } from './commands.js'
import type { EgressPolicy } from './egress.js'
import type { FrontDoorSettings } from './front-door.js'
import type { LimitOptions } from './limits.js'
import { assertOptionTypes, FRONT_DOOR_OPTION_TYPES, type OptionType, OUTBOUND_OPTION_TYPES } from './option-types.js'
import { Outbound, type OutboundOptions } from './outbound.js'
import { ProxyPeers } from './proxy-protocol.js'
import type { Session } from './session.js'
import { Tally } from './tally.js'
import { type UdpOptions, type UdpSettings, udpSettings } from './udp-options.js'

/** Options that every front door takes. */
export interface FrontDoorOptions extends OutboundOptions, LimitOptions {
  /**
   * Milliseconds from accept to complete request, the verifier included; 0 is no limit. One deadline for the whole
   * handshake, because a deadline per read lets a client that sends a byte now and then stay for ever. Default 10,000.
   */
  readonly handshakeTimeoutMs?: number | undefined
  /** Milliseconds without a byte after one side has sent its FIN; 0 is no limit. Default 120,000. */
  readonly drainTimeoutMs?: number | undefined
  /** Milliseconds without a byte in either direction of a tunnel; 0, the default, is no limit: keep-alive finds dead peers. */
  readonly idleTimeoutMs?: number | undefined
  /**
   * Read and free the memory of tunnels between two TCP sockets of this library's own without the garbage collector, which
   * costs a fraction. Default `true`; `false` is a switch for the day on which that is suspected of anything.
   */
  readonly fastRelay?: boolean | undefined
  /**
   * Addresses and CIDR ranges of the proxies in front that begin each connection with a PROXY protocol header, v1 or v2;
   * `'unix'` stands for the peers of Unix sockets. A header is required from them and read from nobody else. Default: none.
   * Applies to what `listen` accepts.
   */
  readonly proxyProtocol?: readonly string[] | undefined
  /** A way out that other front doors share, in place of the options of one. */
  readonly outbound?: Outbound | undefined
}

/** Options of `createSocksServer`. Those of the way out ({@link OutboundOptions}) stand beside the server's own. */
export interface ServerOptions extends FrontDoorOptions, Omit<ServerSessionOptions, 'receiveLimit' | 'socks4'> {
  /** One method, or several in the server's order of preference. Default `noAuth()`. */
  readonly auth?: AuthMethod | readonly AuthMethod[] | undefined
  /** What may be asked for. Default `['connect']`. */
  readonly commands?: readonly CommandName[] | undefined
  /**
   * Serve SOCKS4 and SOCKS4a on the same port. Default `false`. It knows no passwords: while `auth` does not admit
   * everybody, each request is answered 5B; unless it is a function, which judges the USERID (a name without a proof).
   */
  readonly socks4?: boolean | UserIdVerifier | undefined
  /** How BIND is served, where `commands` has it. */
  readonly bind?: BindOptions | undefined
  /** How UDP ASSOCIATE is served, where `commands` has it. */
  readonly udp?: UdpOptions | undefined
  /** Serve clients without authentication or `authorize` on an address others can reach. Default `false`. */
  readonly allowAnonymous?: boolean | undefined
  /** Answer 0.0.0.0:0 as BND, so that clients do not learn the address this host dials from. Default `false`. */
  readonly hideBoundAddress?: boolean | undefined
  /** Milliseconds by which the answer to failed credentials is held back; a correct login never waits. Default 0. */
  readonly authFailureDelayMs?: number | undefined
  /** Takes a socket whose first byte is no SOCKS, idle and with that byte unread. Default: it is closed. */
  readonly fallback?: Fallback | undefined
}

/** Judges the USERID of a SOCKS4 client, as a `Verifier` judges credentials. */
export type UserIdVerifier = (
  userId: string,
  session: Session,
) => boolean | object | null | undefined | Promise<boolean | object | null | undefined>

/** Owns a socket from here on. */
export type Fallback = (socket: ClientSocket, session: Session) => unknown

/** A client's stream. On TCP a `net.Socket`, with addresses; a stream given to `handle` may have none. */
export type ClientSocket = Duplex & Partial<Pick<Socket, 'localAddress' | 'localPort' | 'remoteAddress' | 'remotePort'>>

/** Checked options with every default filled in. */
export interface ServerSettings extends FrontDoorSettings, ConnectionSettings {
  readonly auth: readonly AuthMethod[]
  readonly commands: ReadonlySet<CommandName>
  readonly socks4: boolean | UserIdVerifier
  readonly bind: BindSettings
  readonly udp: UdpSettings
  /** Associations at present, by client address. */
  readonly associations: Tally<string>
  readonly hideBoundAddress: boolean
  readonly authFailureDelayMs: number
  readonly fallback: Fallback | undefined
  readonly protocol: ServerSessionOptions
}

const TYPES: Readonly<Record<keyof ServerOptions, OptionType>> = {
  ...FRONT_DOOR_OPTION_TYPES,
  auth: 'object',
  commands: 'list',
  socks4: 'any',
  bind: 'object',
  udp: 'object',
  allowAnonymous: 'boolean',
  hideBoundAddress: 'boolean',
  authFailureDelayMs: 'milliseconds',
  fallback: 'function',
  lenientAuthVersion: 'boolean',
  lenientAuthMessage: 'boolean',
  strictReserved: 'boolean',
}

/**
 * Checks options and fills in the defaults. A name it does not know is an error: `authorise` would otherwise be a server
 * without rules.
 * @throws TypeError, RangeError.
 */
export function serverSettings(options: ServerOptions): ServerSettings {
  if (typeof options?.auth === 'function') throw invalidArgument('option auth takes a method: auth: userPass(verifier)')
  assertOptionTypes(options, TYPES)
  const { socks4 = false, commands = ['connect'], lenientAuthVersion, lenientAuthMessage, strictReserved } = options
  if (typeof socks4 !== 'boolean' && typeof socks4 !== 'function') {
    throw invalidArgument('option socks4 must be a boolean or a function')
  }
  const auth = authMethods(options.auth ?? noAuth())
  const common = frontDoorSettings(options)
  const admitsAnyone = auth.some(({ type }) => type === 'no-auth') && !common.outbound.hasAuthorize
  return {
    ...common,
    isProtected: !admitsAnyone || options.allowAnonymous === true,
    auth,
    commands: commandNames(commands),
    socks4,
    bind: bindSettings(options.bind),
    udp: udpSettings(options.udp),
    associations: new Tally(),
    hideBoundAddress: options.hideBoundAddress ?? false,
    authFailureDelayMs: options.authFailureDelayMs ?? 0,
    fallback: options.fallback,
    protocol: { lenientAuthVersion, lenientAuthMessage, strictReserved, socks4: socks4 !== false },
  }
}

/**
 * What all front doors share, checked. `isProtected` is for the front door to say.
 * @param defaultEgress see {@link Outbound}.
 * @throws TypeError, RangeError.
 */
export function frontDoorSettings(
  options: FrontDoorOptions,
  defaultEgress?: EgressPolicy,
): Omit<FrontDoorSettings, 'isProtected'> & ConnectionSettings {
  const { maxConnections, maxConnectionsPerClient, maxHandshakes, proxyProtocol } = options
  if (options.outbound !== undefined && !(options.outbound instanceof Outbound)) {
    throw invalidArgument('option outbound takes what createOutbound() returns')
  }
  const outboundNames = Object.keys(OUTBOUND_OPTION_TYPES).filter((name) => Reflect.get(options, name) !== undefined)
  if (options.outbound !== undefined && outboundNames.length > 0) {
    throw invalidArgument(`option ${outboundNames[0]} belongs to the outbound that is given beside it`)
  }
  return {
    outbound: options.outbound ?? new Outbound(pickOutbound(options), defaultEgress),
    limits: { maxConnections, maxConnectionsPerClient, maxHandshakes },
    proxyPeers: proxyProtocol === undefined ? undefined : new ProxyPeers(proxyProtocol),
    handshakeTimeoutMs: options.handshakeTimeoutMs ?? 10_000,
    drainTimeoutMs: options.drainTimeoutMs ?? 120_000,
    idleTimeoutMs: options.idleTimeoutMs ?? 0,
    fastRelay: options.fastRelay ?? true,
  }
}

function pickOutbound(options: OutboundOptions): OutboundOptions {
  const { authorize, egress, lookup, localAddress, dial, resolve, dialTimeoutMs } = options
  return { authorize, egress, lookup, localAddress, dial, resolve, dialTimeoutMs }
}

function commandNames(names: readonly CommandName[]): ReadonlySet<CommandName> {
  const known: readonly string[] = Object.values(COMMAND_NAMES)
  if (!Array.isArray(names) || names.some((name) => !known.includes(name))) {
    throw invalidArgument(`option commands takes a list of ${known.join(', ')}`)
  }
  return new Set(names)
}

function authMethods(auth: AuthMethod | readonly AuthMethod[]): readonly AuthMethod[] {
  const methods: readonly AuthMethod[] = Array.isArray(auth) ? [...auth] : [auth]
  if (methods.length === 0) throw invalidArgument('option auth must name at least one method')
  for (const method of methods) {
    if (!['no-auth', 'user-pass', 'custom'].includes(method?.type)) {
      throw invalidArgument('option auth takes what noAuth(), userPass(), customAuth() and gssapi() return')
    }
  }
  if (new Set(methods.map(({ code }) => code)).size < methods.length)
    throw invalidArgument('option auth names a method twice')
  return methods
}
