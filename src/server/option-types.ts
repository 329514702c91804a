import { invalidArgument, outOfRange } from '../codec/arguments.js'
import type { FrontDoorOptions } from './options.js'

/** What an option may be; `any` is checked where it is read. */
export type OptionType = 'any' | 'list' | 'count' | 'function' | 'string' | 'boolean' | 'milliseconds' | 'object'

/** Options of the way out, which a server takes beside its own. */
export const OUTBOUND_OPTION_TYPES = {
  authorize: 'function',
  egress: 'function',
  lookup: 'function',
  localAddress: 'string',
  dial: 'function',
  resolve: 'boolean',
  dialTimeoutMs: 'milliseconds',
} as const

/** Options that every front door takes, the way out's included. */
export const FRONT_DOOR_OPTION_TYPES: Readonly<Record<keyof FrontDoorOptions, OptionType>> = {
  ...OUTBOUND_OPTION_TYPES,
  maxConnections: 'any',
  maxConnectionsPerClient: 'any',
  maxHandshakes: 'any',
  handshakeTimeoutMs: 'milliseconds',
  drainTimeoutMs: 'milliseconds',
  idleTimeoutMs: 'milliseconds',
  fastRelay: 'boolean',
  proxyProtocol: 'list',
  outbound: 'object',
}

/** What is meant by an option that belongs somewhere else, or by a value that was to be made first. */
const HINTS: Readonly<Record<string, string>> = {
  port: 'port belongs to listen({ port })',
  host: 'host belongs to listen({ host })',
  authorize: 'authorize takes a function: authorize.allow([...]) makes one',
  egress: 'egress takes a policy: egress.publicOnly() makes one',
}

/**
 * @param prefix what stands before a name in messages, of options within an option: `bind.`.
 * @throws TypeError for an unknown name or a wrong type; RangeError for milliseconds that no timer takes. `undefined` is left out.
 */
export function assertOptionTypes(options: object, types: Readonly<Record<string, OptionType>>, prefix = ''): void {
  if (typeof options !== 'object' || options === null) throw invalidArgument('options must be an object')
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(types, name)) throw invalidArgument(`unknown option ${prefix}${name}${hint(prefix, name)}`)
  }
  for (const [name, type] of Object.entries(types)) {
    const value: unknown = Reflect.get(options, name)
    if (value !== undefined && type !== 'any') assertType(`${prefix}${name}`, value, type)
  }
}

function hint(prefix: string, name: string): string {
  return prefix === '' && Object.hasOwn(HINTS, name) ? `; ${HINTS[name]}` : ''
}

function assertType(name: string, value: unknown, type: OptionType): void {
  if (type === 'milliseconds') {
    // setTimeout turns what does not fit 31 bits into 1.
    if (typeof value !== 'number' || !(value >= 0 && value <= 0x7fff_ffff)) {
      throw outOfRange(`option ${name} must be a number of milliseconds from 0 to 2147483647`)
    }
  } else if (type === 'count') {
    if (!Number.isInteger(value) || Number(value) < 1) throw outOfRange(`option ${name} must be a positive integer`)
  } else if (type === 'list') {
    if (!Array.isArray(value)) throw invalidArgument(`option ${name} must be a list`)
  } else if (typeof value !== type || value === null) {
    throw invalidArgument(`option ${name} must be of type ${type}${hint('', name)}`)
  }
}
