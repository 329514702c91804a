import { assertOptions, invalidArgument, outOfRange } from '../codec/arguments.js'
import type { FrontDoorOptions } from './options.js'

/** What an option may be; `any` is checked where it is read. */
export type OptionType = 'any' | 'count' | 'function' | 'string' | 'boolean' | 'milliseconds' | 'object'

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
  proxyProtocol: 'object',
  outbound: 'object',
}

/** @throws TypeError for an unknown name or a wrong type; RangeError for milliseconds that no timer takes. `undefined` is left out. */
export function assertOptionTypes(options: object, types: Readonly<Record<string, OptionType>>): void {
  assertOptions(options, Object.keys(types))
  for (const [name, type] of Object.entries(types)) {
    const value: unknown = Reflect.get(options, name)
    if (value !== undefined && type !== 'any') assertType(name, value, type)
  }
}

function assertType(name: string, value: unknown, type: OptionType): void {
  if (type === 'milliseconds') {
    // setTimeout turns what does not fit 31 bits into 1.
    if (typeof value !== 'number' || !(value >= 0 && value <= 0x7fff_ffff)) {
      throw outOfRange(`option ${name} must be a number of milliseconds from 0 to 2147483647`)
    }
  } else if (type === 'count') {
    if (!Number.isInteger(value) || Number(value) < 1) throw outOfRange(`option ${name} must be a positive integer`)
  } else if (typeof value !== type || value === null) {
    throw invalidArgument(`option ${name} must be of type ${type}`)
  }
}
