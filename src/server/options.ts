import { invalidArgument, outOfRange } from '../codec/arguments.js'
import type { ServerSessionOptions } from '../codec/index.js'
import { type AuthMethod, noAuth } from './auth.js'
import { createOutbound, type Outbound, type OutboundOptions } from './outbound.js'

/** Options of `createSocksServer`. Those of the way out ({@link OutboundOptions}) stand beside the server's own. */
export interface ServerOptions extends OutboundOptions, Omit<ServerSessionOptions, 'receiveLimit'> {
  /** One method, or several in the server's order of preference. Default `noAuth()`. */
  readonly auth?: AuthMethod | readonly AuthMethod[] | undefined
  /** Serve clients without authentication or `authorize` on an address others can reach. Default `false`. */
  readonly allowAnonymous?: boolean | undefined
  /** Answer 0.0.0.0:0 as BND, so that clients do not learn the address this host dials from. Default `false`. */
  readonly hideBoundAddress?: boolean | undefined
  /**
   * Milliseconds from accept to complete request, the verifier included; 0 is no limit. One deadline for the whole
   * handshake, because a deadline per read lets a client that sends a byte now and then stay for ever. Default 10,000.
   */
  readonly handshakeTimeoutMs?: number | undefined
  /** Milliseconds without a byte after one side has sent its FIN; 0 is no limit. Default 120,000. */
  readonly drainTimeoutMs?: number | undefined
  /** A way out that other front doors share, in place of the options of one. */
  readonly outbound?: Outbound | undefined
}

/** Checked options with every default filled in. */
export interface ServerSettings {
  readonly auth: readonly AuthMethod[]
  readonly outbound: Outbound
  /** Whether anybody who can connect is served: nothing asks who they are, nothing judges what they want. */
  readonly isOpen: boolean
  readonly allowAnonymous: boolean
  readonly hideBoundAddress: boolean
  readonly handshakeTimeoutMs: number
  readonly drainTimeoutMs: number
  readonly protocol: ServerSessionOptions
}

const OUTBOUND_TYPES = {
  authorize: 'function',
  egress: 'function',
  lookup: 'function',
  localAddress: 'string',
  dial: 'function',
  resolve: 'boolean',
  dialTimeoutMs: 'milliseconds',
} as const

const TYPES: Readonly<Record<keyof ServerOptions, 'function' | 'string' | 'boolean' | 'milliseconds' | 'object'>> = {
  ...OUTBOUND_TYPES,
  auth: 'object',
  allowAnonymous: 'boolean',
  hideBoundAddress: 'boolean',
  handshakeTimeoutMs: 'milliseconds',
  drainTimeoutMs: 'milliseconds',
  outbound: 'object',
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
  assertOptions(options)
  const auth = authMethods(options.auth ?? noAuth())
  const outboundNames = Object.keys(OUTBOUND_TYPES).filter((name) => Reflect.get(options, name) !== undefined)
  if (options.outbound !== undefined && outboundNames.length > 0) {
    throw invalidArgument(`option ${outboundNames[0]} belongs to the outbound that is given beside it`)
  }
  const admitsAnyone = auth.some(({ type }) => type === 'no-auth')
  return {
    auth,
    outbound: options.outbound ?? createOutbound(options),
    isOpen: admitsAnyone && !(options.outbound?.hasAuthorize ?? options.authorize !== undefined),
    allowAnonymous: options.allowAnonymous ?? false,
    hideBoundAddress: options.hideBoundAddress ?? false,
    handshakeTimeoutMs: options.handshakeTimeoutMs ?? 10_000,
    drainTimeoutMs: options.drainTimeoutMs ?? 120_000,
    protocol: {
      lenientAuthVersion: options.lenientAuthVersion,
      lenientAuthMessage: options.lenientAuthMessage,
      strictReserved: options.strictReserved,
    },
  }
}

function assertOptions(options: ServerOptions): void {
  if (typeof options !== 'object' || options === null) throw invalidArgument('options must be an object')
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(TYPES, name)) throw invalidArgument(`unknown option ${name}`)
    if (value !== undefined) assertType(name, value, Reflect.get(TYPES, name))
  }
}

function assertType(name: string, value: unknown, type: string): void {
  if (type === 'milliseconds') {
    // setTimeout turns what does not fit 31 bits into 1.
    if (typeof value !== 'number' || !(value >= 0 && value <= 0x7fff_ffff)) {
      throw outOfRange(`option ${name} must be a number of milliseconds from 0 to 2147483647`)
    }
  } else if (typeof value !== type || value === null) {
    throw invalidArgument(`option ${name} must be of type ${type}`)
  }
}

function authMethods(auth: AuthMethod | readonly AuthMethod[]): readonly AuthMethod[] {
  const methods: readonly AuthMethod[] = Array.isArray(auth) ? [...auth] : [auth]
  if (methods.length === 0) throw invalidArgument('option auth must name at least one method')
  for (const method of methods) {
    if (method?.type !== 'no-auth' && method?.type !== 'user-pass') {
      throw invalidArgument('option auth takes what noAuth() and userPass() return')
    }
  }
  if (new Set(methods.map(({ code }) => code)).size < methods.length)
    throw invalidArgument('option auth names a method twice')
  return methods
}
