import { invalidArgument } from '../codec/arguments.js'
import type { ServerSessionOptions } from '../codec/index.js'
import { type AuthMethod, noAuth } from './auth.js'
import { assertOptionTypes, type OptionType, OUTBOUND_OPTION_TYPES } from './option-types.js'
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

const TYPES: Readonly<Record<keyof ServerOptions, OptionType>> = {
  ...OUTBOUND_OPTION_TYPES,
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
  if (typeof options?.auth === 'function') throw invalidArgument('option auth takes a method: auth: userPass(verifier)')
  assertOptionTypes(options, TYPES)
  const auth = authMethods(options.auth ?? noAuth())
  const outboundNames = Object.keys(OUTBOUND_OPTION_TYPES).filter((name) => Reflect.get(options, name) !== undefined)
  if (options.outbound !== undefined && outboundNames.length > 0) {
    throw invalidArgument(`option ${outboundNames[0]} belongs to the outbound that is given beside it`)
  }
  const admitsAnyone = auth.some(({ type }) => type === 'no-auth')
  return {
    auth,
    outbound: options.outbound ?? createOutbound(pickOutbound(options)),
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

function pickOutbound(options: ServerOptions): OutboundOptions {
  const { authorize, egress, lookup, localAddress, dial, resolve, dialTimeoutMs } = options
  return { authorize, egress, lookup, localAddress, dial, resolve, dialTimeoutMs }
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
